"""House prices: discovery against 0-shot questions, ridge, boosting and a Gaussian process, with learning curves (Fig. 4).

    python benchmarks/houses_compared.py ../shared/data/houses --workers 2 --keep houses.jsonl
    python benchmarks/houses_compared.py ../shared/data/houses --workers 2 --keep houses.jsonl --group listing
    python benchmarks/houses_compared.py ../shared/data/houses --methods ridge "gradient boosting"

The median absolute error of log price over random 80/20 splits; each method sees the training items of the split only.
Discovery ("linear/student_t", "neural/gaussian": link and likelihood) has the default settings otherwise; "0-shot" is
`genz_ppl.baseline`, its questions made and answered by the same oracle, with that link and likelihood
("0-shot:200": so many questions, not 50). "best test step" reads a curve as the paper does, at the step with the best test
error, which the test items themselves have chosen. The others are those of `houses_yardsticks.py`. p: paired t-test of the
splits' errors against the first method's; "p, overlap" allows for splits that share training items. With --group listing houses
of equal area and zip code, double listings among them, stay on one side. With --keep, results that are in that file are not made
again.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd
from houses_yardsticks import YARDSTICKS, fields_frame
from paired import p_value, tied

METHODS = ["linear/student_t", "neural/gaussian", "0-shot linear/student_t", *YARDSTICKS]
QUESTIONS = 50
TEST_FRACTION = 0.2
OVERLAP = TEST_FRACTION / (1 - TEST_FRACTION)
CHOSEN_BY_TEST = ", best test step"


@dataclass(frozen=True)
class Case:
    """One method on one split."""

    source: str
    group: str | None
    method: str
    seed: int


@dataclass(frozen=True)
class Outcome:
    """Errors on both sides; NaN or None where a method has no features. curve, path: (number, features, train error, test error).

    curve: by the row of the learning curve. path: of the 0-shot baseline, by the number of features, most first.
    """

    train_error: float
    test_error: float
    n_features: int | None = None
    best_test: tuple[float, int] | None = None
    curve: tuple[tuple[int, int, float, float], ...] = ()
    path: tuple[tuple[int, int, float, float], ...] = ()


def run(case: Case) -> Outcome:
    """Train and test one method on one split."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    import genz_ppl
    from genz_ppl.data import open_source
    from genz_ppl.discovery.baseline import pruning_path, readings

    torch.set_num_threads(1)
    items = open_source(case.source, group=case.group)
    if case.method in YARDSTICKS:
        assert items.targets is not None
        y, split = items.targets[:, 0], items.split_indices(case.seed, TEST_FRACTION)
        errors = np.abs(YARDSTICKS[case.method](fields_frame(items), y, split.train) - y)
        return Outcome(float(np.median(errors[split.train])), float(np.median(errors[split.test])))
    asked, _, model = case.method.rpartition(" ")
    link, likelihood = model.split("/")
    if asked:
        count = int(asked.partition(":")[2] or QUESTIONS)
        found = genz_ppl.baseline(items, "rules", link=link, likelihood=likelihood, seed=case.seed, n_questions=count)
        best = readings(found.curve).best_test
        points = pruning_path(found.curve)
        path = tuple((point.n_features, point.n_features, point.train_error, point.test_error) for point in points)
        return _outcome(found.curve, (best.test_error, best.n_features), path)
    found = genz_ppl.discover(items, link=link, likelihood=likelihood, seed=case.seed)
    at = found.curve.sort_values("test_error", kind="stable").iloc[0]
    return _outcome(found.curve, (float(at["test_error"]), int(at["n_features"])))


def _outcome(curve: pd.DataFrame, best: tuple[float, int], path: tuple[tuple[int, int, float, float], ...] = ()) -> Outcome:
    assert curve["metric"].iloc[-1] == "median_absolute_error"
    columns = (curve[name].tolist() for name in ("n_features", "train_error", "test_error"))
    rows = tuple((row, int(n), float(train), float(test)) for row, (n, train, test) in enumerate(zip(*columns, strict=True)))
    return Outcome(rows[-1][2], rows[-1][3], rows[-1][1], best, rows, path)


def kept(file: Path | None) -> dict[Case, Outcome]:
    """What an earlier call has left in the file."""
    found = {}
    for line in [] if file is None or not file.exists() else file.read_text().splitlines():
        row = json.loads(line)
        found[Case(**row["case"])] = Outcome(**row["outcome"])
    return found


def results(cases: Sequence[Case], workers: int, file: Path | None) -> dict[Case, Outcome]:
    """All of them, those in the file without running; each is written there as it ends."""
    found = kept(file)
    for case, outcome in made([case for case in cases if case not in found], workers):
        found[case] = outcome
        if file is not None:
            with file.open("a") as stream:
                stream.write(json.dumps({"case": asdict(case), "outcome": asdict(outcome)}) + "\n")
    return {case: found[case] for case in cases}


def made(cases: Sequence[Case], workers: int) -> Iterator[tuple[Case, Outcome]]:
    """Each as it ends; one worker is this process."""
    if workers == 1:
        yield from ((case, run(case)) for case in cases)
        return
    with ProcessPoolExecutor(workers) as pool:
        waiting = {pool.submit(run, case): case for case in cases}
        yield from ((waiting[done], done.result()) for done in as_completed(waiting))


def comparison(outcomes: dict[str, list[Outcome]]) -> list[str]:
    """The rows of the first table, the method that others are tested against first."""
    first = [outcome.test_error for outcome in next(iter(outcomes.values()))]
    rows = ["| method | test error | sd | difference | p | p, overlap | train error | features |", f"|{'---|' * 8}"]
    for name, found in outcomes.items():
        train = f"{mean(outcome.train_error for outcome in found):.4f}"
        features = f"{mean(outcome.n_features or 0 for outcome in found):.1f}" if found[0].n_features is not None else "-"
        rows.append(_row(name, [outcome.test_error for outcome in found], first, train, features))
        best = [outcome.best_test for outcome in found if outcome.best_test is not None]
        if best:
            rows.append(_row(name + CHOSEN_BY_TEST, [one[0] for one in best], first, "-", f"{mean(one[1] for one in best):.1f}"))
    return rows


def _row(name: str, tests: list[float], first: list[float], train: str, features: str) -> str:
    several, same = len(tests) > 1, len(tests) == len(first) and tied(first, tests)
    spread = f"{stdev(tests):.4f}" if several else "-"
    difference = "-" if same else f"{mean(tests) - mean(first):+.4f}"
    tested = [f"{p_value(first, tests, overlap):.2g}" if several and not same else "-" for overlap in (0.0, OVERLAP)]
    splits = f" <!-- {' '.join(f'{test:.3f}' for test in tests)} -->"
    return f"| {name} | {mean(tests):.4f} | {spread} | {difference} | {' | '.join(tested)} | {train} | {features} |{splits}"


def learning_curve(found: list[Outcome], every: int) -> list[str]:
    """Means over the splits by the row of the curve, every so many and the last; an ended run counts with its last row."""
    rows = ["| row of the curve | train error | test error | features | runs not yet ended |", "|---|---|---|---|---|"]
    longest = max(len(outcome.curve) for outcome in found)
    for number in sorted({*range(0, longest, every), longest - 1}):
        at = [outcome.curve[min(number, len(outcome.curve) - 1)] for outcome in found]
        running = sum(len(outcome.curve) > number for outcome in found)
        train, test, count = (mean(row[index] for row in at) for index in (2, 3, 1))
        rows.append(f"| {number} | {train:.4f} | {test:.4f} | {count:.1f} | {running} |")
    return rows


def pruning(found: list[Outcome], every: int) -> list[str]:
    """Means over the splits by the number of features, for the numbers that every split's path has."""
    rows = ["| features | train error | test error |", "|---|---|---|"]
    by_number: list[dict[int, Any]] = [{row[1]: row for row in outcome.path} for outcome in found]
    shared = set.intersection(*(set(one) for one in by_number))
    for number in sorted(number for number in shared if number % every == 0 or number == max(shared)):
        train, test = (mean(one[number][index] for one in by_number) for index in (2, 3))
        rows.append(f"| {number} | {train:.4f} | {test:.4f} |")
    return rows


def main() -> None:
    """Run the methods on the splits and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data")) / "houses"
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds Houses-dataset/ and annotations.jsonl")
    parser.add_argument("--source", choices=["houses", "houses-metadata"], default="houses")
    parser.add_argument("--group", choices=["listing"], help="houses of equal area and zip code on one side of the split")
    parser.add_argument("--methods", nargs="+", default=METHODS, help="the first is the one that others are tested against")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--every", type=int, default=5, help="rows of the curves that are printed")
    parser.add_argument("--keep", type=Path, help="a file of results, added to")
    arguments = parser.parse_args()
    if not arguments.directory.is_dir():
        print(f"skipped: no house data in {arguments.directory}; name its folder, or set GENZ_DATA to the folder above it")
        return
    source = f"{arguments.source}:{arguments.directory}"
    cases = [Case(source, arguments.group, method, seed) for method in arguments.methods for seed in range(arguments.seeds)]
    found = results(cases, arguments.workers, arguments.keep)
    outcomes = {method: [found[case] for case in cases if case.method == method] for method in arguments.methods}
    print("\n".join(comparison(outcomes)))
    for method, of_splits in outcomes.items():
        if of_splits[0].curve and not of_splits[0].path:
            print(f"\n{method}, learning curve:\n\n" + "\n".join(learning_curve(of_splits, arguments.every)))
        if of_splits[0].path:
            print(f"\n{method}, by number of features:\n\n" + "\n".join(pruning(of_splits, arguments.every)))


if __name__ == "__main__":
    main()
