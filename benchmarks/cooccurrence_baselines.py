"""Yardsticks for the two-item model on votes, ratings and plants: held-out pairs, new rows, new columns, both new.

    python benchmarks/cooccurrence_baselines.py --seeds 3                     # all three data sets
    python benchmarks/cooccurrence_baselines.py --data-sets movies --columns 2000 --only factors

A fifth of the rows, a fifth of the columns and a tenth of the pairs of the others are for testing. The yardsticks' settings are
chosen by a second split of the same kind of the training pairs: for each test part, the setting with the least error on the
corresponding part of the second split, fitted again on all training pairs. Features are made from the tables alone, for all
items at once, without values.
"""

from __future__ import annotations

import argparse
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from statistics import mean, stdev

import cooccurrence_data
import numpy as np
import pandas as pd
from cooccurrence_yardsticks import Factors, Implicit, Means, Regression, Trees, Yardstick
from numpy.typing import NDArray

from genz_ppl.data.pair_split import PairSplit, split_pairs
from genz_ppl.data.pairs import pairs_from_frame
from genz_ppl.types import FloatArray, Pairs

TEST_PARTS = ("held_out", "new_rows", "new_columns", "new_both")
LEAST_PROBABILITY = 0.005  # linear predictions of yes/no are cut off there
Score = dict[str, float]
Sizes = tuple[int | None, int | None]  # row and column items to take, None for the usual number


def yardsticks(binary: bool) -> dict[str, list[Callable[[], Yardstick]]]:
    """The settings of each yardstick to choose from."""

    def regressions(rank: int) -> list[Callable[[], Yardstick]]:
        ridges = ((1.0, 1.0), (10.0, 3.0), (30.0, 30.0))
        return [lambda own=own, common=common: Regression(binary, own, common, rank) for own, common in ridges]  # type: ignore[misc]

    shrinkages = (1.0, 5.0, 20.0)
    found: dict[str, list[Callable[[], Yardstick]]] = {"mean of all": [lambda: Means("none")]}
    for name, sides in (("row means", "rows"), ("column means", "columns"), ("means of both sides", "both")):
        found[name] = [lambda sides=sides, k=k: Means(sides, k) for k in shrinkages]  # type: ignore[misc]
    ranks = ((3, 5.0), (10, 5.0), (10, 15.0))
    found["factors (ALS)"] = [lambda k=k, ridge=ridge: Factors(k, ridge) for k, ridge in ranks]  # type: ignore[misc]
    found["factors, pairs not listed weighted"] = [
        lambda k=k, weight=weight: Factors(k, 5.0, absent_weight=weight)  # type: ignore[misc]
        for k, weight in ((10, 0.01), (10, 0.1), (20, 0.1))
    ]
    if binary:
        found["factors, presence only"] = [
            lambda k=k, weight=weight: Implicit(k, 5.0, absent_weight=weight)  # type: ignore[misc]
            for k, weight in ((10, 0.1), (10, 0.5), (20, 0.5))
        ]
    found["factors towards features"] = [
        lambda k=k, ridge=ridge, penalty=penalty: Factors(k, ridge, penalty)  # type: ignore[misc]
        for k, ridge, penalty in ((3, 5.0, 3.0), (10, 5.0, 3.0), (10, 15.0, 1.0), (10, 15.0, 10.0))
    ]
    kind = "logistic " if binary else ""
    found[f"{kind}regression on features"] = regressions(0)
    found[f"{kind}regression on features, and factors"] = regressions(8)
    found["gradient boosting on features"] = [lambda leaves=leaves: Trees(binary, leaves) for leaves in (8, 31)]  # type: ignore[misc]
    return found


def features(table: pd.DataFrame, dimensions: int = 100) -> FloatArray:
    """(n, P) numbers for a table: numbers in standard units, one column a word or category, at most `dimensions` by SVD.

    Categories (up to 40 different cells in a column) need to be there 3 times, words of other columns 5 times.
    """
    blocks = []
    for name in table.columns.drop("id"):
        cells = table[name]
        if pd.api.types.is_numeric_dtype(cells):
            centred = (cells - cells.mean()).fillna(0.0).to_numpy(dtype=np.float64)
            blocks.append((centred / max(centred.std(), 1e-9))[:, None])
        elif cells.nunique() <= 40:
            blocks.append(_one_hot([{str(cell)} if pd.notna(cell) else set() for cell in cells], 3))
        else:
            blocks.append(_one_hot([set(re.findall(r"\w+", str(cell).lower())) for cell in cells], 5))
    found = np.column_stack(blocks)
    found = found - found.mean(axis=0)
    found = found[:, found.std(axis=0) > 0]
    if found.shape[1] > dimensions:
        _, vectors = np.linalg.eigh(found.T @ found)
        found = found @ vectors[:, -dimensions:]
    return np.asarray(found / np.sqrt((found**2).sum(axis=1).mean()))


def _one_hot(cells: list[set[str]], least: int) -> FloatArray:
    counts = Counter(word for words in cells for word in words)
    known = {word: place for place, word in enumerate(sorted(w for w, n in counts.items() if least <= n < len(cells)))}
    found = np.zeros((len(cells), len(known)))
    for row, words in enumerate(cells):
        for word in words & known.keys():
            # Rare words tell more; a long text does not count for more than a short one.
            found[row, known[word]] = np.log(len(cells) / counts[word]) / np.sqrt(len(words))
    return found


def scores(values: FloatArray, expected: FloatArray, binary: bool) -> Score:
    """RMSE and AUC (of yes, or of a rating of 4 or more), for yes/no also the log loss a pair; NaN where there is no pair."""
    if not len(values):
        return dict.fromkeys(("rmse", "auc", "log_loss"), float("nan"))
    low, high = (LEAST_PROBABILITY, 1 - LEAST_PROBABILITY) if binary else (1.0, 5.0)
    cut = np.clip(expected, low, high)
    found = {"rmse": float(np.sqrt(((values - cut) ** 2).mean())), "auc": auc(values > 0.5 if binary else values >= 4, expected)}
    if binary:
        found["log_loss"] = float(-(values * np.log(cut) + (1 - values) * np.log1p(-cut)).mean())
    return found


def auc(positive: NDArray[np.bool_], expected: FloatArray) -> float:
    """The share of (positive, negative) pairs in the right order, equals counting half; NaN if one kind is absent."""
    n = int(positive.sum())
    if n in (0, len(positive)):
        return float("nan")
    ranks = pd.Series(expected).rank().to_numpy()
    return float((ranks[positive].sum() - n * (n + 1) / 2) / (n * (len(positive) - n)))


def measure(
    makers: list[Callable[[], Yardstick]], pairs: Pairs, sides: tuple[FloatArray, FloatArray], seed: int, binary: bool
) -> Mapping[str, Score]:
    """The scores of a yardstick on each test part, its settings chosen on the training pairs."""
    split = split_pairs(pairs, seed, 0.2, 0.1)
    train = pairs.select(split.train)
    chosen = dict.fromkeys(TEST_PARTS, 0)
    if len(makers) > 1:
        error = "log_loss" if binary else "rmse"
        inner = split_pairs(train, seed + 1000, 0.2, 0.1)
        tried = [_score_parts(maker(), train, inner, sides, binary, TEST_PARTS) for maker in makers]
        chosen = {part: int(np.argmin([one[part][error] for one in tried])) for part in TEST_PARTS}
    found: dict[str, Score] = {}
    for number in sorted(set(chosen.values())):
        own = tuple(part for part in TEST_PARTS if chosen[part] == number)
        found |= _score_parts(makers[number](), pairs, split, sides, binary, own)
    return found


def _score_parts(
    yardstick: Yardstick,
    pairs: Pairs,
    split: PairSplit,
    sides: tuple[FloatArray, FloatArray],
    binary: bool,
    parts: tuple[str, ...],
) -> dict[str, Score]:
    yardstick.fit(pairs.select(split.train), *sides)
    found = {}
    for part in parts:
        test = pairs.select(split.parts()[part])
        found[part] = scores(test.values, yardstick.predict(test.rows, test.columns), binary)
    return found


@cache
def prepared(data_set: str, folder: Path, sizes: Sizes, answers: bool) -> tuple[Pairs, tuple[FloatArray, FloatArray]]:
    """The pairs of a data set and the features of both sides. answers: the films' recorded answers are features too."""
    tables = cooccurrence_data.build(data_set, folder, *sizes)
    rows = tables.rows
    if answers:
        rows = pd.concat([rows, cooccurrence_data.movie_answers(folder / "ml-1m", rows["id"].tolist()).fillna(0.5)], axis=1)
    pairs = pairs_from_frame(tables.pairs, rows["id"].tolist(), tables.columns["id"].tolist())
    return pairs, (features(rows), features(tables.columns))


def run(case: tuple[str, str, Path, Sizes, int, bool]) -> tuple[Mapping[str, Score], float]:
    """The scores of one yardstick with one seed, and the seconds it took, the choice of its settings included."""
    data_set, name, folder, sizes, seed, answers = case
    pairs, sides = prepared(data_set, folder, sizes, answers)
    binary = data_set in cooccurrence_data.BINARY
    start = time.perf_counter()
    return measure(yardsticks(binary)[name], pairs, sides, seed, binary), time.perf_counter() - start


def main() -> None:
    """Print a table for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENZ_DATA", "../shared/data")))
    parser.add_argument("--data-sets", nargs="+", choices=cooccurrence_data.BUILDERS, default=list(cooccurrence_data.BUILDERS))
    parser.add_argument("--rows", type=int, help="take as many row items, not the usual number")
    parser.add_argument("--columns", type=int, help="films: take as many viewers, not all")
    parser.add_argument("--only", default="", help="yardsticks whose name matches this pattern")
    parser.add_argument("--answers", action="store_true", help="films: the 114 recorded answers are features too")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"skipped: no data in {arguments.data}; name its folder with --data, or set GENZ_DATA to it")
        return
    sizes = (arguments.rows, arguments.columns)
    with ProcessPoolExecutor(arguments.workers) if arguments.workers > 1 else nullcontext() as pool:
        for data_set in arguments.data_sets:
            binary = data_set in cooccurrence_data.BINARY
            names = [name for name in yardsticks(binary) if re.search(arguments.only, name)]
            shown = ("auc", "log_loss") if binary else ("rmse", "auc")
            titles = " | ".join(f"{part.replace('_', ' ')}: {' and '.join(shown).replace('_', ' ')}" for part in TEST_PARTS)
            print(f"\n{data_set}\n\n| yardstick | {titles} | seconds |\n|{'---|' * (len(TEST_PARTS) + 2)}", flush=True)
            answers = arguments.answers and data_set == "movies"
            for name in names:
                cases = [(data_set, name, arguments.data, sizes, seed, answers) for seed in range(arguments.seeds)]
                found = list((pool.map if pool else map)(run, cases))
                cells = [", ".join(_cell([one[0][part][kind] for one in found]) for kind in shown) for part in TEST_PARTS]
                print(f"| {name} | {' | '.join(cells)} | {mean(one[1] for one in found):.0f} |", flush=True)


def _cell(values: list[float]) -> str:
    return f"{mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")


if __name__ == "__main__":
    main()
