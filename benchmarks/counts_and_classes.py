"""Counts and classes: how many wrong answers are put right, and how many could be?

    python benchmarks/counts_and_classes.py

2 000 items, 8 features (35 % yes), 4 targets, a tenth of the answers wrong; effects on log rates or log-odds N(0, 1) and half a
unit further from 0, times --strength. Of the posterior of each strategy: the share of features it has wrong over the share of
answers that are, and the largest error of a p_e. Last the rule of Bayes, which knows effects and error rates and enumerates: no
method that sees the same data has fewer features wrong on average.
"""

from __future__ import annotations

import argparse
import time
from statistics import mean

import numpy as np
import torch

from genz_ppl.inference import fit, isolated
from genz_ppl.inference.engines.exact import exact_posterior
from genz_ppl.inference.start import build_model
from genz_ppl.inference.state import Data, State
from genz_ppl.types import FloatArray

Values = FloatArray
KINDS = ("poisson", "bernoulli", "negative_binomial", "categorical")
WRONG, CLASSES = 0.1, 3


def world(kind: str, seed: int, n_targets: int, strength: float) -> tuple[Values, Values, Values, Values, Values]:
    """Truth, answers, targets, weights and base."""
    random = np.random.default_rng(seed)
    width = n_targets * (CLASSES if kind == "categorical" else 1)
    weights = random.normal(size=(8, width))
    weights = strength * (weights + 0.5 * np.sign(weights))
    truth = (random.random((2000, 8)) < 0.35).astype(float)
    answers = np.where(random.random(truth.shape) < WRONG, 1 - truth, truth)
    base = 0.5 - (0.35 * weights).sum(0)
    location = base + truth @ weights
    if kind == "poisson":
        targets = random.poisson(np.exp(np.minimum(location, 6.0)))
    elif kind == "negative_binomial":
        targets = random.poisson(np.exp(np.minimum(location, 6.0)) * random.gamma(3.0, 1 / 3.0, size=location.shape))
    elif kind == "bernoulli":
        targets = random.random(location.shape) < 1 / (1 + np.exp(-location))
    else:
        noise = random.gumbel(size=location.shape)
        targets = (location + noise).reshape(len(truth), n_targets, CLASSES).argmax(2)
    return truth, answers, np.asarray(targets, dtype=float), weights, base


def by_bayes(kind: str, answers: FloatArray, targets: FloatArray, weights: FloatArray, base: FloatArray) -> FloatArray:
    """P(z = 1 | y, h) with true effects and error rates; a rate above e^6 is a little off."""
    with isolated(0), torch.no_grad():
        model = build_model(8, targets.shape[1], 0, likelihood=kind, n_classes=CLASSES)
        model.link.weights.copy_(torch.from_numpy(weights))
        model.link.intercept.copy_(torch.from_numpy(base))
        model.likelihood.base.zero_()
        if kind == "negative_binomial":
            model.likelihood.concentration = torch.full_like(model.likelihood.concentration, 3.0)
        rates = torch.full((8,), WRONG, dtype=torch.float64)
        data = Data(torch.from_numpy(answers), torch.zeros(len(answers), 0, dtype=torch.float64), torch.from_numpy(targets))
        found: FloatArray = exact_posterior(State(model, rates, torch.from_numpy(answers)), data).marginals.numpy()
    return found


def main() -> None:
    """See the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--inference", nargs="+", default=["coordinate", "auto"])
    parser.add_argument("--targets", type=int, default=4)
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--seeds", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| likelihood | how | wrong left | largest error of p_e | seconds |\n|---|---|---|---|---|")
    for kind in options.kinds:
        rows: dict[str, list[tuple[float, float, float]]] = {}
        for seed in range(options.seeds):
            truth, answers, targets, weights, base = world(kind, seed, options.targets, options.strength)
            wrong = answers != truth
            for how in options.inference:
                start = time.process_time()
                found = fit(answers, targets, likelihood=kind, inference=how, n_classes=CLASSES)
                left = ((found.posterior > 0.5) != truth).mean() / wrong.mean()
                off = np.abs(found.error_rates - wrong.mean(0)).max()
                rows.setdefault(how, []).append((float(left), float(off), time.process_time() - start))
            best = ((by_bayes(kind, answers, targets, weights, base) > 0.5) != truth).mean() / wrong.mean()
            rows.setdefault("Bayes, truth known", []).append((float(best), 0.0, 0.0))
        for how, values in rows.items():
            left, off, seconds = (mean(column) for column in zip(*values, strict=True))
            print(f"| {kind} | {how} | {left:.3f} | {off:.3f} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
