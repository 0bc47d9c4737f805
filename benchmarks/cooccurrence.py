"""The two-item model on votes, ratings and plants: joint and decoupled, beside the yardsticks' tables.

    python benchmarks/cooccurrence.py --seeds 3                           # all three data sets
    python benchmarks/cooccurrence.py --data-sets movies --columns 2000 --set dimensions=10

The data, their split and the parts are those of `cooccurrence_baselines.py`. Features come from the embedded `rules`
model; of films from `rules` on year and genres plus the recorded answers. Settings are fixed before, not chosen on test pairs.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import cooccurrence_data
import torch
from setting_values import setting_value

from genz_ppl.data import Items
from genz_ppl.data.pairs import pairs_from_frame
from genz_ppl.discovery.pairs.cooccur import cooccur

PARTS = ("held_out", "new_rows", "new_columns", "new_both")
BINARY = ("un-votes", "plants")
Case = tuple[str, str, Path, int | None, int | None, int, dict[str, Any]]


def run(case: Case) -> tuple[dict[str, dict[str, float | None]], int, int, float]:
    """Scores by part, features of rows and columns, seconds."""
    torch.set_num_threads(1)
    name, fit, folder, n_rows, n_columns, seed, settings = case
    table = cooccurrence_data.build(name, folder, n_rows, n_columns)
    rows, columns = (Items.from_frame(one, id="id", require_target=False, name=name) for one in (table.rows, table.columns))
    pairs = pairs_from_frame(table.pairs, rows.ids, columns.ids)
    answers = folder / "ml-1m" / "movie_answers.jsonl"
    model = f"rules+table:{answers}" if name == "movies" else "rules"
    likelihood = "bernoulli" if name in BINARY else "gaussian"
    started = time.monotonic()
    found = cooccur(rows, columns, pairs, model, column_model="rules", fit=fit, likelihood=likelihood, seed=seed, **settings)
    last = found.curve.iloc[-1]
    return found.scores, int(last["n_row_features"]), int(last["n_column_features"]), time.monotonic() - started


def main() -> None:
    """Print a table a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENZ_DATA", "../shared/data")))
    parser.add_argument("--data-sets", nargs="+", choices=cooccurrence_data.BUILDERS, default=list(cooccurrence_data.BUILDERS))
    parser.add_argument("--fits", nargs="+", default=["decoupled", "joint"])
    parser.add_argument("--rows", type=int, help="as many row items, not the usual number")
    parser.add_argument("--columns", type=int, help="films: as many viewers, not all")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the run")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    if not given.data.is_dir():
        print(f"skipped: no data in {given.data}; name its folder with --data, or set GENZ_DATA to it")
        return
    settings = {name: setting_value(text) for name, _, text in (pair.partition("=") for pair in given.set)}
    for name in given.data_sets:
        metrics = ("auc", "log_loss") if name in BINARY else ("rmse", "log_likelihood")
        print(f"\n| {name} | " + " | ".join(f"{part}: {', '.join(metrics)}" for part in PARTS) + " | features | seconds |")
        print("|---" * (len(PARTS) + 3) + "|")
        for fit in given.fits:
            cases = [(name, fit, given.data, given.rows, given.columns, seed, settings) for seed in range(given.seeds)]
            with ProcessPoolExecutor(given.workers) as pool:
                found = list(pool.map(run, cases))
            cells = []
            for part in PARTS:
                cells.append(", ".join(_cell([scores[part].get(metric) for scores, *_ in found]) for metric in metrics))
            features = f"{mean(one[1] for one in found):.0f} + {mean(one[2] for one in found):.0f}"
            print(f"| {fit} | {' | '.join(cells)} | {features} | {mean(one[3] for one in found):.0f} |", flush=True)


def _cell(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "-"
    return f"{mean(known):.4f}" + (f" ± {stdev(known):.4f}" if len(known) > 1 else "")


if __name__ == "__main__":
    main()
