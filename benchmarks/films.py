"""Films of the paper (section 5.3, Fig. 6): cosine similarity of predicted and true embeddings, over random splits.

    python benchmarks/films.py ../shared/data/ml-1m --seeds 10 --workers 2            # recorded answers, at most 27 features
    python benchmarks/films.py ../shared/data/ml-1m --source movielens-genres --max-features 0    # with the rules beside them
    python benchmarks/films.py ../shared/data/things --source things --max-features 0 --seeds 3   # objects, with the rules

The films are the 512 most rated ones of MovieLens 1M, their targets 32 singular vectors of the ratings. Beside discovery, linear
and with a network, on the same splits: ridge regression on all questions there are to ask, and on 27 of them, chosen one after
the other, each the one that leaves least of the targets; both with the targets as they are and, as `direction` has it, with each
item's divided by their length. The strength of the ridge is the best by leave-one-out errors of the training items. p: paired
t-test of the splits' values against the first row.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
from paired import p_value, tied

from genz_ppl.data import Items, open_source
from genz_ppl.diagnostics.measures import cosine
from genz_ppl.types import FloatArray

GREEDY = 27
RIDGES = np.geomspace(0.3, 3000, 30)
# Steps of the years in the regressions. Words of objects that are true of a smaller share of them are left out, as in discovery.
YEARS, SMALLEST_SHARE = range(1925, 2001, 5), 0.02


@dataclass(frozen=True)
class Case:
    """One split: the source, its folder and what else it is opened with, its number, and the settings of discovery."""

    source: str
    folder: str
    extra: str
    seed: int
    links: tuple[str, ...]
    settings: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """Cosine similarity on the test items, and how many features that took."""

    cosine: float
    n_features: int


def run(case: Case) -> dict[str, Outcome]:
    """Everything on one split."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from genz_ppl import discover

    torch.set_num_threads(1)
    items = open_source(f"{case.source}:{case.folder}{case.extra}")
    assert items.targets is not None
    split = items.split_indices(case.seed, 0.2)
    found: dict[str, Outcome] = {}
    for link in case.links:
        last = discover(items, model_of(case), link=link, seed=case.seed, **case.settings).curve.iloc[-1]
        found[f"discovery, {link}"] = Outcome(float(last["test_error"]), int(last["n_features"]))
    columns = known_columns(items, Path(case.folder), case.source)
    shares, least = columns[split.train].mean(0), SMALLEST_SHARE if case.source == "things" else 1 / len(split.train)
    columns = columns[:, np.minimum(shares, 1 - shares) >= least]
    length = np.linalg.norm(items.targets, axis=1, keepdims=True)
    for name, targets in (("", items.targets), (", directions", items.targets / length)):
        for chosen in (list(range(columns.shape[1])), greedy(columns[split.train], targets[split.train], GREEDY)):
            predicted = ridge(columns[split.train][:, chosen], targets[split.train], columns[split.test][:, chosen])
            kind = "all questions" if len(chosen) > GREEDY else f"{GREEDY} questions, greedy"
            found[f"ridge, {kind}{name}"] = Outcome(cosine(items.targets[split.test], predicted), len(chosen))
    centre = np.tile(items.targets[split.train].mean(0), (len(split.test), 1))
    found["mean of the training items"] = Outcome(cosine(items.targets[split.test], centre), 0)
    return found


def model_of(case: Case) -> str:
    """Who answers."""
    table = f"table:{Path(case.folder) / 'movie_answers.jsonl'}"
    return {"movielens": table, "movielens-genres": f"rules+{table}"}.get(case.source, "rules")


def known_columns(items: Items, folder: Path, source: str) -> FloatArray:
    """What a regression can ask: recorded answers, genres and years; of objects the words of their names and their categories."""
    columns: list[list[bool]] = []
    if source.startswith("movielens"):
        lines = (folder / "movie_answers.jsonl").read_text().splitlines()
        for line in lines:
            yes = {str(film) for film in json.loads(line)["yes"]}
            columns.append([item.id in yes for item in items])
    if source == "movielens":
        return np.array(columns, dtype=np.float64).T
    for name in ("genres", "year") if source.startswith("movielens") else items[0].fields:
        values = [item.fields.get(name) for item in items]
        columns += list(year_steps(values) if name == "year" else word_columns(values))
    unique = np.unique(np.array(columns, dtype=np.float64), axis=0)
    return unique.T


def year_steps(values: list[Any]) -> Iterator[list[bool]]:
    """From each of the years on."""
    for year in YEARS:
        yield [value is not None and float(value) >= year for value in values]


def word_columns(values: list[Any]) -> Iterator[list[bool]]:
    """Each part between commas, and each word: whether it is there. Rare ones are left out later."""
    parts = [
        {text for part in str(value or "").lower().split(",") for text in (part.strip(), *re.findall(r"[a-z'-]+", part))}
        for value in values
    ]
    for text in sorted(set().union(*parts) - {""}):
        yield [text in one for one in parts]


def greedy(columns: FloatArray, targets: FloatArray, n: int) -> list[int]:
    """n columns, each the one that with those before it leaves least of the standardised targets, by least squares."""
    left, y = columns - columns.mean(0), (targets - targets.mean(0)) / targets.std(0)
    chosen: list[int] = []
    for _ in range(min(n, columns.shape[1])):
        size = (left**2).sum(0)
        gains = np.where(size > 1e-9 * len(y), ((left.T @ y) ** 2).sum(1) / np.maximum(size, 1e-300), -1.0)
        gains[chosen] = -1.0
        best = int(gains.argmax())
        chosen.append(best)
        unit = left[:, best] / np.sqrt(size[best])
        y = y - np.outer(unit, unit @ y)
        left = left - np.outer(unit, unit @ left)
    return chosen


def ridge(columns: FloatArray, targets: FloatArray, new: FloatArray) -> FloatArray:
    """Predictions for new items; columns and targets are standardised, one strength for all, the best by leave-one-out errors."""
    centre, size = columns.mean(0), columns.std(0)
    size = np.where(size > 0, size, 1.0)
    location, spread = targets.mean(0), targets.std(0)
    y = (targets - location) / spread
    left, values, right = np.linalg.svd((columns - centre) / size, full_matrices=False)
    along = left.T @ y

    def error(strength: float) -> float:
        shrunk = values**2 / (values**2 + strength)
        leverage = (left**2) @ shrunk + 1 / len(y)
        return float((((y - left @ (shrunk[:, None] * along)) / (1 - leverage)[:, None]) ** 2).mean())

    strength = min(RIDGES, key=error)
    weights = right.T @ ((values / (values**2 + strength))[:, None] * along)
    predicted: FloatArray = (new - centre) / size @ weights * spread + location
    return predicted


def main() -> None:
    """Run the splits and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data")) / "ml-1m"
    parser.add_argument("folder", type=Path, nargs="?", default=default, help="ratings, movies and movie_answers.jsonl")
    parser.add_argument("--source", choices=["movielens", "movielens-genres", "things"], default="movielens")
    parser.add_argument("--dimensions", type=int, help="singular vectors of the ratings; 32 if not given")
    parser.add_argument("--links", nargs="+", default=["linear", "neural"])
    parser.add_argument("--max-features", type=int, default=GREEDY, help="0: no limit")
    parser.add_argument("--no-direction", action="store_true", help="targets as they are, error rates learned")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        print(f"skipped: no data in {arguments.folder}; name its folder, or set GENZ_DATA to the folder above it")
        return
    settings = {"direction": not arguments.no_direction, "max_features": arguments.max_features or None}
    links, folder = tuple(arguments.links), str(arguments.folder)
    extra = f",dimensions={arguments.dimensions}" if arguments.dimensions else ""
    cases = [Case(arguments.source, folder, extra, seed, links, settings) for seed in range(arguments.seeds)]
    with ProcessPoolExecutor(arguments.workers) as pool:
        outcomes = list(pool.map(run, cases))
    print("| method | cosine | sd | features | p |")
    print("|---|---|---|---|---|")
    first = [next(iter(found.values())).cosine for found in outcomes]
    for name in outcomes[0]:
        values = [found[name].cosine for found in outcomes]
        spread = stdev(values) if len(values) > 1 else float("nan")
        tested = f"{p_value(first, values):.2g}" if len(values) > 1 and not tied(first, values) else "-"
        features = mean(found[name].n_features for found in outcomes)
        print(f"| {name} | {mean(values):.4f} | {spread:.4f} | {features:.1f} | {tested} |")


if __name__ == "__main__":
    main()
