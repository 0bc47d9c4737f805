"""The paper's binary experiment on a fleet of this one machine: PostgreSQL, two workers, and Dask for the last fit.

    python benchmarks/demo_cluster.py      # or: make demo-cluster; under two minutes

Starts a PostgreSQL server in a temporary folder, a stand-in for a language model (it answers and words as the embedded `rules`
do), two `genz work`, and one `genz fit` that makes no calls itself. All of it is on the loopback and gone at the end.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from postgres_server import PostgresServer, missing
from server_process import FaultServerProcess


def main() -> None:
    """Run it, and show what the workers and the run say."""
    if why := missing():
        sys.exit(f"make demo-cluster: {why}")
    started = time.monotonic()
    genz = [sys.executable, "-m", "genz_ppl"]
    with (
        tempfile.TemporaryDirectory(prefix="genz-demo-") as folder,
        PostgresServer() as database,
        FaultServerProcess("--answerer", "numbers_answerer:answer", "--latency", "0.02") as server,
    ):
        environment = {**os.environ, "OPENAI_API_KEY": "none", "XDG_CACHE_HOME": folder}
        where = ["--store", database.address, "--model", "openai:stand-in", "--base-url", server.base_url]
        workers = [subprocess.Popen([*genz, "work", *where, "--idle", "20", "--quiet"], env=environment) for _ in range(2)]
        print("two workers are at work; the run posts what it wants to know and waits", flush=True)
        run = ["fit", "binary", "--out", str(Path(folder, "run")), *where, "--workers", "0", "--price", "1,2", "--max-cost", "5"]
        fit = subprocess.Popen([*genz, *run, "--cycles", "3", "--engine", "dask", "--no-ceiling", "--quiet"], env=environment)
        while fit.poll() is None:
            time.sleep(10)
            subprocess.run([*genz, "store", "status", "--store", database.address], env=environment, check=True)
        for worker in workers:
            worker.terminate()
            worker.wait()
        if fit.returncode:
            sys.exit(fit.returncode)
    print(f"done in {time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    main()
