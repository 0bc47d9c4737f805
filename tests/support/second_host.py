"""A second host on this machine: its own network, processes and name, with a cable to the first one that can be pulled."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

# Of the block that is set aside for tests between networks (RFC 2544); a pair of addresses by process.
_NETWORK = f"198.18.{os.getpid() % 250}"


def missing() -> str:
    """Why there can be no second host here; "" where there can."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("unshare") is None:
        return "a network namespace needs root, and the programs ip and unshare"
    tried = subprocess.run(["unshare", "--net", "--pid", "--uts", "--fork", "--mount-proc", "true"], capture_output=True)
    made = subprocess.run(["ip", "netns", "add", f"genz-try-{os.getpid()}"], capture_output=True)
    subprocess.run(["ip", "netns", "delete", f"genz-try-{os.getpid()}"], capture_output=True)
    return "" if tried.returncode == made.returncode == 0 else "this system does not allow network namespaces"


class SecondHost:
    """`with SecondHost() as host: host.start([...]) ... host.pulled(True)`; gone with the `with`, what runs on it included.

    first: the address at which it reaches this host, which is all that it reaches.
    """

    first, own = f"{_NETWORK}.1", f"{_NETWORK}.2"

    def __init__(self) -> None:
        self._name, self._cable = f"genz-{os.getpid()}", f"genz{os.getpid() % 100000}"
        self._running: list[subprocess.Popen[str]] = []

    def __enter__(self) -> SecondHost:
        self._ip("netns", "add", self._name)
        try:
            self._ip("link", "add", self._cable, "type", "veth", "peer", "name", "cable", "netns", self._name)
            self._ip("address", "add", f"{self.first}/24", "dev", self._cable)
            self._ip("link", "set", self._cable, "up")
            self._ip("-n", self._name, "address", "add", f"{self.own}/24", "dev", "cable")
            for device in ("cable", "lo"):
                self._ip("-n", self._name, "link", "set", device, "up")
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._running:
            process.kill()
            process.communicate()
        subprocess.run(["ip", "link", "delete", self._cable], capture_output=True)
        subprocess.run(["ip", "netns", "delete", self._name], capture_output=True)

    def start(self, arguments: Sequence[object], **options: Any) -> subprocess.Popen[str]:
        """A process on it: of another host name, with process numbers of its own. Killing it ends what it started, too."""
        alone = [
            "unshare",
            "--pid",
            "--uts",
            "--fork",
            "--kill-child",
            "--mount-proc",
            "sh",
            "-c",
            'hostname second; exec "$@"',
            "sh",
        ]
        command = ["ip", "netns", "exec", self._name, *alone, *map(str, arguments)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
        self._running.append(process)
        return process

    def pulled(self, out: bool) -> None:
        """Pull the cable out, or put it in again."""
        self._ip("link", "set", self._cable, "down" if out else "up")

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)


def let_in(data: Path) -> None:
    """Have a PostgreSQL server, when it next reads its configuration, trust that network."""
    with (data / "pg_hba.conf").open("a") as file:
        file.write(f"host all all {_NETWORK}.0/24 trust\n")
