"""How well pairs are predicted, part by part of the split."""

from __future__ import annotations

import numpy as np
import torch

from genz_ppl.diagnostics.class_measures import auc
from genz_ppl.diagnostics.measures import OWN_METRICS, r2
from genz_ppl.discovery.pairs.problem import PairProblem
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.prediction import pair_densities, pair_means
from genz_ppl.models.cooccurrence import CoOccurrence
from genz_ppl.types import FloatArray

#: The error of the learning curve, by likelihood.
PAIR_METRICS = {"gaussian": "rmse", "bernoulli": "log_loss", "poisson": "deviance"}
# Training pairs that are scored, at most: there are often millions.
MOST_SCORED = 200_000


def part_scores(
    problem: PairProblem, model: CoOccurrence, rows: Embedding, columns: Embedding, likelihood: str
) -> dict[str, dict[str, float | None]]:
    """By part: rmse, r2, auc (of zeros and ones), the likelihood's own metric, log_likelihood and n_pairs; None where undefined.

    "guess_rmse" and so on: of always predicting the mean of the training pairs. rows, columns: of all items of each side.
    """
    mean = problem.training.values.mean().item()
    found: dict[str, dict[str, float | None]] = {}
    for name in problem.split.parts():
        first, second, values = problem.part(name)
        chosen = torch.arange(0, len(values), max(1, -(-len(values) // MOST_SCORED)))
        first, second, values = first[chosen], second[chosen], values[chosen]
        if not len(values):
            found[name] = {"n_pairs": 0}
            continue
        predicted = pair_means(model, rows, columns, first, second)
        density = pair_densities(model, rows, columns, first, second, values)
        actual = values[:, 0].numpy()
        guess = _errors(actual, np.full(len(actual), mean), likelihood)
        found[name] = {
            **_scores(actual, predicted, likelihood),
            **{f"guess_{metric}": value for metric, value in guess.items()},
            "log_likelihood": float(density.mean()),
            "n_pairs": len(problem.split.parts()[name]),
        }
    return found


def _scores(values: FloatArray, predicted: FloatArray, likelihood: str) -> dict[str, float | None]:
    result = {**_errors(values, predicted, likelihood), "r2": r2(values[:, None], predicted[:, None])}
    if likelihood == "bernoulli":
        result["auc"] = auc(values, predicted)
    return {name: value if np.isfinite(value) else None for name, value in result.items()}


def _errors(values: FloatArray, predicted: FloatArray, likelihood: str) -> dict[str, float]:
    """rmse and, where it is another one, the error of the learning curve."""
    found = {"rmse": float(np.sqrt(np.mean((values - predicted) ** 2)))}
    metric = PAIR_METRICS[likelihood]
    return found if metric == "rmse" else {**found, metric: OWN_METRICS[metric](values, predicted)}
