"""Which likelihood and which link do the houses call for, and do leave-one-out and held-out errors agree?

    python benchmarks/likelihoods.py ../shared/data/houses --seeds 10 --workers 2 --keep runs/likelihoods

For every link and likelihood and every random 80/20 split: a whole run of `genz_ppl.discover` with the defaults, then PSIS-LOO
on the training items (`genz diagnose`) and the error and log likelihood of the test items. With --keep, runs that are in that
folder are not made again.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev

LINKS, LIKELIHOODS = ("linear", "interaction", "neural"), ("gaussian", "student_t")
MODELS = [f"{link}/{likelihood}" for link in LINKS for likelihood in LIKELIHOODS]


@dataclass(frozen=True)
class Case:
    """One run: the folder of the data, the link, the likelihood, the seed of its split and where it is kept."""

    directory: str
    link: str
    likelihood: str
    seed: int
    out: str


@dataclass(frozen=True)
class Score:
    """Test error, mean test log likelihood, LOO log likelihood an item, share of items with k-hat above 0.7, features."""

    error: float
    log_likelihood: float
    loo: float
    unreliable: float
    features: int


def run(case: Case) -> Score:
    """One run, made or read, and its scores."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import json

    import torch

    from genz_ppl import Discovery, discover
    from genz_ppl.data import open_source
    from genz_ppl.diagnostics.inference_data import leave_one_out, to_inference_data

    torch.set_num_threads(1)
    items = open_source(f"houses:{case.directory}")
    out = Path(case.out)
    if not (out / "run.json").exists():
        discover(items, out=out, link=case.link, likelihood=case.likelihood, seed=case.seed)
    found = Discovery.load(out)
    test = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["test"]
    fitted = found.fitted(items)
    loo = leave_one_out(to_inference_data(fitted))
    share = float((loo.pareto_k > 0.7).mean())
    features = int(found.features["active"].sum())
    return Score(test["median_absolute_error"], test["log_likelihood"], loo.elpd / len(fitted.item_ids), share, features)


def main() -> None:
    """Run the cases and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data")) / "houses"
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds Houses-dataset/ and annotations.jsonl")
    parser.add_argument("--models", nargs="+", default=MODELS, metavar="LINK/LIKELIHOOD")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, default=None, help="folder for the run directories")
    arguments = parser.parse_args()
    if not arguments.directory.is_dir():
        print(f"skipped: no house data in {arguments.directory}; name its folder, or set GENZ_DATA to the folder above it")
        return
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor(arguments.workers) as pool:
        keep = arguments.keep or Path(temporary)
        columns = ("link", "likelihood", "test error", "sd", "test log lik.", "LOO", "k-hat > 0.7", "features", "LOO's choice")
        print(f"| {' | '.join(columns)} |")
        print("|---|---|---|---|---|---|---|---|---|")
        table = {}
        for link, likelihood in (name.split("/") for name in arguments.models):
            cases = [
                Case(str(arguments.directory), link, likelihood, seed, str(keep / f"{link}-{likelihood}-{seed}"))
                for seed in range(arguments.seeds)
            ]
            table[link, likelihood] = list(pool.map(run, cases))
    chosen = [max(table, key=lambda model: table[model][seed].loo) for seed in range(arguments.seeds)]
    best = [min(table, key=lambda model: table[model][seed].error) for seed in range(arguments.seeds)]
    for model, scores in table.items():
        print(_row(model, scores, chosen.count(model)))
    regret = mean(table[chosen[s]][s].error - table[best[s]][s].error for s in range(arguments.seeds))
    agree = sum(one == other for one, other in zip(chosen, best, strict=True))
    print(f"\nLOO picks the model with the least test error in {agree} of {arguments.seeds} splits; ")
    picked = mean(table[chosen[s]][s].error for s in range(arguments.seeds))
    print(f"the model it picks has a mean test error of {picked:.4f}, {regret:.4f} above the best one of each split.")


def _row(model: tuple[str, str], scores: list[Score], times_chosen: int) -> str:
    errors = [score.error for score in scores]
    spread = stdev(errors) if len(errors) > 1 else float("nan")
    return (
        f"| {model[0]} | {model[1]} | {mean(errors):.4f} | {spread:.4f} | {mean(s.log_likelihood for s in scores):.3f} "
        f"| {mean(s.loo for s in scores):.3f} | {mean(s.unreliable for s in scores):.3f} "
        f"| {mean(s.features for s in scores):.1f} | {times_chosen} of {len(scores)} |"
    )


if __name__ == "__main__":
    main()
