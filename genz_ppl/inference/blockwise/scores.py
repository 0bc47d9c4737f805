"""What questions would bring and what they cost, without a refit: from sums over blocks that one pass makes for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from genz_ppl.inference.blockwise.files import read_block
from genz_ppl.inference.blockwise.fitting import BlockState, Fitting, feature_terms
from genz_ppl.inference.blockwise.steps import PART, Parameters, Task, observations_of, q_after
from genz_ppl.inference.engines.blocks import blocks_of
from genz_ppl.inference.engines.least_squares import root_of_inverse, solve_normal
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import entropy_of
from genz_ppl.types import FloatArray

# Of a column what others explain but for this share is nothing of its own.
NOTHING = 1e-9


@dataclass(frozen=True)
class ScoreSums:
    """Sums over items with a = [q, 1, x], standardised, f the candidates' answers less their means, 0 where there is none, and r
    what the model leaves of the targets.

    design: a'a, (M, M), M = K + 1 + P. crossed: a'f, (M, N). own: f'f's diagonal, (N,). missed: a'r, (M, D), along: f'r, (N, D),
    squares: r'r's diagonal, (D,). agreement: q by the sign of the answer, entropy: of q, both by feature, (K,).
    """

    design: FloatArray
    crossed: FloatArray
    own: FloatArray
    missed: FloatArray
    along: FloatArray
    squares: FloatArray
    agreement: FloatArray
    entropy: FloatArray

    @property
    def normal(self) -> torch.Tensor:
        """E_q a'a: z is its own square."""
        normal, n_features = torch.from_numpy(self.design.copy()), len(self.entropy)
        normal.diagonal()[:n_features] = normal[:n_features, n_features]
        return normal


@one_thread()
@torch.no_grad()
def scores_of(path: str, task: Task, candidates: tuple[int, ...], means: FloatArray) -> ScoreSums:
    """The sums of a block at the q and the parameters that a task left. means: of the candidates' answers, (N,)."""
    features = task.features or ()
    block, now, every = read_block(path, (*features, *candidates)), Parameters.load(task.parameters), q_after(path, task)
    solution = torch.from_numpy(np.concatenate([now.weights, now.intercept[None], now.covariate_weights]))
    middle, n_targets, n_features = torch.from_numpy(means).unsqueeze(1), len(now.intercept), len(features)
    parts = []
    for items in blocks_of(len(block.targets), PART):
        observed, q = observations_of(block, now, items), every[:, items]
        design = torch.cat([q, observed[n_targets:]])
        left = observed[:n_targets] - solution.T @ design
        signs = torch.from_numpy(block.signs[:, items].astype(np.float64))
        answers = signs[n_features:]
        filled = torch.where(answers == 0, 0.0, (answers > 0).to(middle) - middle)
        entropy = [entropy_of(one.unsqueeze(1)) for one in q]
        parts.append(
            ScoreSums(
                design=(design @ design.T).numpy(),
                crossed=(design @ filled.T).numpy(),
                own=filled.square().sum(1).numpy(),
                missed=(design @ left.T).numpy(),
                along=(filled @ left.T).numpy(),
                squares=left.square().sum(1).numpy(),
                agreement=(signs[:n_features] * q).sum(1).numpy(),
                entropy=np.array(entropy),
            )
        )
    return joined_scores(parts)


def joined_scores(several: Sequence[ScoreSums]) -> ScoreSums:
    """The sums of blocks together, in this order."""
    return ScoreSums(*(sum(getattr(each, one.name) for each in several) for one in fields(ScoreSums)))


def scores(fitting: Fitting, state: BlockState, candidates: Sequence[int]) -> ScoreSums:
    """The sums for a model and candidates, columns of answers."""
    known = fitting.moments.of(candidates)
    means = known.yes / np.maximum(known.answered, 1.0)
    return fitting.runner.joined(scores_of, fitting.files, joined_scores, state.task, tuple(candidates), means)


@one_thread()
def quick_gains(fitting: Fitting, state: BlockState, sums: ScoreSums) -> FloatArray:
    """Nats that each candidate would add, (N,), by least squares; as `genz_ppl.inference.worth.candidates.quick_gains`."""
    n = fitting.moments.n
    explained = solve_normal(sums.normal, torch.from_numpy(sums.crossed)).numpy()
    size = sums.own + (explained * (sums.design @ explained - 2 * sums.crossed)).sum(axis=0)
    along = sums.along - explained.T @ sums.missed
    whole = size[:, None] * sums.squares
    seen = (size > NOTHING * sums.own)[:, None] & (whole > NOTHING * n * state.parameters.variance)
    share = np.where(seen, along**2 / np.where(seen, whole, 1.0), 0.0)
    gains: FloatArray = (-0.5 * n * np.log1p(-np.minimum(share, 1 - 1e-12))).sum(axis=1)
    return gains


@one_thread()
def removal_losses(fitting: Fitting, state: BlockState, sums: ScoreSums) -> FloatArray:
    """What the bound loses with each feature, (K,), the others' q as they are; as in `genz_ppl.inference.worth.prune`."""
    now, moments, n_features = state.parameters, fitting.moments.of(state.features), len(state.features)
    root = root_of_inverse(sums.normal)[:n_features]
    own = root.square().sum(1).numpy()[:, None]
    growth = 0.5 * now.weights**2 / now.variance * np.where(own > 0, 1 / np.where(own > 0, own, 1.0), 0.0)
    lost = (0.5 * moments.n * np.log1p(2 * growth / moments.n)).sum(axis=1)
    penalty = [float(fitting.layer.penalty(torch.tensor([rate], dtype=torch.float64))) for rate in now.error_rates]
    wrong = np.maximum(moments.yes - sums.agreement, 0.0)
    losses: FloatArray = lost + feature_terms(wrong, now.error_rates, moments) + sums.entropy + np.array(penalty)
    return losses
