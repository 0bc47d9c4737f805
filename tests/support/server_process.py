"""The fault server in a process of its own, for throughput: it takes no time from the client's interpreter."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any


class FaultServerProcess:
    """`with FaultServerProcess("--latency", "0.05") as server: ... server.base_url, server.stats() ...`

    The arguments are those of fault_server.py. The process ends with the `with`, and with this process however that ends.
    """

    def __init__(self, *arguments: str) -> None:
        self.arguments = arguments

    def __enter__(self) -> FaultServerProcess:
        script = Path(__file__).with_name("fault_server.py")
        command = [sys.executable, str(script), *self.arguments, "--until-eof"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.communicate(timeout=30)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def stats(self) -> dict[str, Any]:
        """Numbers of the server: total, counts (by fault, "right" for none), abandoned, connected, in_flight, peak_in_flight, ...

        The mean time a reply took, reply_seconds / replied, says how far the server itself fell behind its latency.
        """
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=30) as reply:
            found: dict[str, Any] = json.load(reply)
        return found
