"""One writer at a time: a folder is held by whoever writes to it over time, such as a run from its begin to its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from genz_ppl.errors import RunDirectoryError

try:
    import fcntl
except ImportError:  # pragma: no cover - Windows
    fcntl = None  # type: ignore[assignment]

# Instead of a descriptor; and seconds, far more than a question takes.
_ELSEWHERE, _A_MOMENT = -1, 0.1


@contextmanager
def alone(path: Path | None) -> Iterator[None]:
    """Hold the folder, which is made where there is none, so that nobody else writes to it. None: nothing to hold.

    One that was made is taken away again where nothing was written.
    The lock is of the folder itself: it leaves no file, and ends with the process, however that ends. Where a system knows no
    such locks nothing is held. Readers are not kept out. It is not to be asked for twice, by one thread either.
    Raises RunDirectoryError while another process or thread holds it.
    """
    made = path is not None and not path.exists()
    if path is not None and made:
        with suppress(OSError):  # whoever writes there first says so
            path.mkdir(parents=True, exist_ok=True)
    taken = None if path is None else _taken(path)
    if path is not None and taken == _ELSEWHERE:  # perhaps by somebody who only asks `is_held`
        time.sleep(_A_MOMENT)
        taken = _taken(path)
    if taken == _ELSEWHERE:
        raise RunDirectoryError(f"{path}: the run is under way in another process; wait for its end, or stop it")
    try:
        yield
    finally:
        if path is not None and made:
            with suppress(OSError):  # as a rule it is not empty
                path.rmdir()
        if taken is not None:
            os.close(taken)


def is_held(path: Path) -> bool | None:
    """Whether somebody holds the folder at this moment; None where that cannot be known."""
    taken = _taken(path)
    if taken is None or taken == _ELSEWHERE:
        return None if taken is None else True
    os.close(taken)
    return False


def _taken(path: Path) -> int | None:
    """A descriptor that holds the folder until it is closed, `_ELSEWHERE`, or None where there are no locks."""
    if fcntl is None:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:  # some network file systems know no locks of folders
        os.close(descriptor)
        return _ELSEWHERE if isinstance(error, BlockingIOError) else None
    return descriptor
