"""Judging wordings: which are too rare or too common, and how much each would raise the bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.coordinate import refit
from genz_ppl.inference.linear_gaussian import is_linear_gaussian
from genz_ppl.inference.start import build_model, linear_residual, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models.features import prior_probability
from genz_ppl.types import FloatArray

# Wordings that get a full refit; the others are ranked by least squares first.
FINALISTS = 6


@dataclass(frozen=True)
class Candidate:
    """A wording with its answers on the training items, (T,), and the nats it adds to the bound."""

    text: str
    answers: FloatArray
    gain: float
    state: State


def is_balanced(answers: FloatArray, smallest_share: float) -> bool:
    """Whether yes-answers make up at least `smallest_share` of the valid ones, and no-answers too (the 2 % / 98 % rule)."""
    valid = answers[~np.isnan(answers)]
    if len(valid) == 0:
        return False
    return bool(smallest_share <= valid.mean() <= 1 - smallest_share)


def quick_gains(state: State, data: Data, answers: FloatArray) -> FloatArray:
    """Least-squares estimate of what each candidate column would add to the log likelihood, (N,) nats.

    answers: (T, N). The part of each column that the model's features and covariates do not explain is held against
    what they leave of the targets.
    """
    filled = np.where(np.isnan(answers), np.nanmean(answers, axis=0), answers)
    columns = torch.from_numpy(filled)
    columns = linear_residual(state.posterior, Data(data.answers, data.covariates, columns))
    residual = torch.nan_to_num(linear_residual(state.posterior, data))
    size = (columns**2).sum(0)[:, None] * (residual**2).sum(0)
    share = torch.where(size > 1e-9 * len(columns), (columns.T @ residual) ** 2 / size.clamp(min=1e-300), 0.0)
    gain: FloatArray = (-0.5 * len(columns) * torch.log1p(-share.clamp(max=1 - 1e-12))).sum(1).numpy()
    return gain


def rank_candidates(
    state: State, data: Data, texts: list[str], answers: FloatArray, steps: int
) -> list[Candidate]:
    """The finalists among the wordings, by gain of the bound after a refit, best first.

    With another model than the linear Gaussian, a linear Gaussian one on the same features does the ranking: a refit of
    a network for every wording would cost minutes and its training noise would drown the differences.
    """
    judge = state if is_linear_gaussian(state.model) else linear_judge(state, data)
    order = np.argsort(-quick_gains(judge, data, answers), kind="stable")[:FINALISTS]
    base = judge.copy()
    base_bound = refit(base, data, steps).total
    import os
    if os.environ.get("RESTART"):
        b2=judge.copy(); b2.posterior=b2.prior(data.answers); base_bound=max(base_bound,refit(b2,data,steps).total)
    candidates = []
    for index in order.tolist():
        column = torch.from_numpy(answers[:, index : index + 1])
        enlarged = data.with_answers(torch.cat([data.answers, column], dim=1))
        trial = extended(judge, column)
        import os
        if os.environ.get("RESTART"):
            t2 = trial.copy(); t2.posterior = t2.prior(enlarged.answers)
            bound = refit(t2, enlarged, steps).total
            if os.environ["RESTART"] == "2":
                b1 = refit(trial, enlarged, steps).total
                if b1 > bound: t2, bound = trial, b1
            trial = t2
        else:
            bound = refit(trial, enlarged, steps).total
        candidates.append(Candidate(texts[index], answers[:, index], bound - base_bound, trial))
    return sorted(candidates, key=lambda candidate: -candidate.gain)


def extended(state: State, column: Tensor) -> State:
    """The state with one more feature whose posterior starts at its answers, (T, 1)."""
    kept = list(range(state.posterior.shape[1]))
    rate = torch.tensor([state.model.features.prior_mean], dtype=torch.float64)
    return state.with_columns(kept, prior_probability(column, rate))


def linear_judge(state: State, data: Data) -> State:
    """A linear Gaussian model of the same features, fitted from their present posterior."""
    a, b = state.model.features.concentration.tolist()
    model = build_model(data.answers.shape[1], data.targets.shape[1], data.covariates.shape[1], error_rate_prior=(a, b))
    judge = start_state(model, data)
    refit(judge, data, 10)
    return judge
