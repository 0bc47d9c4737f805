"""Swapping the observation likelihood in one word: five targets in a hundred are far off, and only one model notices.

python examples/likelihoods.py
genz fit houses:FOLDER --likelihood student_t --out runs/student_t     # the same swap on real data, see houses.py
"""

from __future__ import annotations

import numpy as np

from genz_ppl.inference import fit

random = np.random.default_rng(0)
truth = (random.random((400, 4)) < 0.4).astype(float)
weights = np.array([2.0, -1.5, 1.0, 0.7])
targets = truth @ weights + 0.3 * random.normal(size=400)
outliers = random.random(400) < 0.05
targets[outliers] += 10 * targets.std() * random.choice([-1, 1], outliers.sum())
answers = np.where(random.random(truth.shape) < 0.1, 1 - truth, truth)

for likelihood in ("gaussian", "student_t", "laplace"):
    result = fit(answers, targets, likelihood=likelihood)
    found = result.parameters["weights"][:, 0]
    print(f"{likelihood:10s} weights {found.round(2)}  mean error {np.abs(found - weights).mean():.3f}  bound {result.bound:.0f}")
