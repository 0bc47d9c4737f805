"""What are effects that vary by zip code worth for the houses, beside questions alone and without any question?

    python benchmarks/groups.py ../shared/data/houses --seeds 10 --workers 2 --keep runs/groups

For both sources (with and without annotations), with and without `varying="zipcode"`, and with random splits or those that keep
double listings together: whole runs of `genz_ppl.discover` with Student-t noise and the defaults. The first row of each run's
learning curve is the model without questions: a regression on area, bedrooms and bathrooms, with the effects of zip codes
where they vary. With --keep, runs that are in that folder are not made again.
"""

from __future__ import annotations

import argparse
import itertools
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

COLUMNS = ("source", "link", "varying", "split", "no question", "test error", "sd", "test log lik.", "features", "answers asked")
SPLITS = {"random": None, "listings together": "listing"}


@dataclass(frozen=True)
class Case:
    """One run: the folder of the data, how it is read and fitted, the seed of its split and where it is kept."""

    directory: str
    source: str
    link: str
    varying: str
    split: str
    seed: int
    out: str


@dataclass(frozen=True)
class Score:
    """Test errors without questions and at the end, mean test log likelihood, features, training answers."""

    alone: float
    error: float
    log_likelihood: float
    features: int
    answers: int


def run(case: Case) -> Score:
    """One run, made or read, and its scores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import json

    import torch

    from genz_ppl import Discovery, discover
    from genz_ppl.data import open_source

    torch.set_num_threads(1)
    out = Path(case.out)
    if not (out / "metrics.json").exists():
        varying = None if case.varying == "none" else case.varying
        items = open_source(f"{case.source}:{case.directory}", group=SPLITS[case.split], varying=varying)
        discover(items, out=out, link=case.link, likelihood="student_t", seed=case.seed)
    found = Discovery.load(out)
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))
    return Score(
        alone=float(found.curve["test_error"].iloc[0]),
        error=metrics["test"]["median_absolute_error"],
        log_likelihood=metrics["test"]["log_likelihood"],
        features=metrics["n_features"],
        answers=metrics["answers_asked"],
    )


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data")) / "houses"
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds Houses-dataset/ and annotations.jsonl")
    parser.add_argument("--sources", nargs="+", default=["houses", "houses-metadata"])
    parser.add_argument("--links", nargs="+", default=["interaction", "linear"])
    parser.add_argument("--splits", nargs="+", default=list(SPLITS), choices=list(SPLITS))
    parser.add_argument("--varying", nargs="+", default=["zipcode", "none"], choices=["zipcode", "none"])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the run directories")
    arguments = parser.parse_args()
    if not arguments.directory.is_dir():
        print(f"skipped: no house data in {arguments.directory}; name its folder, or set GENZ_DATA to the folder above it")
        return
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(arguments.workers) as pool:
        keep = arguments.keep or Path(temporary)
        print(f"| {' | '.join(COLUMNS)} |")
        print("|" + "---|" * len(COLUMNS), flush=True)
        models = itertools.product(arguments.sources, arguments.splits, arguments.links, arguments.varying)
        for source, split, link, varying in models:
            name = f"{source}-{link}-{varying}-{split.replace(' ', '-')}"
            cases = [
                Case(str(arguments.directory), source, link, varying, split, seed, str(keep / f"{name}-{seed}"))
                for seed in range(arguments.seeds)
            ]
            print(_row(cases[0], list(pool.map(run, cases))), flush=True)


def _row(case: Case, scores: list[Score]) -> str:
    errors = [score.error for score in scores]
    spread = stdev(errors) if len(errors) > 1 else float("nan")
    return (
        f"| {case.source} | {case.link} | {case.varying} | {case.split} | {mean(s.alone for s in scores):.4f} "
        f"| {mean(errors):.4f} | {spread:.3f} | {mean(s.log_likelihood for s in scores):.3f} "
        f"| {mean(s.features for s in scores):.1f} | {mean(s.answers for s in scores):,.0f} |".replace(",", " ")
    )


if __name__ == "__main__":
    main()
