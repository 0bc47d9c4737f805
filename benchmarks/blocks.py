"""A fit in blocks: one process, and Dask's workers, beside the usual fit in memory.

    python benchmarks/blocks.py                                   # 2 000 000 items, 32 questions, a few minutes
    python benchmarks/blocks.py --items 100000 --workers 1 2

Processor time is that of all processes, the workers' too; the first three steps, with the start of processes and reading.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from genz_ppl.inference import fit
from genz_ppl.inference.blockwise.files import write_blocks
from genz_ppl.inference.blockwise.fit import fit_blocks
from genz_ppl.inference.blockwise.runners import open_runner
from genz_ppl.types import FloatArray


def made(items: int, questions: int, targets: int) -> tuple[FloatArray, FloatArray]:
    """Answers, a tenth of them wrong, and targets."""
    random = np.random.default_rng(0)
    z = random.random((items, questions)) < 0.5
    y = z @ random.normal(size=(questions, targets)) + random.normal(size=(items, targets))
    return (z ^ (random.random(z.shape) < 0.1)).astype(float), y


def processor() -> float:
    """Seconds of this process and of those that it started and that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2_000_000)
    parser.add_argument("--questions", type=int, default=32)
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[2, 3])
    parser.add_argument("--folder", default=None)
    options = parser.parse_args()
    answers, targets = made(options.items, options.questions, options.targets)
    print(f"{options.items} items, {options.questions} questions, {options.targets} targets, {options.steps} steps")
    print(f"{'':24} {'wall s':>8} {'processor s':>12} {'bound':>18}")

    def row(name: str, started: float, spent: float, bound: float) -> None:
        print(f"{name:24} {time.perf_counter() - started:8.1f} {processor() - spent:12.1f} {bound:18.6f}", flush=True)

    started, spent = time.perf_counter(), processor()
    usual = fit(answers, targets, steps=options.steps, calibration=0.0, shrinkage=False)
    row("in memory", started, spent, usual.bound)
    with tempfile.TemporaryDirectory(prefix="genz-blocks-", dir=options.folder) as folder:
        started, spent = time.perf_counter(), processor()
        files = write_blocks(folder, answers, targets)
        size = sum(file.stat().st_size for file in files) / 1e6
        name = f"writing {len(files)} blocks"
        print(f"{name:24} {time.perf_counter() - started:8.1f} {processor() - spent:12.1f} {size:15.0f} MB")
        for sweeps in (None, 3):
            started, spent = time.perf_counter(), processor()
            work = Path(folder, f"here{sweeps}")
            found = fit_blocks(folder, options.steps, work=work, sweeps=sweeps)
            row(f"blocks, q {'kept' if sweeps is None else 'made anew'}", started, spent, float(found.bounds[-1]))
        for number in options.workers:
            started, spent = time.perf_counter(), processor()
            with open_runner("dask", workers=number) as runner:
                found = fit_blocks(folder, options.steps, runner, work=Path(folder, f"dask{number}"))
            row(f"Dask, {number} workers, q kept", started, spent, float(found.bounds[-1]))


if __name__ == "__main__":
    main()
