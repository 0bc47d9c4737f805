"""Counts and classes of `worlds.py`: how much of what the true features explain could any search find from so few items?

    python benchmarks/world_ceilings.py --seeds 20

The shares of the deviance that fits to the training answers take off the test items, each over that of the true features:
forward selection among the answers to all features of the library by the very likelihood that made y, as long as the best one
gains more than the best of so many would by chance (in one of twenty data sets, or so that one in twenty of those selected is
there by chance), or to the size whose deviance in five folds of the training items is least; and the rule of Bayes, which knows
effects and error rates and chooses nothing.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from itertools import product
from statistics import mean, stdev

import numpy as np
import torch
from torch import Tensor
from world_targets import CLASS_NAMES, CLASSES, CONCENTRATION, KINDS, drawn_values, share_taken
from worlds import WORLDS, drawn_features, make, text_of

from genz_ppl.inference.worth.chance import chance_gain
from genz_ppl.types import FloatArray

Values = FloatArray
FOLDS, MOST, NOISE = 5, 12, 0.05


def log_density(kind: str, eta: Tensor, y: Tensor) -> Tensor:
    """log p(y | eta) of every item, (T,), up to what no fit changes. eta: (T, L)."""
    if kind == "categorical":
        return torch.log_softmax(torch.cat([torch.zeros(len(eta), 1).to(eta), eta], 1), 1)[torch.arange(len(y)), y.long()]
    eta = eta[:, 0]
    if kind == "bernoulli":
        return torch.nn.functional.logsigmoid(torch.where(y > 0, eta, -eta))
    if kind == "poisson":
        return y * eta - torch.exp(eta)
    return y * eta - (y + CONCENTRATION) * torch.log(torch.exp(eta) + CONCENTRATION)


def fitted(kind: str, columns: Values, y: Values, start: Tensor | None = None) -> tuple[Tensor, float]:
    """The likeliest coefficients, (C, L), of the columns, (T, C), under N(0, 3^2) priors, and their log likelihood: Newton."""
    x, target = torch.from_numpy(columns), torch.from_numpy(y)
    width = CLASSES - 1 if kind == "categorical" else 1
    found = torch.zeros(x.shape[1], width, dtype=torch.float64) if start is None else start.clone()

    def lost(flat: Tensor) -> Tensor:
        free = flat.reshape(x.shape[1], width)
        return -log_density(kind, x @ free, target).sum() + free[1:].square().sum() / 18

    flat = found.flatten()
    for _ in range(8):
        leaf = flat.detach().requires_grad_(True)
        (slope,) = torch.autograd.grad(lost(leaf), leaf)
        curvature = torch.autograd.functional.hessian(lost, flat)  # type: ignore[no-untyped-call]  # torch has no types for it
        step = torch.linalg.solve(curvature, slope)
        size = 1.0
        while float(lost(flat - size * step)) > float(lost(flat)) + 1e-9 and size > 1e-3:
            size /= 2
        flat = flat - size * step
        if float(step.abs().max()) < 1e-5:
            break
    return flat.reshape(x.shape[1], width), -float(lost(flat))


def path(kind: str, columns: Values, y: Values) -> list[tuple[int, float]]:
    """Columns in the order in which each raises the likelihood most, with what it adds, at most `MOST`; by scores, then fits."""
    chosen: list[int] = []
    found, base = fitted(kind, np.ones((len(y), 1)), y)
    steps: list[tuple[int, float]] = []
    while len(steps) < MOST:
        design = np.column_stack([np.ones(len(y)), columns[:, chosen]])
        eta = (torch.from_numpy(design) @ found).requires_grad_(True)
        (score,) = torch.autograd.grad(log_density(kind, eta, torch.from_numpy(y)).sum(), eta)
        left = columns - design @ np.linalg.lstsq(design, columns, rcond=None)[0]
        size = np.maximum((left**2).sum(0), 1e-9)
        order = np.argsort(-((left.T @ score.numpy()) ** 2).sum(1) / size)
        trials = []
        for j in [j for j in order.tolist() if j not in chosen][:4]:
            start = torch.cat([found, torch.zeros(1, found.shape[1], dtype=torch.float64)])
            trials.append((*fitted(kind, np.column_stack([design, columns[:, j]]), y, start), j))
        found, reached, best = max(trials, key=lambda trial: trial[1])
        steps.append((best, reached - base))
        chosen, base = [*chosen, best], reached
    return steps


def by_folds(kind: str, columns: Values, y: Values, seed: int) -> int:
    """The number of columns whose selection, made without a fold, predicts the folds best."""
    folds = np.random.default_rng(seed).permutation(len(y)) % FOLDS
    total = np.zeros(MOST + 1)
    for fold in range(FOLDS):
        rows, left = folds != fold, folds == fold
        order = [j for j, _ in path(kind, columns[rows], y[rows])]
        for size in range(MOST + 1):
            design = np.column_stack([np.ones(len(y)), columns[:, order[:size]]])
            coefficients = fitted(kind, design[rows], y[rows])[0]
            total[size] += float(
                log_density(kind, torch.from_numpy(design[left]) @ coefficients, torch.from_numpy(y[left])).sum()
            )
    return int(total.argmax())


def predicted(kind: str, eta: Values) -> Values:
    """Mean counts, (T, 1), or chances of the classes in their order, (T, L)."""
    if kind in ("poisson", "negative_binomial"):
        counts: Values = np.exp(eta)
        return counts
    odds: Values = np.exp(np.column_stack([np.zeros(len(eta)), eta]))
    shares: Values = odds / odds.sum(1, keepdims=True)
    return shares


def by_bayes(kind: str, answers: Values, values: Values, signal: Values) -> Values:
    """What effects and error rates that are known predict from answers, (T, F): the mean over all that may be true."""
    design = np.column_stack([np.ones(len(signal)), signal])
    weights = np.linalg.lstsq(design, values, rcond=None)[0]
    combinations = np.array(list(product([0.0, 1.0], repeat=signal.shape[1])))
    eta = np.column_stack([np.ones(len(combinations)), combinations]) @ weights
    chances = np.exp(eta - eta.max(1, keepdims=True))
    each = np.exp(eta) if kind in ("poisson", "negative_binomial") else chances / chances.sum(1, keepdims=True)
    disagree = answers @ (1 - combinations.T) + (1 - answers) @ combinations.T
    weight = NOISE**disagree * (1 - NOISE) ** (signal.shape[1] - disagree)
    found: Values = (weight / weight.sum(1, keepdims=True)) @ each
    return found


def shares(kind: str, seed: int, n_items: int) -> dict[str, tuple[float, float, float]]:
    """By method: the share of the deviance on the test items, how many features it has, how many of them are true."""
    world = replace(WORLDS[kind], n_items=n_items)
    items, oracle, true = make(world, seed)
    present, _, _, random = drawn_features(world, seed)
    values = drawn_values(kind, present[:, true], random)
    split = items.split_indices(seed, 0.2)
    train, test = items.take(split.train), items.take(split.test)
    assert items.targets is not None
    y, names = items.targets[split.train, 0], items.class_names[0] if items.class_names else CLASS_NAMES
    answers = oracle.answer(items.items, [text_of(j) for j in range(world.library)])
    steps = path(kind, answers[split.train], y)
    width = CLASSES - 1 if kind == "categorical" else 1
    least = chance_gain(world.library, width)
    paid = next((size for size, (_, gain) in enumerate(steps) if gain < least), len(steps))
    # Benjamini and Hochberg's step-up: the last of so many features is held against so many fewer of the library.
    fair = [size for size, (_, gain) in enumerate(steps, start=1) if gain >= chance_gain(world.library / size, width)]
    ways = {
        "true features": true,
        "selected, at the level of chance": [j for j, _ in steps[:paid]],
        "selected, one in twenty of them by chance": [j for j, _ in steps[: max(fair, default=0)]],
        "selected, by folds": [j for j, _ in steps[: by_folds(kind, answers[split.train], y, seed)]],
    }
    found: dict[str, tuple[float, float, float]] = {}
    for way, chosen in ways.items():
        design = np.column_stack([np.ones(len(items)), answers[:, chosen]])
        coefficients = fitted(kind, design[split.train], y)[0].numpy()
        reached = share_taken(test, train, predicted(kind, design[split.test] @ coefficients))
        found[way] = (reached, len(chosen), len(set(chosen) & set(true)))
    known = by_bayes(kind, answers[split.test][:, true], values, present[:, true])
    if items.class_names:
        known = known[:, [CLASS_NAMES.index(name) for name in names]]
    found["effects and error rates known"] = (share_taken(test, train, known), len(true), len(true))
    return found


def main() -> None:
    """See the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--items", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    columns = ["world", "how", "share of the deviance", "of the true features", "sd", "features", "true ones"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for kind in options.kinds:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        all_of = [shares(kind, seed, options.items) for seed in seeds]
        for way in all_of[0]:
            values, ratios = [one[way] for one in all_of], [one[way][0] / one["true features"][0] for one in all_of]
            reached, features, right = (mean(column) for column in zip(*values, strict=True))
            print(
                f"| {kind} | {way} | {reached:.3f} | {mean(ratios):.3f} | {stdev(ratios):.3f} | {features:.1f} | {right:.1f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
