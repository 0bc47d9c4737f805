"""Do intervals of effects hold what they promise? Wrong answers of several kinds, and questions chosen on the same data.

    python benchmarks/effects.py --seeds 600

3 000 items, one target with noise 1, effects 1, -0.6 and 0 of questions true of 35 %, 300 items with gold labels; coverage of
nominal 95 % intervals and their mean width, over all questions. The first three settings are those that the method was made with,
the others were written down before it was ever run on them. After selection: 40 questions of which 3 have effects (0.5, -0.3,
0.2), the 6 with the largest t-values on 2 100 items are kept, and estimated there or on the 900 others, 300 of them labelled.
Errors: worlds without any effect and with those three; the share of worlds in which Holm's adjusted p-value is below 5 % for a
question without effect, the mean share of such questions among those with Benjamini and Hochberg's below 5 %, and the share of
kept questions with an effect that Holm's find. --runs: the same of whole runs that keep whatever they find.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl import discover
from genz_ppl.inference import effects
from genz_ppl.inference.regression.estimates import Sample, interval
from genz_ppl.inference.regression.least_squares import least_squares
from genz_ppl.types import FloatArray, IntArray

N_ITEMS, N_GOLD, LEVEL = 3000, 300, 0.95
WEIGHTS = np.array([1.0, -0.6, 0.0])
Random = np.random.Generator


@dataclass(frozen=True)
class World:
    """What is true, (T, K), what was answered, (T, K), the target, (T,), covariates, (T, P), and the effects, (K,)."""

    truth: FloatArray
    answers: FloatArray
    target: FloatArray
    covariates: FloatArray
    effects: FloatArray
    n_gold: int = N_GOLD

    def gold(self, random: Random, among: IntArray | None = None) -> FloatArray:
        """Labels of a random sample, NaN for other items."""
        rows = np.arange(len(self.truth)) if among is None else among
        chosen = random.choice(rows, self.n_gold, replace=False)
        labels = np.full(self.truth.shape, np.nan)
        labels[chosen] = self.truth[chosen]
        return labels


def answered(random: Random, truth: FloatArray, wrong: FloatArray) -> FloatArray:
    """The truth, wrong with these probabilities."""
    return np.where(random.random(truth.shape) < wrong, 1 - truth, truth)


def given(kind: str) -> Callable[[Random], World]:
    """The worlds of the issue, by their errors."""

    def world(random: Random) -> World:
        truth = (random.random((N_ITEMS, 3)) < 0.35).astype(float)
        target = truth @ WEIGHTS + random.normal(size=N_ITEMS)
        moved = np.tanh(target)[:, None]
        wrong = {
            "symmetric": np.full(truth.shape, 0.1),
            "asymmetric": np.where(truth == 1, 0.25, 0.03),
            "with the target": np.where(truth == 1, 0.15 - 0.12 * moved, 0.10 + 0.08 * moved),
        }[kind]
        return World(truth, answered(random, truth, wrong), target, np.zeros((N_ITEMS, 0)), WEIGHTS)

    return world


def rare(random: Random) -> World:
    """A question true of 8 %, heavy-tailed noise, two covariates that go with the questions."""
    covariates = random.normal(size=(N_ITEMS, 2))
    chance = np.stack([0.35 + 0.1 * np.tanh(covariates[:, 0]), np.full(N_ITEMS, 0.35), np.full(N_ITEMS, 0.08)], axis=1)
    truth = (random.random((N_ITEMS, 3)) < chance).astype(float)
    target = truth @ [0.5, 0.0, -0.8] + covariates @ [0.7, -0.3] + random.standard_t(3, size=N_ITEMS) / np.sqrt(3)
    return World(truth, answered(random, truth, np.where(truth == 1, 0.2, 0.02)), target, covariates, np.array([0.5, 0.0, -0.8]))


def together(random: Random) -> World:
    """Questions that go together, noise that is larger where one is true, items on which every answer is a guess."""
    latent = np.sqrt(0.5) * random.normal(size=(N_ITEMS, 3)) + np.sqrt(0.5) * random.normal(size=(N_ITEMS, 1))
    truth = (latent > 0.385).astype(float)
    target = truth @ WEIGHTS + (0.5 + truth[:, 0]) * random.normal(size=N_ITEMS)
    guessed = (random.random(N_ITEMS) < 0.3)[:, None]
    return World(truth, answered(random, truth, np.where(guessed, 0.5, 0.03)), target, np.zeros((N_ITEMS, 0)), WEIGHTS)


def classes(random: Random) -> World:
    """A target of two classes, errors that differ by it, a tenth of the answers missing, more where they are yes; 150 labels."""
    truth = (random.random((N_ITEMS, 3)) < 0.35).astype(float)
    moves = np.array([0.25, -0.15, 0.0])
    target = (random.random(N_ITEMS) < 0.35 + truth @ moves).astype(float)
    found = answered(random, truth, np.where(target == 1, 0.2, 0.05)[:, None] + np.zeros(3))
    found[random.random(found.shape) < np.where(truth == 1, 0.16, 0.07)] = np.nan
    return World(truth, found, target, np.zeros((N_ITEMS, 0)), moves, 150)


SETTINGS: dict[str, Callable[[Random], World]] = {
    "wrong answers 10 %": given("symmetric"),
    "25 % of yes, 3 % of no": given("asymmetric"),
    "with the target": given("with the target"),
    "rare, heavy tails, covariates": rare,
    "together, guessed items": together,
    "classes, missing answers": classes,
}
WAYS = ("gold labels and answers", "gold labels alone", "answers, errors assumed", "answers as they are")


def held(table: FloatArray, truth: FloatArray) -> tuple[float, float]:
    """Coverage and width of intervals, (K, 2); NaN where there are none."""
    if np.isnan(table).any():
        return np.nan, np.nan
    return float(((table[:, 0] <= truth) & (truth <= table[:, 1])).mean()), float((table[:, 1] - table[:, 0]).mean())


def bounds(*arguments: Any, **options: Any) -> FloatArray:
    """(K, 2) of `effects`."""
    found: FloatArray = effects(*arguments, **options)[["lower", "upper"]].to_numpy()
    return found


def gold_alone(world: World, gold: FloatArray) -> FloatArray:
    """(K, 2) of least squares on the labels."""
    rows = np.flatnonzero(~np.isnan(gold).any(axis=1))
    sample = Sample(world.answers, world.covariates, world.target, gold[rows], rows, np.full(len(rows), 1 / len(rows)))
    design, size = sample.design(sample.gold, rows), gold.shape[1]
    fitted = least_squares(design, world.target[rows])
    spread = np.sqrt((fitted.shares[:, :size] ** 2).sum(axis=0))
    found = interval(fitted.coefficients[:size], spread, fitted.freedom[:size], LEVEL, fitted.told[:size])
    return np.stack([found.lower, found.upper], axis=1)


def covered(make: Callable[[Random], World], seed: int, assume: bool) -> list[tuple[float, float]]:
    """Of every way."""
    random = np.random.default_rng([seed, 25])
    world = make(random)
    gold, data = world.gold(random), (world.answers, world.target, world.covariates)
    ways = [bounds(*data, gold=gold), gold_alone(world, gold)]
    ways.append(bounds(*data) if assume else np.full((3, 2), np.nan))
    ways.append(bounds(*data, error_rate_prior=None))
    return [held(one, world.effects) for one in ways]


PLANTED = np.r_[0.5, -0.3, 0.2, np.zeros(37)]


def chosen(kind: str, moves: FloatArray, seed: int, n_kept: int = 6) -> tuple[World, IntArray, IntArray]:
    """A world of 40 questions with those that are kept, the items they were chosen on and the others."""
    random = np.random.default_rng([seed, 26])
    truth = (random.random((N_ITEMS, len(moves))) < 0.35).astype(float)
    target = truth @ moves + random.normal(size=N_ITEMS)
    tilt = np.tanh(target)[:, None] if kind == "with the target" else 0.0
    base = (0.25, 0.03) if kind == "25 % of yes, 3 % of no" else (0.1, 0.1)
    slope = (0.12, 0.08) if kind == "with the target" else (0.0, 0.0)
    answers = answered(random, truth, np.where(truth == 1, base[0] - slope[0] * tilt, base[1] + slope[1] * tilt))
    order = random.permutation(N_ITEMS)
    seen, fresh = order[:2100], order[2100:]
    strength = np.abs([np.corrcoef(column, target[seen])[0, 1] for column in answers[seen].T])
    kept = np.sort(np.argsort(-strength)[:n_kept])
    return World(truth[:, kept], answers[:, kept], target, np.zeros((N_ITEMS, 0)), moves[kept]), seen, fresh


def after_selection(kind: str, seed: int) -> list[tuple[float, float]]:
    """Gold and answers where the questions were chosen, and elsewhere, gold alone there, answers as they are there."""
    world, seen, fresh = chosen(kind, PLANTED, seed)
    random, found = np.random.default_rng([seed, 27]), []
    for rows in (seen, fresh):
        part = World(world.truth[rows], world.answers[rows], world.target[rows], world.covariates[rows], world.effects)
        gold = part.gold(random)
        found.append(held(bounds(part.answers, part.target, gold=gold), part.effects))
    found.append(held(gold_alone(part, gold), part.effects))
    found.append(held(bounds(part.answers, part.target, error_rate_prior=None), part.effects))
    return found


def errors(kind: str, moves: FloatArray, seed: int, labelled: bool) -> list[float]:
    """Whether Holm's claims hold a wrong one, the wrong share of Benjamini and Hochberg's, the part of effects that Holm's find.

    labelled: with gold labels, so that the claims are about what is true, else about what was answered.
    """
    world, _, fresh = chosen(kind, moves, seed)
    part = World(world.truth[fresh], world.answers[fresh], world.target[fresh], world.covariates[fresh], world.effects)
    gold = part.gold(np.random.default_rng([seed, 28])) if labelled else None
    table = effects(part.answers, part.target, gold=gold, error_rate_prior=None)
    none, holm, bh = world.effects == 0, table["p_holm"].to_numpy() < 0.05, table["p_bh"].to_numpy() < 0.05
    found = holm[~none].mean() if (~none).any() else np.nan
    return [float((holm & none).any()), float((bh & none).sum() / max(1, bh.sum())), float(found)]


def whole_run(seed: int, planted: bool) -> tuple[int, int, int, bool]:
    """A discovery that keeps whatever it finds, chance or not: questions kept, those about fields without effect, how many of
    these look sure by the run's own 90 % intervals, and whether Holm's p-values on items held back claim one of them."""
    random, n_items = np.random.default_rng([seed, 29]), 400
    table = pd.DataFrame({f"noise{number}": random.normal(size=n_items).round(2) for number in range(4)})
    table["colour"], table["size"] = random.choice(["red", "green", "blue"], n_items), random.integers(0, 10, n_items)
    table["y"] = planted * (0.8 * (table["colour"] == "red") + 0.5 * (table["size"] >= 5)) + random.normal(size=n_items)
    settings: dict[str, Any] = {
        "smallest_gain": 0.0,
        "smallest_worth": 0.0,
        "max_features": 5,
        "cycles": 1,
        "combine": 1,
        "cut": 0,
    }
    run = discover(table, target="y", seed=seed, honest=0.3, progress=False, **settings)
    found = run.effects().merge(run.features[["text", "effect_lower", "effect_upper"]], left_on="feature", right_on="text")
    none = ~found["feature"].str.contains("colour|size") if planted else found["feature"] != ""
    sure = (found["effect_lower"] > 0) | (found["effect_upper"] < 0)
    return len(found), int(none.sum()), int((none & sure).sum()), bool((none & (found["p_holm"] < 0.05)).any())


def whole_runs(runs: int) -> Iterator[str]:
    """The table of `whole_run`."""
    yield "\n| whole runs | questions kept | without effect | of these sure by the run's interval | runs with a wrong claim |"
    yield "|---|---|---|---|---|"
    for name, planted in (("no effect", False), ("two effects", True)):
        kept, none, sure, wrong = np.array([whole_run(seed, planted) for seed in range(runs)]).sum(axis=0)
        yield f"| {name}, {runs} runs | {kept} | {none} | {sure} | {wrong} |"


def lines(seeds: int, assumed: int) -> Iterator[str]:
    """The tables."""
    yield f"| setting | {' | '.join(WAYS)} |"
    yield "|---|---|---|---|---|"
    for name, make in SETTINGS.items():
        yield _row(name, [covered(make, seed, seed < assumed) for seed in range(seeds)])
    yield "\n| after selection | where chosen | elsewhere | gold labels alone, elsewhere | answers as they are, elsewhere |"
    yield "|---|---|---|---|---|"
    kinds = list(SETTINGS)[:3]
    for kind in kinds:
        yield _row(kind, [after_selection(kind, seed) for seed in range(seeds)])
    yield "\n| world, wrong answers | answers: Holm, Benjamini-Hochberg, found | gold labels and answers |"
    yield "|---|---|---|"
    for name, moves in (("no effect", np.zeros(40)), ("three effects", PLANTED)):
        for kind in kinds:
            cells = []
            for labelled in (False, True):
                shares = np.array([errors(kind, moves, seed, labelled) for seed in range(seeds)])
                known = shares[~np.isnan(shares[:, 2]), 2]
                found = f"{known.mean():.2f}" if len(known) else "-"
                cells.append(f"{shares[:, 0].mean():.3f}, {shares[:, 1].mean():.3f}, {found}")
            yield f"| {name}, {kind} | {' | '.join(cells)} |"


def _row(name: str, found: list[list[tuple[float, float]]]) -> str:
    means = np.nanmean(np.array(found), axis=0)
    return f"| {name} | {' | '.join(f'{coverage:.3f} ({width:.2f})' for coverage, width in means)} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--assumed", type=int, default=200, help="seeds of the way that is slow, answers with errors assumed")
    parser.add_argument("--runs", type=int, default=0, help="whole runs of discovery, too, so many of either world")
    options = parser.parse_args()
    np.seterr(all="ignore")
    for line in lines(options.seeds, options.assumed):
        print(line, flush=True)
    for line in whole_runs(options.runs) if options.runs else ():
        print(line, flush=True)


if __name__ == "__main__":
    main()
