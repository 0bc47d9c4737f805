"""Who holds a lease: a name for this process, and whether the process behind another name has ended."""

from __future__ import annotations

import os
import secrets
import socket
import weakref
from contextlib import suppress
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path

# The owners in use in this process. A store that was dropped without being closed must not block the next one for the
# length of a lease, and the process that holds both is alive.
_IN_USE: set[str] = set()


def new_owner(holder: object) -> str:
    """A new name "host:pid:start:random", counted as alive until `holder` is closed (`retire`) or collected."""
    pid = os.getpid()
    owner = f"{_host()}:{pid}:{_state_and_start(pid)[1]}:{secrets.token_hex(8)}"
    _IN_USE.add(owner)
    weakref.finalize(holder, retire, owner)
    return owner


def retire(owner: str) -> None:
    """From now on this name of this process counts as dead."""
    _IN_USE.discard(owner)


def is_dead(owner: str) -> bool:
    """Whether the process of that name is known to have ended. False where nothing is known, as for other hosts."""
    try:
        host, pid_text, start, _ = owner.rsplit(":", 3)
        pid = int(pid_text)
    except ValueError:
        return False
    if host != _host() or os.name != "posix" or pid <= 0:
        return False
    state, start_now = _state_and_start(pid)
    if pid == os.getpid() and start == start_now:
        return owner not in _IN_USE
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False  # it exists and belongs to someone else
    reused = start != "" and start_now != "" and start != start_now
    return reused or state in ("Z", "X")


@lru_cache(maxsize=1)
def _host() -> str:
    """This host's name, with a mark of its present boot and of the process numbering that this process lives in.

    Containers can share a host's name and number their processes each on its own; then a number says nothing.
    """
    marks = ""
    with suppress(OSError):  # these are Linux's; elsewhere the name has to do
        marks += Path("/proc/sys/kernel/random/boot_id").read_text()
        marks += os.readlink("/proc/self/ns/pid")
    return f"{socket.gethostname()}/{blake2b(marks.encode(), digest_size=4).hexdigest()}"


def _state_and_start(pid: int) -> tuple[str, str]:
    """State letter and start time (clock ticks since boot) of a process on Linux; both empty elsewhere."""
    try:
        # The name, in brackets, may itself hold spaces and brackets.
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
        return fields[0].decode(), fields[19].decode()
    except (OSError, IndexError):
        return "", ""
