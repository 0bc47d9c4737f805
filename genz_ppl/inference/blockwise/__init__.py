"""Fits to items in blocks on disk, read by whoever works on them: more items than a process holds, on more than one host."""
