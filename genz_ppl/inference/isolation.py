"""One place where Pyro's and torch's global state is set aside: refits are repeatable, the caller's state untouched."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pyro
import torch

# Below so many target entries, handing work to a second thread costs more than it saves.
SMALL = 200_000


# How many threads torch had before each `one_thread` that is running, the outermost first.
_before: list[int] = []


@contextmanager
def one_thread(when: bool = True) -> Iterator[None]:
    """Run a block on one of torch's threads: small tensors are several times faster so, and the same on every machine."""
    threads = torch.get_num_threads()
    if when:
        torch.set_num_threads(1)
        _before.append(threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        if when:
            _before.pop()


def allowed_threads() -> int:
    """How many threads the caller lets torch use, whatever `one_thread` has made of it."""
    return _before[0] if _before else torch.get_num_threads()


@contextmanager
def isolated(seed: int) -> Iterator[None]:
    """Run a block with its own random numbers and Pyro parameters.

    Inside: `random`, numpy's and torch's global generators start from `seed`, modules keep their own parameters
    (`module_local_params`), and Pyro's parameter store is empty. On leaving, also by an exception, everything is as
    before. Models must be built inside.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with (
        torch.random.fork_rng(devices=devices),
        pyro.get_param_store().scope(),
        pyro.settings.context(module_local_params=True),
    ):
        try:
            pyro.set_rng_seed(seed % 2**32)
            yield
        finally:
            random.setstate(python_state)
            np.random.set_state(numpy_state)
