"""The fit of a linear model with Gaussian noise to blocks: E-steps by block, M-steps from the sums, all of it resumable."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import torch

from genz_ppl.errors import InputError
from genz_ppl.inference.blockwise import steps
from genz_ppl.inference.blockwise.files import blocks_in
from genz_ppl.inference.blockwise.runners import Here, Runner
from genz_ppl.inference.blockwise.steps import BlockSums, Moments, Parameters, Task
from genz_ppl.inference.engines.least_squares import solve_normal
from genz_ppl.inference.engines.sums import Sums
from genz_ppl.inference.isolation import one_thread
from genz_ppl.models import FeatureLayer
from genz_ppl.models.features import check_error_rate_prior, most_probable_error_rate
from genz_ppl.models.gaussian import SMALLEST_VARIANCE
from genz_ppl.setting_fields import check_number
from genz_ppl.types import FloatArray

OnStep = Callable[[int, float], None]


@dataclass(frozen=True)
class BlockFit:
    """A fit to blocks. parameters: the last; bounds: the bound after every step, total over items, in the units of the targets.

    n_items: T. files: the blocks. task: the last step.
    """

    parameters: Parameters
    bounds: FloatArray
    n_items: int
    files: tuple[str, ...]
    task: Task

    @property
    def in_units(self) -> dict[str, FloatArray]:
        """In the user's units: weights (K, D), intercept (D,), covariate_weights (P, D), scale (D,), the noise's standard
        deviation, and error_rates (K,)."""
        p = self.parameters
        slopes = p.covariate_weights * p.target_spread / p.covariate_spread[:, None]
        return {
            "weights": p.weights * p.target_spread,
            "intercept": p.target_centre + p.intercept * p.target_spread - p.covariate_centre @ slopes,
            "covariate_weights": slopes,
            "scale": np.sqrt(p.variance) * p.target_spread,
            "error_rates": p.error_rates,
        }

    def posterior(self, runner: Runner | None = None) -> FloatArray:
        """q(z = 1 | y, h) of all items, (T, K): as large as the data."""
        return np.concatenate((runner or Here()).each(steps.posterior_of, self.files, self.task))


def fit_blocks(
    folder: str | Path,
    n_steps: int = 50,
    runner: Runner | None = None,
    work: str | Path | None = None,
    sweeps: int | None = None,
    error_rate_prior: tuple[float, float] = (1.0, 9.0),
    on_step: OnStep | None = None,
) -> BlockFit:
    """Fit the linear link with Gaussian noise (eqs. 17-31) to the blocks in a folder, which every worker reads at that path.

    n_steps: E- and M-steps. runner: None for this process; see `open_runner`. work: a folder that all workers see, too, for q
    and for the parameters of every step, from which a fit that was stopped goes on; none: "fit" in `folder`. sweeps: None to keep
    q there (16 bytes a question and item), else it is made anew at every step by so many sweeps from the answers: less good
    where questions depend on one another, see docs/scale.md. on_step: is told the step and its bound.
    The steps are those of `genz_ppl.inference.fit` with calibration 0 and shrinkage False, the paper's bound, and the sums are
    joined in a fixed tree: whatever the runner, the result is the same to the last digit.
    Raises InputError for blocks that cannot be read or hold missing numbers, or a question without any answer; ModelError where
    workers fail for good.
    """
    check_error_rate_prior(error_rate_prior)
    check_number("n_steps", n_steps, 1)
    if sweeps is not None:
        check_number("sweeps", sweeps, 1)
    files, runner = blocks_in(folder), runner or Here()
    place = Path(work) if work is not None else Path(folder) / "fit"
    place.mkdir(parents=True, exist_ok=True)
    return _Fit(files, runner, place, sweeps, error_rate_prior, on_step).run(n_steps)


class _Fit:
    def __init__(
        self,
        files: Sequence[Path],
        runner: Runner,
        place: Path,
        sweeps: int | None,
        prior: tuple[float, float],
        on_step: OnStep | None,
    ) -> None:
        self._runner, self._place, self._sweeps, self._on_step = runner, place.absolute(), sweeps, on_step
        self._files = tuple(str(file.absolute()) for file in files)
        self._layer = FeatureLayer(0, prior)
        there = [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files]
        self._mark = sha256(json.dumps([prior, sweeps, there]).encode()).hexdigest()

    def run(self, n_steps: int) -> BlockFit:
        moments = self._runner.joined(steps.moments_of, self._files, steps.joined_moments)
        if not moments.answered.all():
            without = int(np.flatnonzero(moments.answered == 0)[0])
            raise InputError(f"column answer_{without}: expected answers, found none in any block; leave the column out")
        bounds = self._resumed()
        if bounds is None:
            bounds, parameters = [], self._first(moments)
            parameters.save(self._file(-1))
            parameters, _, _ = self._stepped(parameters, moments, 0)
            self._save(parameters, [])
        parameters = Parameters.load(self._file(len(bounds)))
        for step in range(len(bounds) + 1, n_steps + 1):
            parameters, error, sums = self._stepped(parameters, moments, step)
            parameters = replace(parameters, error_rates=self._rates(sums, moments))
            bounds.append(self._bound(parameters, error, sums, moments))
            self._save(parameters, bounds)
            if self._on_step is not None:
                self._on_step(step, bounds[-1])
        return BlockFit(parameters, np.array(bounds), moments.n, self._files, self._task(len(bounds)))

    def _file(self, step: int) -> Path:
        """Of the parameters after a step; those that the first one starts at come before it."""
        return self._place / ("start.npz" if step < 0 else f"step-{step:04d}.npz")

    def _task(self, step: int) -> Task:
        return Task(step, str(self._file(step - 1)), str(self._place), self._sweeps)

    def _stepped(self, before: Parameters, moments: Moments, step: int) -> tuple[Parameters, FloatArray, BlockSums]:
        sums = self._runner.joined(steps.sums_of, self._files, steps.joined_sums, self._task(step))
        return *self._maximised(before, sums, moments, step), sums

    def _resumed(self) -> list[float] | None:
        """The bounds so far of a fit to the same blocks; None where there is none to go on with."""
        try:
            noted = json.loads((self._place / "fit.json").read_text())
            last = len(noted["bounds"])
            there = self._file(last).exists() and noted["mark"] == self._mark
        except (OSError, ValueError, KeyError, TypeError):
            return None
        kept = self._sweeps is not None or all(self._task(last).kept(file).exists() for file in self._files)
        return [float(bound) for bound in noted["bounds"]] if there and kept else None

    def _save(self, parameters: Parameters, bounds: Sequence[float]) -> None:
        """Write a step down: its parameters first, and then that it is done. Of the steps before one is kept, for tasks again."""
        step = len(bounds)
        parameters.save(self._file(step))
        partial = self._place / "fit.json.partial"
        partial.write_text(json.dumps({"mark": self._mark, "bounds": list(bounds)}))
        partial.replace(self._place / "fit.json")
        if step > 1:
            self._file(step - 2).unlink(missing_ok=True)

    def _first(self, moments: Moments) -> Parameters:
        n_features, n_targets = len(moments.answered), moments.n_targets
        spread = np.sqrt(moments.squares / moments.n)
        spread = np.where(spread > 0, spread, 1.0)
        n_covariates = len(moments.mean) - n_targets
        return Parameters(
            weights=np.zeros((n_features, n_targets)),
            intercept=np.zeros(n_targets),
            covariate_weights=np.zeros((n_covariates, n_targets)),
            variance=np.ones(n_targets),
            error_rates=np.full(n_features, self._layer.prior_mean),
            target_centre=moments.mean[:n_targets],
            target_spread=spread[:n_targets],
            covariate_centre=moments.mean[n_targets:],
            covariate_spread=spread[n_targets:],
        )

    @one_thread()
    def _maximised(self, before: Parameters, sums: BlockSums, moments: Moments, step: int) -> tuple[Parameters, FloatArray]:
        """Eqs. 29 and 30; and the mean squared errors, (D,), to which variances are set."""
        found, n_features = _sums(sums), len(before.weights)
        solution = solve_normal(found.normal, found.right)
        parts: dict[str, Any] = {
            "weights": solution[:n_features],
            "intercept": solution[n_features],
            "covariate_weights": solution[n_features + 1 :],
        }
        after = replace(before, **{name: value.numpy() for name, value in parts.items()})
        summed = found.squared_error(solution)
        if summed is not None:
            total: FloatArray = summed.numpy()
        else:
            present = self._place / "present.npz"
            after.save(present)
            total = self._runner.joined(steps.errors_of, self._files, steps.joined_errors, self._task(step), str(present))
        error: FloatArray = total / moments.n
        return replace(after, variance=np.maximum(error, SMALLEST_VARIANCE)), error

    def _rates(self, sums: BlockSums, moments: Moments) -> FloatArray:
        """Eq. 14 with its prior."""
        wrong, answered = torch.from_numpy(_wrong(sums, moments)), torch.from_numpy(moments.answered)
        rates: FloatArray = most_probable_error_rate(wrong, answered, self._layer.prior).numpy()
        return rates

    def _bound(self, parameters: Parameters, error: FloatArray, sums: BlockSums, moments: Moments) -> float:
        """Eqs. 1-2 with the log prior of the error rates relative to its mode, in the units of the targets."""
        n, rates = moments.n, parameters.error_rates
        variance = parameters.variance
        observation = -0.5 * n * float((np.log(2 * math.pi * variance) + error / variance).sum())
        observation -= n * float(np.log(parameters.target_spread).sum())
        wrong = _wrong(sums, moments)
        feature = float((wrong * np.log(rates) + (moments.answered - wrong) * np.log1p(-rates)).sum())
        feature -= math.log(2) * float((n - moments.answered).sum())
        penalty = float(self._layer.penalty(torch.from_numpy(rates)))
        return observation + feature + sums.entropy + penalty


def _wrong(sums: BlockSums, moments: Moments) -> FloatArray:
    """Expected wrong answers, (K,)."""
    wrong: FloatArray = np.maximum(moments.yes - sums.agreement, 0.0)
    return wrong


def _sums(sums: BlockSums) -> Sums:
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
