"""A page on this machine to watch a run and steer it: `genz studio`."""
