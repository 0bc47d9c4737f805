"""Houses of the paper (section 5.2): test error of `genz fit` over random splits, stopped without the test split.

    python benchmarks/houses.py ../shared/data/houses --seeds 10 --workers 2

Prints a table (mean and standard deviation over seeds of the median absolute error of log price) and, with --features, the
features of the first seed. Everything is `genz_ppl.discover` with the default settings but for the link.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from setting_values import setting_value


@dataclass(frozen=True)
class Case:
    """One run: the named source, the link and the seed of its split."""

    source: str
    directory: str
    link: str
    seed: int
    options: tuple[tuple[str, Any], ...]


def run(case: Case) -> tuple[float, float, int, int, float, list[str]]:
    """Train error, test error, features, answers asked, seconds and the feature texts of one run."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from genz_ppl import discover
    from genz_ppl.data import open_source

    torch.set_num_threads(1)
    items = open_source(f"{case.source}:{case.directory}")
    found = discover(items, link=case.link, seed=case.seed, **dict(case.options))
    last = found.curve.iloc[-1]
    texts = found.features.loc[found.features["active"], "text"].tolist()
    return last["train_error"], last["test_error"], len(texts), int(last["answers_asked"]), float(last["seconds"]), texts


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data")) / "houses"
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds Houses-dataset/ and annotations.jsonl")
    parser.add_argument("--sources", nargs="+", default=["houses-metadata", "houses"])
    parser.add_argument("--links", nargs="+", default=["linear", "neural"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--features", action="store_true", help="print the features of the first seed")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another setting")
    arguments = parser.parse_args()
    if not arguments.directory.is_dir():
        print(f"skipped: no house data in {arguments.directory}; name its folder, or set GENZ_DATA to the folder above it")
        return
    options = tuple((name, setting_value(value)) for name, value in arguments.set)
    print("| source | link | test error | sd | train error | features | answers asked | seconds a run |", flush=True)
    print("|---|---|---|---|---|---|---|---|")
    lists = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for source in arguments.sources:
            for link in arguments.links:
                seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
                cases = [Case(source, str(arguments.directory), link, seed, options) for seed in seeds]
                rows = list(pool.map(run, cases))
                print(_row(source, link, rows), flush=True)
                lists.append((source, link, rows[0][5]))
    for source, link, texts in lists if arguments.features else []:
        print(f"\n{source}, {link}, seed 0:")
        for text in texts:
            print(f"- {text}")


def _row(source: str, link: str, rows: list[tuple[float, float, int, int, float, list[str]]]) -> str:
    from statistics import mean, stdev

    tests = [row[1] for row in rows]
    spread = stdev(tests) if len(tests) > 1 else float("nan")
    return (
        f"| {source} | {link} | {mean(tests):.4f} | {spread:.4f} | {mean(row[0] for row in rows):.4f} "
        f"| {mean(row[2] for row in rows):.1f} | {mean(row[3] for row in rows):.0f} | {mean(row[4] for row in rows):.0f} |"
        f" <!-- {' '.join(f'{test:.3f}' for test in tests)} -->"
    )


if __name__ == "__main__":
    main()
