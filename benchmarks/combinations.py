"""Combinations as features of their own, or with the error rates of their parts: which predicts better, and what is learned?

    python benchmarks/combinations.py

960 items, half of them training; y rises by 1 to 2 (D targets, noise 0.5) where any of three pairs of features holds, each answer
wrong with the same probability. Test R2, in the mean over seeds, of one feature whose answers are put together from those to the
parts, as a run has it, and of the model whose z is put together from that of the parts (`fit(..., combinations=...)`); of the
latter the mean distance of the six error rates from the share of wrong answers.
"""

from __future__ import annotations

import argparse
from statistics import mean

import numpy as np
import torch

from genz_ppl.inference import fit
from genz_ppl.types import FloatArray

RULES = [[[(0, False), (1, False)], [(2, False), (3, False)], [(4, False), (5, False)]]]


def any_pair(parts: FloatArray) -> FloatArray:
    """Whether any of three pairs is all yes, (T, 1)."""
    pairs = parts[:, 0::2] * parts[:, 1::2]
    found: FloatArray = pairs.max(axis=1, keepdims=True)
    return found


def one(seed: int, n_targets: int, wrong: float) -> tuple[float, float, float]:
    """R2 with one feature and with its parts, and how far their error rates are off."""
    random = np.random.default_rng(seed)
    truth = (random.random((960, 6)) < random.uniform(0.3, 0.6, 6)).astype(np.float64)
    answers = np.where(random.random(truth.shape) < wrong, 1 - truth, truth)
    targets = any_pair(truth) * (1 + random.random(n_targets)) + 0.5 * random.normal(size=(960, n_targets))
    train, test = slice(0, 480), slice(480, 960)
    whole = fit(any_pair(answers[train]), targets[train])
    parts = fit(answers[train], targets[train], combinations=RULES, steps=25)
    predicted = whole.predict(any_pair(answers[test])), parts.predict(answers[test])
    spread = ((targets[test] - targets[train].mean(0)) ** 2).mean()
    shares = [1 - float(((values - targets[test]) ** 2).mean() / spread) for values in predicted]
    off = np.abs(parts.error_rates - (answers[train] != truth[train]).mean(0)).mean()
    return shares[0], shares[1], float(off)


def main() -> None:
    """See the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print("| targets | wrong answers | R2, one feature | R2, by its parts | p_e of parts off |\n|---|---|---|---|---|")
    for n_targets in (1, 4):
        for wrong in (0.05, 0.15):
            rows = [one(seed, n_targets, wrong) for seed in range(options.seeds)]
            whole, parts, off = (mean(column) for column in zip(*rows, strict=True))
            print(f"| {n_targets} | {wrong:.0%} | {whole:.3f} | {parts:.3f} | {off:.3f} |", flush=True)


if __name__ == "__main__":
    main()
