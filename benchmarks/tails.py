"""Effects under noise with tails: how often do nominal 90 % intervals hold the truth?

    OMP_NUM_THREADS=1 python benchmarks/tails.py

Data sets of 320 items, two features (40 % yes, no answer wrong) and one target, whose noise is Gaussian with 3 % of it ten times
as large, Student-t with three degrees of freedom, or Laplace.
"""

from __future__ import annotations

import argparse

import numpy as np

from genz_ppl.inference import fit
from genz_ppl.inference.feature_effects import feature_effects
from genz_ppl.types import FloatArray

N_ITEMS, EFFECTS = 320, np.array([1.0, -1.5])
NOISE = (("outliers", "student_t"), ("student_t", "student_t"), ("laplace", "laplace"))


def drawn(noise: str, random: np.random.Generator) -> FloatArray:
    """(N_ITEMS,), of scale 1."""
    if noise == "student_t":
        return random.standard_t(3, N_ITEMS)
    if noise == "laplace":
        return random.laplace(size=N_ITEMS)
    usual = random.normal(size=N_ITEMS)
    usual[random.random(N_ITEMS) < 0.03] *= 10
    return usual


def held(noise: str, likelihood: str, seed: int) -> int:
    """How many of the two intervals hold the effect."""
    random = np.random.default_rng(seed)
    answers = (random.random((N_ITEMS, 2)) < 0.4).astype(np.float64)
    targets = (answers @ EFFECTS + drawn(noise, random))[:, None]
    result = fit(answers, targets, likelihood=likelihood, seed=0, error_rate_prior=(1.0, 1e6))
    _, lower, upper = feature_effects(result.fitted(answers, targets, None)).table
    return int(((lower <= EFFECTS) & (upper >= EFFECTS)).sum())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first-seed", type=int, default=1000)
    options = parser.parse_args()
    print("| noise | likelihood | intervals that hold the effect |")
    print("|---|---|---|")
    for noise, likelihood in NOISE:
        found = [held(noise, likelihood, options.first_seed + seed) for seed in range(options.seeds)]
        print(f"| {noise} | {likelihood} | {sum(found) / (2 * len(found)):.1%} |", flush=True)


if __name__ == "__main__":
    main()
