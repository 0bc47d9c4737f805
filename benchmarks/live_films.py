"""Discovery on 200 films whose answers a strong language model gave: the test error per answer, over splits and searches.

    python benchmarks/live_films.py ../shared/data --seeds 5 --workers 2 [--set NAME VALUE ...]

The miner is the table of the 174 wordings that live runs came up with, ranked on the items it is shown. Every line is one seed,
of the split and of the search; `cosine` is of the test films, `answers` are those on training films. All settings are the
defaults, with at most twelve questions, but for those that --set gives.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from setting_values import setting_value


def run(case: tuple[Path, int, dict[str, Any]]) -> tuple[float, int, int, int, float]:
    """Cosine of the test films, answers on training films, wordings tried, questions kept, seconds."""
    folder, seed, options = case
    import torch

    from genz_ppl import discover
    from genz_ppl.data import open_source

    torch.set_num_threads(1)
    items = open_source(f"movielens:{folder / 'ml-1m'},items=200,dimensions=32,alpha=0")
    table = folder / "live-films" / "answers.jsonl"
    found = discover(items, model=f"table:{table}", seed=seed, **{"max_features": 12, **options})
    last, pool = found.curve.iloc[-1], found.progress.pool
    answers = sum(int((entry != -2).sum()) for entry in pool.values())
    return float(last["test_error"]), answers, len(pool), int(found.features["active"].sum()), float(last["seconds"])


def main() -> None:
    """Run the seeds and print a line for each, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data"))
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds ml-1m and live-films")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another setting")
    arguments = parser.parse_args()
    if not (arguments.directory / "live-films").is_dir():
        print(f"skipped: no films in {arguments.directory}; name the folder that holds ml-1m and live-films, or set GENZ_DATA")
        return
    options = {name: setting_value(text) for name, text in arguments.set}
    cases = [(arguments.directory, seed, options) for seed in range(arguments.seeds)]
    print("| seed | cosine | answers | wordings | questions | seconds |\n|---|---|---|---|---|---|")
    rows = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for seed, row in enumerate(pool.map(run, cases)):
            rows.append(row)
            print(f"| {seed} | {row[0]:.3f} | {row[1]} | {row[2]} | {row[3]} | {row[4]:.0f} |", flush=True)
    mean, spread = np.mean(rows, axis=0), np.std([row[0] for row in rows])
    print(f"| mean | {mean[0]:.4f} ± {spread:.3f} | {mean[1]:.0f} | {mean[2]:.0f} | {mean[3]:.1f} | {mean[4]:.0f} |")


if __name__ == "__main__":
    main()
