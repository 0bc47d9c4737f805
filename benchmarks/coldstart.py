"""Cold start on MovieLens 1M (Fig. 5 of the paper): what a prediction is worth in ratings, and the warm start next to both.

    python benchmarks/coldstart.py ../shared/data/ml-1m --seeds 3
    python benchmarks/coldstart.py ../shared/data/ml-1m --run runs/films     # a run of genz fit that is there already

Finds features from recorded answers (movie_answers.jsonl beside the films), then takes up to 100 test films out of the ratings,
one at a time, and gives them their ratings back in random order. Besides the three curves of `genz coldstart`: the ratings with V
of the whole matrix, the film's own row left in ("row left in"); the fold-in stretched as the warm start has it ("stretched");
and the warm start with the training films' mean and covariance in place of the prediction ("no questions"). At every count the
warm start is compared with the better of prediction and ratings on the same films; the worst count, in standard errors of the
paired difference, is printed. So is how often its 90 % intervals hold the full embedding.
"""

from __future__ import annotations

import argparse
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.discovery.discover import Discovery, discover
from genz_ppl.discovery.ratings.coldstart import ColdStart, cosine, simulate
from genz_ppl.discovery.ratings.rated_run import RatedRun
from genz_ppl.inference.ratings.fold_in import path
from genz_ppl.inference.ratings.gaussian_posterior import GaussianPosterior
from genz_ppl.inference.ratings.warm_start import residual_covariance, scale_odds

COUNTS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
NORMAL_90 = 1.6449


@dataclass(frozen=True, eq=False)
class Found:
    """One run: the simulation, the curves beside it, (films, N), coverage by count, and seconds."""

    cold: ColdStart
    beside: dict[str, Any]
    coverage: dict[int, float]
    seconds: dict[str, float]


def measure(run: Discovery, n_items: int, n_ratings: int, seed: int) -> Found:
    """The simulation of `genz coldstart`, and on the same films in the same order what else is compared."""
    started = time.perf_counter()
    rated = RatedRun.recorded(run, seed)
    learned = time.perf_counter()
    cold = simulate(rated, n_items, n_ratings, seed)
    simulated = time.perf_counter()
    places = [rated.items.ids.index(name) for name in run.record.split.train]
    known = rated.factors.embeddings[[rated.rows[rated.items.ids[place]] for place in places]]
    covariance = residual_covariance(known - known.mean(axis=0), 1)
    plain = GaussianPosterior.of(known.mean(axis=0), covariance)
    without = replace(rated.warm, odds=scale_odds(known - known.mean(axis=0), covariance))
    names = run.record.split.test
    random = np.random.default_rng(seed)
    chosen = [names[position] for position in random.permutation(len(names))[:n_items]]
    assert tuple(chosen) == cold.items
    priors = rated.priors(rated.items.take([rated.items.ids.index(name) for name in chosen]))
    length = cold.cosines["both"].shape[1]
    beside = {name: np.full((len(chosen), length), np.nan) for name in ("row left in", "stretched", "no questions")}
    inside: dict[int, list[float]] = {count: [] for count in (0, *COUNTS)}
    for row, (name, prior) in enumerate(zip(chosen, priors, strict=True)):
        held = rated.held(name)
        order = random.permutation(len(held.values))[:n_ratings]
        sums = rated.stretch * path(held.weights, held.users[order], held.values[order])
        left_in = path(rated.factors, held.users[order], held.values[order])
        beside["row left in"][row, : len(sums)] = cosine(left_in, held.embedding)
        beside["stretched"][row, : len(sums)] = cosine(sums, held.embedding)
        beside["no questions"][row, : len(sums)] = cosine(without.path(plain, sums), held.embedding)
        for count in [count for count in inside if count <= len(sums)]:
            mean, spread = rated.warm.after(prior, count, sums[count - 1] if count else np.zeros_like(prior.mean))
            inside[count].append(float(np.mean(np.abs(held.embedding - mean) < NORMAL_90 * np.sqrt(spread.diagonal()))))
    coverage = {count: float(np.mean(found)) for count, found in inside.items() if found}
    return Found(cold, beside, coverage, {"learning": learned - started, "simulation": simulated - learned})


def show(found: Found) -> None:
    """The curves at a few counts, the worth, and the worst count of the warm start."""
    table = found.cold.table
    print("| ratings | films | ratings only | prediction only | both | both above the better, se | ", end="")
    print(" | ".join([*found.beside, "90 % interval holds"]), "|")
    print("|" + "---|" * (7 + len(found.beside)))
    for _, row in table[table["n_ratings"].isin(COUNTS)].iterrows():
        count = int(row["n_ratings"])
        bands = [
            f"{row[f'{n}_mean']:.3f} ({row[f'{n}_lower']:.2f}, {row[f'{n}_upper']:.2f})" for n in ("ratings", "prior", "both")
        ]
        others = [f"{np.nanmean(curve[:, count - 1]):.3f}" for curve in found.beside.values()]
        margin = f"{row['margin']:+.4f} ± {row['margin_se']:.4f}"
        print(
            "|", " | ".join([str(count), str(int(row["n_items"])), *bands, margin, *others, f"{found.coverage[count]:.1%}"]), "|"
        )
    checked = table[table["n_items"] > 1]
    lowest = int(checked["margin"].to_numpy().argmin())
    worst = int((checked["margin"] / checked["margin_se"]).to_numpy().argmin())
    print(f"counts 1 to {len(table)}: lowest margin {margin_at(checked, lowest)}; in standard errors {margin_at(checked, worst)}")
    ends = np.array([row[~np.isnan(row)][-1] for row in found.beside["stretched"]])
    print(
        f"90 % intervals of the prediction hold {found.coverage[0]:.1%}; stretched fold-in at the last count: {ends.mean():.3f}"
    )
    print("; ".join(f"{name} {seconds:.0f} s" for name, seconds in found.seconds.items()), "\n")


def margin_at(table: pd.DataFrame, row: int) -> str:
    """By how much both together are above the better one, with its standard error, and at which count."""
    return f"{table['margin'].iloc[row]:+.4f} ± {table['margin_se'].iloc[row]:.4f} at {table['n_ratings'].iloc[row]}"


def worth(prior: Any, curve: Any) -> int | None:
    """As `ColdStart.worth`, of another curve."""
    reached = np.flatnonzero(np.nanmean(curve, axis=0) >= prior)
    return int(reached[0]) + 1 if len(reached) else None


def main() -> None:
    """Fit, unless there is a run, and simulate for every seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data")) / "ml-1m"
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds MovieLens and movie_answers.jsonl")
    parser.add_argument("--run", type=Path, help="the folder of a run on these films, in place of fitting one")
    parser.add_argument("--seeds", type=int, default=1, help="splits, each with a fit and a simulation")
    parser.add_argument("--items", type=int, default=100)
    parser.add_argument("--ratings", type=int, default=1000)
    parser.add_argument("--dimensions", type=int, default=32)
    parser.add_argument("--model", help="table:FILE or another model; the recorded answers if not given")
    parser.add_argument("--max-features", type=int, default=27)
    parser.add_argument("--error-rate-prior", type=float, nargs=2, default=(1.0, 1e6), help="of the answers")
    parser.add_argument("--cycles", type=int, default=10)
    arguments = parser.parse_args()
    if arguments.run is None and not arguments.directory.is_dir():
        print(f"skipped: no films in {arguments.directory}; name their folder, or set GENZ_DATA to the folder above it")
        return
    import torch

    torch.set_num_threads(1)
    for seed in range(arguments.seeds):
        run = Discovery.load(arguments.run) if arguments.run is not None else fit(arguments, seed)
        last = run.curve.iloc[-1]
        print(f"seed {seed}: {int(last['n_features'])} features, cosine {last['test_error']:.3f} on test films\n")
        show(measure(run, arguments.items, arguments.ratings, seed))


def fit(arguments: argparse.Namespace, seed: int) -> Discovery:
    """A run on the films in the folder."""
    from genz_ppl.data import open_source

    source = f"movielens:{arguments.directory.resolve()},dimensions={arguments.dimensions}"
    model = arguments.model or f"table:{arguments.directory.resolve() / 'movie_answers.jsonl'}"
    settings = {"error_rate_prior": tuple(arguments.error_rate_prior), "max_features": arguments.max_features}
    return discover(open_source(source), model, source=source, seed=seed, cycles=arguments.cycles, **settings)


if __name__ == "__main__":
    main()
