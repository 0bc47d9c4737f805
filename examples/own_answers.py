"""Answers you already have, some of them wrong: which ones, and what does each feature weigh?

python examples/own_answers.py     # put your own arrays in the place of answers and targets
"""

from __future__ import annotations

import numpy as np

from genz_ppl.inference import fit

random = np.random.default_rng(0)
truth = (random.random((500, 4)) < 0.4).astype(float)
targets = truth @ np.array([3.0, -2.0, 1.5, 1.0]) + 0.3 * random.normal(size=500)
answers = np.where(random.random(truth.shape) < 0.1, 1 - truth, truth)

result = fit(answers, targets)
found = (result.posterior > 0.5).astype(float)
print("weights", result.parameters["weights"][:, 0].round(2))
print("error rates", result.error_rates.round(3))
print(f"wrong: {np.mean(answers != truth):.3f} of the answers, {np.mean(found != truth):.3f} of the posterior's")
