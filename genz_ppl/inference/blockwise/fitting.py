"""M-steps from the sums over blocks, and refits of the model with some of the questions from where another fit stands."""

from __future__ import annotations

import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genz_ppl.errors import InputError
from genz_ppl.inference.blockwise import steps
from genz_ppl.inference.blockwise.moments import Moments, joined_moments, moments_of
from genz_ppl.inference.blockwise.runners import Runner
from genz_ppl.inference.blockwise.steps import BlockSums, Parameters, Start, Task
from genz_ppl.inference.engines.least_squares import solve_normal
from genz_ppl.inference.engines.sums import Sums
from genz_ppl.inference.isolation import one_thread
from genz_ppl.models import FeatureLayer
from genz_ppl.models.features import most_probable_error_rate
from genz_ppl.models.gaussian import SMALLEST_VARIANCE
from genz_ppl.types import FloatArray


@dataclass(frozen=True)
class BlockState:
    """A model fitted to blocks. task: the step after which q is kept; bound: total over items, in the units of the targets."""

    parameters: Parameters
    task: Task
    bound: float

    @property
    def features(self) -> tuple[int, ...]:
        """The columns of answers that the model has, in its order."""
        return self.task.features or ()

    def start(self, rows: Sequence[int]) -> Start:
        """From the q of this model's features in these places."""
        return Start(self.task.folder, self.task.step, tuple(rows))

    def noted(self) -> dict[str, Any]:
        """Plain values by which `read` finds it again, while its files are there."""
        task = self.task
        return {"bound": self.bound, "folder": task.folder, "step": task.step, "file": task.parameters, "features": self.features}

    @classmethod
    def read(cls, noted: dict[str, Any]) -> BlockState:
        """What `noted` gave. Raises OSError, KeyError, TypeError or ValueError where that is not it."""
        task = Task(noted["step"], noted["file"], noted["folder"], None, tuple(noted["features"]))
        return cls(Parameters.load(task.parameters), task, float(noted["bound"]))

    def forget(self) -> None:
        """Delete what is kept of it."""
        shutil.rmtree(self.task.folder, ignore_errors=True)


class Fitting:
    """Steps of models with some of the N columns of answers of blocks. prior: Beta's, of error rates."""

    def __init__(self, files: Sequence[Path], runner: Runner, prior: tuple[float, float]) -> None:
        self.files, self.runner = tuple(str(file.absolute()) for file in files), runner
        self.layer = FeatureLayer(0, prior)
        self.moments = runner.joined(moments_of, self.files, joined_moments)

    def check_answered(self, features: Sequence[int]) -> None:
        """Raise InputError for a column without any answer."""
        without = [k for k in features if self.moments.answered[k] == 0]
        if without:
            raise InputError(f"column answer_{without[0]}: expected answers, found none in any block; leave the column out")

    def blank(self, features: Sequence[int]) -> Parameters:
        """Where a fit starts that nothing is known of: no effects, rates at the mean of their prior."""
        moments, n_features = self.moments, len(features)
        n_targets, spread = moments.n_targets, moments.spread
        return Parameters(
            weights=np.zeros((n_features, n_targets)),
            intercept=np.zeros(n_targets),
            covariate_weights=np.zeros((len(moments.mean) - n_targets, n_targets)),
            variance=np.ones(n_targets),
            error_rates=self.layer.rates(n_features).numpy(),
            target_centre=moments.mean[:n_targets],
            target_spread=spread[:n_targets],
            covariate_centre=moments.mean[n_targets:],
            covariate_spread=spread[n_targets:],
        )

    def refit(
        self, parameters: Parameters, features: Sequence[int], folder: Path, n_steps: int, start: Start | None = None
    ) -> BlockState:
        """So many E- and M-steps, after an M-step at the start, as `genz_ppl.inference.engines.coordinate.refit` makes them.

        folder: a new one for q and parameters. start: where q comes from; None: from the answers at the error rates of
        `parameters`.
        """
        folder.mkdir(parents=True, exist_ok=True)
        before, bound = folder / "start.npz", 0.0
        parameters.save(before)
        for step in range(n_steps + 1):
            task = Task(step, str(before), str(folder), None, tuple(features), start)
            parameters, bound = self.stepped(parameters, task)
            before = folder / f"step-{step:04d}.npz"
            parameters.save(before)
        return BlockState(parameters, replace(task, parameters=str(before)), bound)

    def stepped(self, before: Parameters, task: Task) -> tuple[Parameters, float]:
        """The parameters after a step, error rates only after the first, and the bound there."""
        sums = self.runner.joined(steps.sums_of, self.files, steps.joined_sums, task)
        moments = self.moments if task.features is None else self.moments.of(task.features)
        parameters, error = self._maximised(before, sums, task)
        if task.step > 0:
            parameters = replace(parameters, error_rates=self._rates(sums, moments))
        return parameters, self._bound(parameters, error, sums, moments)

    @one_thread()
    def _maximised(self, before: Parameters, sums: BlockSums, task: Task) -> tuple[Parameters, FloatArray]:
        """Eqs. 29 and 30; and the mean squared errors, (D,), to which variances are set."""
        found, n_features = summed(sums), len(sums.products)
        solution = solve_normal(found.normal, found.right)
        parts: dict[str, Any] = {
            "weights": solution[:n_features],
            "intercept": solution[n_features],
            "covariate_weights": solution[n_features + 1 :],
        }
        after = replace(before, **{name: value.numpy() for name, value in parts.items()})
        in_sum = found.squared_error(solution)
        if in_sum is not None:
            total: FloatArray = in_sum.numpy()
        else:
            present = Path(task.folder) / "present.npz"
            after.save(present)
            total = self.runner.joined(steps.errors_of, self.files, steps.joined_errors, task, str(present))
        error: FloatArray = total / self.moments.n
        return replace(after, variance=np.maximum(error, SMALLEST_VARIANCE)), error

    def _rates(self, sums: BlockSums, moments: Moments) -> FloatArray:
        """Eq. 14 with its prior."""
        wrong, answered = torch.from_numpy(_wrong(sums, moments)), torch.from_numpy(moments.answered)
        rates: FloatArray = most_probable_error_rate(wrong, answered, self.layer.prior).numpy()
        return rates

    def _bound(self, parameters: Parameters, error: FloatArray, sums: BlockSums, moments: Moments) -> float:
        """Eqs. 1-2 with the log prior of the error rates relative to its mode, in the units of the targets."""
        variance = parameters.variance
        observation = -0.5 * moments.n * float((np.log(2 * math.pi * variance) + error / variance).sum())
        observation -= moments.n * float(np.log(parameters.target_spread).sum())
        feature = float(feature_terms(_wrong(sums, moments), parameters.error_rates, moments).sum())
        return observation + feature + sums.entropy + float(self.layer.penalty(torch.from_numpy(parameters.error_rates)))


def feature_terms(wrong: FloatArray, rates: FloatArray, moments: Moments) -> FloatArray:
    """E_q log p(z | h) of every feature, summed over items, (K,). wrong: expected wrong answers, (K,)."""
    known = wrong * np.log(rates) + (moments.answered - wrong) * np.log1p(-rates)
    found: FloatArray = known - math.log(2) * (moments.n - moments.answered)
    return found


def _wrong(sums: BlockSums, moments: Moments) -> FloatArray:
    """Expected wrong answers, (K,)."""
    wrong: FloatArray = np.maximum(moments.yes - sums.agreement, 0.0)
    return wrong


def summed(sums: BlockSums) -> Sums:
    """As the M-step reads them."""
    n_features, n_targets = len(sums.products), len(sums.squares)
    products, crossed, known = (torch.from_numpy(part) for part in (sums.products, sums.crossed, sums.known))
    size = n_features + len(known)
    normal = torch.empty(size, size, dtype=torch.float64)
    normal[:n_features, :n_features] = products
    normal[:n_features, n_features:] = crossed[n_targets:].T
    normal[n_features:, :n_features] = crossed[n_targets:]
    normal[n_features:, n_features:] = known[:, n_targets:]
    normal.diagonal()[:n_features] = crossed[n_targets]  # z is its own square
    right = torch.cat([crossed[:n_targets].T, known[:, :n_targets]])
    return Sums(normal, right, torch.from_numpy(sums.squares), n_features)
