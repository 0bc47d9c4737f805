"""Fits of a million items and more in memory: what they hold and take, and whether float32 posteriors are those of float64.

    python benchmarks/large_fits.py                              # 200 000 and 1 000 000 items, some minutes
    python benchmarks/large_fits.py --items 10000000 --bytes     # answers of one byte, targets of four: 4 GB

Each fit runs in a process of its own, and peak memory is that process's: what was given, the interpreter and torch are in it.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from genz_ppl.inference import fit, packed

# Items that are made at once.
PART = 65_536
WAYS = ("packed", "float64")


def made(n_items: int, n_features: int, n_targets: int, small: bool) -> tuple[Any, Any]:
    """Answers, 6 % of them wrong, and targets with noise of one; small: as bytes and float32."""
    answers = np.empty((n_items, n_features), np.int8 if small else np.float64)
    targets = np.empty((n_items, n_targets), np.float32 if small else np.float64)
    random = np.random.default_rng(0)
    weights = 0.4 * random.normal(size=(n_features, n_targets))
    for first in range(0, n_items, PART):
        rows = slice(first, min(first + PART, n_items))
        z = random.random((rows.stop - first, n_features)) < 0.3
        answers[rows] = z ^ (random.random(z.shape) < 0.06)
        targets[rows] = z @ weights + random.normal(size=(len(z), n_targets))
    return answers, targets


def peak() -> float:
    """The most MB this process has held so far."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 1e6 if sys.platform == "darwin" else size / 1e3


def one(way: str, n_items: int, options: argparse.Namespace, out: Path) -> None:
    """Fit in this way and print a row; what was found goes into a file."""
    answers, targets = made(n_items, options.features, options.targets, options.bytes)
    packed.LARGE = 0 if way == "packed" else sys.maxsize
    given, started = peak(), time.process_time()
    found = fit(answers, targets, steps=options.steps)
    spent = time.process_time() - started
    print(f"| {n_items} | {way} | {given:.0f} | {peak():.0f} | {spent:.1f} | {found.bound:.4f} |", flush=True)
    arrays: dict[str, Any] = {"posterior": found.posterior[:1_000_000], "error_rates": found.error_rates, **found.parameters}
    np.savez(out, **arrays)


def difference(one: Path, other: Path) -> float:
    """The largest difference of a posterior, an error rate or a parameter."""
    with np.load(one) as first, np.load(other) as second:
        return max(float(np.abs(first[name] - second[name]).max(initial=0.0)) for name in first)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, nargs="*", default=[200_000, 1_000_000])
    for option, default in (("features", 20), ("targets", 32), ("steps", 6)):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--bytes", action="store_true", help="answers of one byte and targets of four; packed fits alone")
    parser.add_argument("--way", choices=WAYS, help="run one fit of --items in this process")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.way:
        one(options.way, options.items[0], options, options.out)
        return
    print("| items | posterior | MB with the data given | MB at the peak | seconds of processor | bound |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for n_items in options.items:
            ways = WAYS[:1] if options.bytes else WAYS
            files = [Path(folder) / f"{way}-{n_items}.npz" for way in ways]
            for way, file in zip(ways, files, strict=True):
                command = [sys.executable, __file__, *sys.argv[1:], "--items", str(n_items), "--way", way, "--out", str(file)]
                print(subprocess.run(command, check=True, capture_output=True, text=True).stdout, end="", flush=True)
            if len(files) == 2:
                print(f"| {n_items} | largest difference | | | | {difference(*files):.1e} |", flush=True)


if __name__ == "__main__":
    main()
