"""One block's part of a step: q of its items, and the sums over them that the M-step reads (eqs. 27-31).

A task knows names of files and nothing else, and writes none but the q of its own block at its own step, so that it can be done
again by anyone, at any time, with the same result. q is kept beside the blocks and goes on from the step before, as in
`LinearGaussian`; or it is made anew from the answers by some sweeps, which needs no room on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from genz_ppl.inference.blockwise.files import Block, read_block
from genz_ppl.inference.engines.blocks import blocks_of
from genz_ppl.inference.engines.in_turn import update_in_turn
from genz_ppl.inference.engines.moves import escape, settle, without_diagonal
from genz_ppl.inference.isolation import one_thread
from genz_ppl.inference.state import entropy_of
from genz_ppl.types import FloatArray

# Items handled at once: what they need stays in a core's cache.
PART = 4608


@dataclass(frozen=True)
class Parameters:
    """Of a linear model with Gaussian noise, on the user's scale divided by the spreads, as arrays.

    weights: (K, D). intercept: (D,). covariate_weights: (P, D). variance: (D,). error_rates: (K,). target_centre, target_spread:
    (D,). covariate_centre, covariate_spread: (P,).
    """

    weights: FloatArray
    intercept: FloatArray
    covariate_weights: FloatArray
    variance: FloatArray
    error_rates: FloatArray
    target_centre: FloatArray
    target_spread: FloatArray
    covariate_centre: FloatArray
    covariate_spread: FloatArray

    def save(self, path: Path) -> None:
        """Write them whole, or not at all."""
        partial = path.with_name(f"{path.name}.partial")
        with partial.open("wb") as file:
            np.savez(file, **{each.name: getattr(self, each.name) for each in fields(self)})
        partial.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Parameters:
        """What `save` has written. A process reads a file once: all blocks of a step want the same."""
        return _parameters(str(path), Path(path).stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _parameters(path: str, _changed: int) -> Parameters:
    with np.load(path, allow_pickle=False) as found:
        return Parameters(**{each.name: found[each.name] for each in fields(Parameters)})


@dataclass(frozen=True)
class BlockSums:
    """Sums over items, with O = [y, 1, x] standardised: q'q, (K, K), of which the diagonal is not used; O'q, (D + 1 + P, K);
    [1, x]'O, (1 + P, D + 1 + P); y'y's diagonal, (D,). agreement: q by the sign of the answer, (K,). entropy: of q.
    """

    products: FloatArray
    crossed: FloatArray
    known: FloatArray
    squares: FloatArray
    agreement: FloatArray
    entropy: float


def joined_sums(several: Sequence[BlockSums]) -> BlockSums:
    """The sums of blocks together, in this order."""
    total = {each.name: getattr(several[0], each.name) for each in fields(BlockSums)}
    for other in several[1:]:
        total = {name: value + getattr(other, name) for name, value in total.items()}
    return BlockSums(**total)


def joined_errors(several: Sequence[FloatArray]) -> FloatArray:
    """Squared errors of blocks together, in this order."""
    return np.asarray(np.add.reduce([*several]), dtype=np.float64)


@dataclass(frozen=True)
class Start:
    """Whose q a fit starts from: of another one, after a step that is done, these rows, which are its first features."""

    folder: str
    step: int
    rows: tuple[int, ...]


@dataclass(frozen=True)
class Task:
    """What a step asks of every block. step: 0 is the start, q at the answers. parameters: the file of those it is made at.

    folder: where q is kept; sweeps: None for one sweep from the q of the step before, else so many from the answers. features:
    the columns of answers, None for all; start: where q of the first of them comes from, if not from the answers.
    """

    step: int
    parameters: str
    folder: str
    sweeps: int | None = None
    features: tuple[int, ...] | None = None
    start: Start | None = None

    def kept(self, path: str, back: int = 0) -> Path:
        """The file of a block's q at this step, or so many before it."""
        return _kept(self.folder, path, self.step - back)

    @property
    def moves(self) -> bool:
        """Whether two features of an item may move at once: see `ClosedForm`."""
        times, rest = divmod(self.step, 3)
        return self.sweeps is None and rest == 0 and times > 0 and times & (times - 1) == 0


def _kept(folder: str, path: str, step: int) -> Path:
    return Path(folder) / f"{Path(path).stem}.{step:04d}.npy"


@one_thread()
@torch.no_grad()
def sums_of(path: str, task: Task) -> BlockSums:
    """The sums of a block; its q is written where q is kept."""
    step = _Step(path, task)
    found = joined_sums([step.sums(items) for items in step.parts])
    if task.sweeps is None:
        partial = task.kept(path).with_suffix(f".{os.getpid()}.partial")
        with partial.open("wb") as file:
            np.save(file, step.q.numpy())
        partial.replace(task.kept(path))
        task.kept(path, back=2).unlink(missing_ok=True)
    return found


@one_thread()
@torch.no_grad()
def posterior_of(path: str, task: Task) -> FloatArray:
    """q of a block after a step that is done, (B, K)."""
    found: FloatArray = q_after(path, task).T.numpy()
    return found


@one_thread()
@torch.no_grad()
def errors_of(path: str, task: Task, present: str) -> FloatArray:
    """E_q of the summed squared error of every target, (D,), item by item, where sums have too few digits left of it.

    q after a step that is done, the error at the parameters in the file `present`.
    """
    step, now, every = _Step(path, task, ready=True), Parameters.load(present), q_after(path, task)
    solution = torch.from_numpy(np.concatenate([now.weights, now.intercept[None], now.covariate_weights]))
    n_targets, total = len(now.intercept), torch.zeros(len(now.intercept), dtype=torch.float64)
    for items in step.parts:
        q, observations = every[:, items], step.observations(items)
        design = torch.cat([q, observations[n_targets:]])
        total += (observations[:n_targets] - solution.T @ design).square().sum(1)
        total += (q * (1 - q)).sum(1) @ solution[: len(q)] ** 2
    found: FloatArray = total.numpy()
    return found


def q_after(path: str, task: Task) -> Tensor:
    """q of a block after a step that is done, (K, B)."""
    if task.sweeps is None:
        return _loaded(task.kept(path))
    step = _Step(path, task)
    for items in step.parts:
        step.sweep(items)
    return step.q


def observations_of(block: Block, known: Parameters, items: slice) -> Tensor:
    """[y, 1, x] of some items, (D + 1 + P, B), standardised, float64."""
    targets = (block.targets[items] - known.target_centre) / known.target_spread
    covariates = (block.covariates[items] - known.covariate_centre) / known.covariate_spread
    return torch.from_numpy(np.concatenate([targets, np.ones((len(targets), 1)), covariates], axis=1).T.copy())


def _loaded(path: Path) -> Tensor:
    return torch.from_numpy(np.load(path, allow_pickle=False))


class _Step:
    """The E-step of a block. ready: it is done already. q: (K, B)."""

    def __init__(self, path: str, task: Task, ready: bool = False) -> None:
        self._block, self._task = read_block(path, task.features), task
        self._parameters = Parameters.load(task.parameters)
        self.parts = blocks_of(len(self._block.targets), PART)
        weights, intercept, slopes, variance, rates = (
            torch.from_numpy(getattr(self._parameters, name))
            for name in ("weights", "intercept", "covariate_weights", "variance", "error_rates")
        )
        precise = weights / variance
        self._gram = precise @ weights.T
        constant = precise @ intercept + 0.5 * self._gram.diagonal()
        self._pulls = torch.cat([precise, -constant.unsqueeze(1), -precise @ slopes.T], dim=1)
        self._others, self._slope = without_diagonal(self._gram), -torch.logit(rates).unsqueeze(1)
        if not ready:
            goes_on = task.sweeps is None and task.step > 0
            before = _loaded(task.kept(path, back=1)) if goes_on else None
            self.q = torch.empty(self._block.signs.shape, dtype=torch.float64) if before is None else before
            self._starts, begun = before is None, task.start if before is None else None
            # Of so many features q is there, of the others it starts at the answers.
            self._there = 0 if begun is None else len(begun.rows)
            if begun is not None:
                self.q[: self._there] = _loaded(_kept(begun.folder, path, begun.step))[list(begun.rows)]

    def observations(self, items: slice) -> Tensor:
        """[y, 1, x], (D + 1 + P, B), standardised."""
        return observations_of(self._block, self._parameters, items)

    def sweep(self, items: slice) -> tuple[Tensor, Tensor]:
        """Make q of some items what this step has of it; the observations and signs that it took."""
        q, observations = self.q[:, items], self.observations(items)
        signs = torch.from_numpy(self._block.signs[:, items].astype(np.float64))
        answered = signs * self._slope
        if self._starts:
            q[self._there :] = torch.sigmoid(answered[self._there :])
        if self._task.step == 0:
            return observations, signs
        field = answered.addmm_(self._pulls, observations)
        if self._task.moves:
            q.copy_(escape(settle(q, field, self._gram, sweeps=1), field, self._gram))
            return observations, signs
        for _ in range(self._task.sweeps or 1):
            update_in_turn(q, field.clone(), self._others)
        return observations, signs

    def sums(self, items: slice) -> BlockSums:
        """The sums over some items, after their sweep."""
        observations, signs = self.sweep(items)
        q, n_targets = self.q[:, items], self._block.targets.shape[1]
        return BlockSums(
            (q @ q.T).numpy(),
            (observations @ q.T).numpy(),
            (observations[n_targets:] @ observations.T).numpy(),
            observations[:n_targets].square().sum(1).numpy(),
            (signs * q).sum(1).numpy(),
            entropy_of(q.T),
        )
