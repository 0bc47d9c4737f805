"""Room for the numbers of very many items: in memory, or in a temporary file that is mapped into it."""

from __future__ import annotations

import itertools
import mmap
import os
import re
import tempfile
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import IntArray

# Of the memory that is given targets have so large a share; where they need more, they have a file.
SHARE = 0.25
# Bytes of a mapped file that are held at once while rows all over it are read: around each the system maps up to megabytes.
_AT_ONCE = 1 << 25
_SIZE = re.compile(r"(\d+(?:\.\d+)?) ?([kKMGT])i?B?")
_UNITS = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}


def bytes_of_size(text: str) -> int:
    """A size such as "2GB" or "500 MB" in bytes. Raises OptionError for anything else."""
    found = _SIZE.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None or float(found[1]) == 0:
        raise OptionError(f"memory: expected a size such as 2GB or 500MB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def room(shape: tuple[int, int], kind: type[Any], memory: int | None) -> NDArray[Any]:
    """An array to be filled. memory: in bytes; None: in memory, whatever it takes.

    The file, in the folder that `tempfile` takes (TMPDIR), goes with the array. Raises InputError where there is no space for it.
    """
    size = int(np.prod(shape)) * np.dtype(kind).itemsize
    if memory is None or size <= SHARE * memory:
        return np.empty(shape, dtype=kind)
    with tempfile.TemporaryFile(prefix="genz-targets-") as file:
        try:
            _reserve(file.fileno(), size)
        except OSError as error:
            where = f"{tempfile.gettempdir()}: {size / 1e9:.1f} GB of targets cannot be kept here ({error.strerror})"
            raise InputError(f"{where}; free some space, name another folder (TMPDIR), or leave memory (--memory) out") from None
        return np.asarray(np.memmap(file, dtype=kind, mode="r+", shape=shape))


def _reserve(file: int, size: int) -> None:
    """Take the space now: writing to a mapped file that finds none later would end the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
        return
    zeros = bytes(1 << 20)
    while size > 0:
        size -= os.write(file, zeros[:size])


def let_go(values: NDArray[Any]) -> None:
    """Give back the memory that reading a mapped array has taken; it is read again when it is needed. Other arrays stay."""
    if is_mapped(values) and hasattr(mmap, "MADV_DONTNEED"):
        values.base.base.madvise(mmap.MADV_DONTNEED)  # type: ignore[union-attr]


def rows_at(values: NDArray[Any], places: IntArray) -> NDArray[Any]:
    """Rows of an array, (T, D), at some places, (U,), as a copy in memory. A mapped one is gone through from its first row on,
    and what was read of it is given back, a part after the other."""
    if not is_mapped(values) or not len(places):
        return values[places]
    order = np.argsort(places, kind="stable")
    rising, found = places[order], np.empty((len(places), *values.shape[1:]), dtype=values.dtype)
    step = max(1, _AT_ONCE // max(1, values[:1].nbytes))
    ends = np.searchsorted(rising, np.arange(rising[0] + step, rising[-1] + step, step))
    for start, end in itertools.pairwise(np.unique([0, *ends, len(places)]).tolist()):
        found[order[start:end]] = values[rising[start:end]]
        let_go(values)
    return found


def is_mapped(values: NDArray[Any]) -> bool:
    """Whether an array is one of a file, and all of it."""
    return isinstance(values.base, np.memmap) and values.base.shape == values.shape
