"""Error rates and weights: what calibration and learned spreads bring, on films, on simulated data and where items are few.

    python benchmarks/error_rates.py ../shared/data/ml-1m --seeds 10    # with the films
    python benchmarks/error_rates.py                                    # simulated data alone

Films: the 512 most rated ones of MovieLens 1M, 32 singular vectors, 114 recorded answers, and no discovery: 27 questions chosen
one after the other on the training films, each the one that leaves least of the targets, and all of them; cosine similarity on
the test films, split by the seed. Beside the fits ridge regression with the strength that is best by leave-one-out errors.
Worlds: 2 000 items, 8 features, 4 targets, a tenth of the answers wrong, noise 0.5; then the same where answers yes and answers
no are wrong at rates of their own (15 % and 3 %, and so on; 35 % of answers are yes), or where the model is wrong. Few items: 80
to train, 1 000 to test, 40 questions of which 8 move the targets, as much noise as signal; the slope of the truth on predictions,
and R2.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import films
import numpy as np
import torch

from genz_ppl.data import open_source
from genz_ppl.diagnostics.measures import cosine
from genz_ppl.inference import FitResult, fit
from genz_ppl.types import FloatArray

FITS: dict[str, dict[str, Any]] = {
    "the paper's": {"calibration": 0.0, "shrinkage": False},
    "answers are facts": {"calibration": 0.0, "shrinkage": False, "error_rate_prior": (1.0, 1e6)},
    "calibrated": {"shrinkage": False},
    "learned spreads": {"calibration": 0.0},
    "both (default)": {},
}
APART: dict[str, dict[str, Any]] = {"rates apart": {"error_rates": "asymmetric"}}
RATES = ("symmetric", "asymmetric", "auto")
Row = tuple[str, list[float]]


def film_rows(source: str, names: list[str], seed: int) -> Iterator[Row]:
    """Cosine similarity and mean p_e of the fits named, for plain targets and directions."""
    items = open_source(source)
    assert items.targets is not None
    split = items.split_indices(seed, 0.2)
    kind, _, rest = source.partition(":")
    columns = films.known_columns(items, Path(rest.partition(",")[0]), kind)
    shares = columns[split.train].mean(0)
    columns = columns[:, np.minimum(shares, 1 - shares) >= 1 / len(split.train)]
    lengths = np.linalg.norm(items.targets, axis=1, keepdims=True)
    for kind, targets in (("plain", items.targets), ("directions", items.targets / lengths)):
        greedy = films.greedy(columns[split.train], targets[split.train], films.GREEDY)
        for chosen in (greedy, list(range(columns.shape[1]))):
            train, test = columns[split.train][:, chosen], columns[split.test][:, chosen]
            name = f"{kind}, {films.GREEDY if chosen is greedy else 'all'} questions"
            for how in names:
                found = fit(train, targets[split.train], **{**FITS, **APART}[how])
                yield f"{name}: {how}", [cosine(items.targets[split.test], found.predict(test)), float(found.error_rates.mean())]
            yield f"{name}: ridge", [cosine(items.targets[split.test], films.ridge(train, targets[split.train], test)), 0.0]


def world_rows(seed: int) -> Iterator[Row]:
    """Posterior wrong over answers wrong, the largest error of a p_e, and the weights' root mean squared error."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(8, 4))
    weights = weights + 0.5 * np.sign(weights)
    truth = (random.random((2000, 8)) < 0.35).astype(float)
    answers = np.where(random.random(truth.shape) < 0.1, 1 - truth, truth)
    targets = truth @ weights + random.normal(size=4) + 0.5 * random.normal(size=(2000, 4))
    wrong = answers != truth
    for how, options in FITS.items():
        found = fit(answers, targets, **options)
        left = float(((found.posterior > 0.5) != truth).mean() / wrong.mean())
        off = float(np.abs(found.error_rates - wrong.mean(0)).max())
        yield how, [left, off, float(np.sqrt(((found.parameters["weights"] - weights) ** 2).mean()))]


def apart_of(found: FitResult) -> tuple[FloatArray, FloatArray]:
    """How often answers yes and answers no are wrong, (K,) each."""
    return found.answer_errors.of_yes, found.answer_errors.of_no


def apart_worlds(seed: int) -> Iterator[tuple[str, FloatArray, FloatArray, FloatArray]]:
    """Worlds by name: answers, truth and targets."""
    for of_yes, of_no, what in (
        *((0.15, 0.03, ""), (0.03, 0.15, ""), (0.12, 0.08, ""), (0.1, 0.1, ""), (0.15, 0.03, "rare"), (0.15, 0.03, "one target")),
        *((0.1, 0.1, "omitted features"), (0.1, 0.1, "products"), (0.1, 0.1, "skewed noise"), (0.1, 0.1, "one target")),
    ):
        random = np.random.default_rng(seed)
        weights = random.normal(size=(8, 1 if what == "one target" else 4))
        weights = weights + 0.5 * np.sign(weights)
        shares = np.array([0.01, 0.02, 0.02, 0.05, 0.2, 0.35, 0.35, 0.35]) if what == "rare" else 0.35
        answers = (random.random((2000, 8)) < shares).astype(float)
        wrong = random.random(answers.shape) < np.where(answers == 1, of_yes, of_no)
        truth = np.where(wrong, 1 - answers, answers)
        noise = 0.5 * random.normal(size=(2000, weights.shape[1]))
        if what == "omitted features":
            noise = noise + (random.random((2000, 6)) < 0.2) @ random.normal(size=(6, 4))
        elif what == "products":
            noise = noise + truth[:, [0, 2]] * truth[:, [1, 3]] @ random.normal(size=(2, 4))
        elif what == "skewed noise":
            noise = 0.5 * (random.exponential(size=noise.shape) - 1)
        yield f"{100 * of_yes:.0f} % / {100 * of_no:.0f} %{f', {what}' if what else ''}", answers, truth, truth @ weights + noise


def apart_rows(seed: int) -> Iterator[Row]:
    """Posterior wrong over answers wrong, the largest errors of both rates, and whether they were told apart."""
    for name, answers, truth, targets in apart_worlds(seed):
        wrong = answers != truth
        known = [(wrong & (answers == value)).sum(0) / (answers == value).sum(0) for value in (1, 0)]
        for how in RATES:
            found = fit(answers, targets, error_rates=how)
            left = float(((found.posterior > 0.5) != truth).mean() / wrong.mean())
            off = [float(np.abs(rates - share).max()) for rates, share in zip(apart_of(found), known, strict=True)]
            yield f"{name}: {how}", [left, *off, float(found.state.model.features.asymmetric)]


def few_rows(n_targets: int, seed: int) -> Iterator[Row]:
    """Slope of the truth on predictions, and R2, on 1 000 new items."""
    random = np.random.default_rng(seed)
    answers = (random.random((1080, 40)) < 0.4).astype(float)
    location = answers[:, :8] @ random.normal(size=(8, n_targets))
    targets = location + random.normal(size=location.shape) * location.std(0)
    train, test = slice(0, 80), slice(80, None)
    for how, options in FITS.items():
        yield how, forecast(fit(answers[train], targets[train], **options).predict(answers[test]), targets[test])
    yield "ridge", forecast(films.ridge(answers[train], targets[train], answers[test]), targets[test])


def forecast(found: FloatArray, truth: FloatArray) -> list[float]:
    """The mean slope of the targets, and R2 over all of them."""
    centred, moved = truth - truth.mean(0), found - found.mean(0)
    slope = (moved * centred).sum(0) / np.maximum((moved**2).sum(0), 1e-12)
    return [float(slope.mean()), float(1 - ((truth - found) ** 2).sum() / (centred**2).sum())]


def show(title: str, columns: list[str], rows: Callable[[int], Iterator[Row]], seeds: int) -> None:
    """A table of means over the seeds; none without seeds."""
    if not seeds:
        return
    found: dict[str, list[list[float]]] = {}
    for seed in range(seeds):
        for name, values in rows(seed):
            found.setdefault(name, []).append(values)
    print(f"\n{title}, {seeds} seeds\n\n| | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name, several in found.items():
        print(f"| {name} | {' | '.join(f'{mean(column):.4f}' for column in zip(*several, strict=True))} |", flush=True)


def main() -> None:
    """See the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="of MovieLens 1M, with ,dimensions=50 if need be; without it no films")
    parser.add_argument(
        "--source", choices=["movielens", "movielens-genres"], default="movielens", help="genres: the rules beside answers"
    )
    parser.add_argument("--fits", nargs="+", choices=[*FITS, *APART], default=[*FITS, *APART], help="of the films")
    parser.add_argument("--seeds", type=int, default=10, help="splits of the films")
    parser.add_argument("--worlds", type=int, default=8)
    parser.add_argument("--few", type=int, default=20)
    parser.add_argument("--apart", type=int, default=8, help="worlds where answers yes and no are wrong at rates of their own")
    options = parser.parse_args()
    torch.set_num_threads(1)
    show("Worlds", ["wrong left", "largest error of p_e", "error of weights"], world_rows, options.worlds)
    columns = ["wrong left", "largest error of yes", "of no", "told apart"]
    show("Worlds, rates of yes / of no", columns, apart_rows, options.apart)
    for n_targets in (1, 8):
        show(f"Few items, D = {n_targets}", ["slope", "R2"], lambda seed, n=n_targets: few_rows(n, seed), options.few)  # type: ignore[misc]
    if options.folder is not None:
        source = f"{options.source}:{options.folder}"
        show("Films", ["cosine", "p_e"], lambda seed: film_rows(source, options.fits, seed), options.seeds)


if __name__ == "__main__":
    main()
