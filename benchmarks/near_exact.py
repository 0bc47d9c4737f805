"""Near-exact posteriors: what a step costs beside one of eq. 11, and how far they are from exact ones.

    OMP_NUM_THREADS=1 python benchmarks/near_exact.py

Time: 17 770 items, 50 features, 32 targets, a tenth of the answers wrong; seconds of a step of EM, the median of 15. Divergence:
worlds of `tests/inference` with 10 to 14 features, 300 items, at the parameters of `coordinate`; nats an item, against the sum
over all 2^K, with as many combinations an item on average as the column says (--rows).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from near_exact_worlds import density_of, started, summed

from genz_ppl.inference import isolated
from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.coordinate import coordinate, em_step
from genz_ppl.inference.engines.exact import _quadratic_parts
from genz_ppl.inference.engines.joint import Size, near_exact
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import COMBINATIONS

WORLDS = ((4, 0.5), (2, 0.5), (1, 0.5), (1, 1.0), (4, 1.5))


def made(seed: int, n_items: int, n_features: int, n_targets: int, noise: float) -> tuple[State, Data]:
    """A world of `tests/inference`, with a model at its start."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(n_features, n_targets))
    weights = weights + 0.5 * np.sign(weights)
    truth = (random.random((n_items, n_features)) < 0.35).astype(float)
    answers = np.where(random.random(truth.shape) < 0.1, 1 - truth, truth)
    return started(answers, truth @ weights + noise * random.normal(size=(n_items, n_targets)))


def times(noise: float, combinations: float) -> tuple[float, float]:
    """Median seconds of a step of eq. 11 and of one with near-exact posteriors."""
    found = []
    for most in (0.0, combinations):
        state, data = made(0, 17_770, 50, 32, noise)
        engine = engine_for(state.model, data, combinations=most)
        engine.maximise(state)
        seconds: list[float] = []
        for _ in range(15):
            start = time.perf_counter()
            em_step(state, engine)
            seconds.append(time.perf_counter() - start)
        found.append(median(seconds))
    return found[0], found[1]


def divergences(n_features: int, n_targets: int, noise: float, rows: list[float]) -> list[float]:
    """Mean over items of KL(q || p), of the factorised posterior and with so many combinations."""
    state, data = made(n_features, 300, n_features, n_targets, noise)
    coordinate(state, data, 20)
    with torch.no_grad():
        _, pull, gram = _quadratic_parts(state.model, data)
        field = (pull + torch.logit(state.prior(data.answers))).T - 0.5 * gram.diagonal().unsqueeze(1)
    expected, found = summed(field, gram), []
    for size in (0.0, *rows):
        q, parts = state.posterior.T.contiguous(), list[Any]()
        if size:
            parts = list(near_exact(q, field, gram, Size(size)))
        density = density_of(parts, q)
        found.append(float((density.exp() * (density - expected)).sum(0).mean()))
    return found


def main() -> None:
    """See the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=float, nargs="+", default=[256.0, 1024.0, 4096.0, 16384.0])
    options = parser.parse_args()
    torch.set_num_threads(1)
    with isolated(0):
        print("| noise | eq. 11, seconds | near exact | ratio |\n|---|---|---|---|")
        for noise in (0.5, 3.0):
            own, near = times(noise, COMBINATIONS)
            print(f"| {noise} | {own:.3f} | {near:.3f} | {near / own:.1f} |", flush=True)
        print(f"\n| features | targets, noise | factorised | {' | '.join(f'{row:.0f}' for row in options.rows)} |")
        print(f"|---|---|---|{'---|' * len(options.rows)}")
        for n_features in (10, 12, 13, 14):
            for n_targets, noise in WORLDS:
                values = divergences(n_features, n_targets, noise, options.rows)
                print(f"| {n_features} | {n_targets}, {noise} | {' | '.join(f'{value:.4f}' for value in values)} |", flush=True)


if __name__ == "__main__":
    main()
