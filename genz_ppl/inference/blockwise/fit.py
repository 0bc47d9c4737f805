"""The fit of a linear model with Gaussian noise to blocks: E-steps by block, M-steps from the sums, all of it resumable."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genz_ppl.errors import OptionError
from genz_ppl.inference.blockwise import steps
from genz_ppl.inference.blockwise.files import blocks_in, digest_of, marks_of, write_whole
from genz_ppl.inference.blockwise.fitting import Fitting
from genz_ppl.inference.blockwise.runners import Here, Runner
from genz_ppl.inference.blockwise.steps import Parameters, Task
from genz_ppl.models.features import check_error_rate_prior
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
    def features(self) -> tuple[int, ...]:
        """The columns of answers that it has, in its order."""
        return self.task.features or ()

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
    features: Sequence[int] | None = None,
    starting_rates: FloatArray | None = None,
) -> BlockFit:
    """Fit the linear link with Gaussian noise (eqs. 17-31) to the blocks in a folder, which every worker reads at that path.

    n_steps: E- and M-steps. runner: None for this process; see `open_runner`. work: a folder that all workers see, too, for q
    and for the parameters of every step, from which a fit that was stopped goes on; none: "fit" in `folder`. sweeps: None to keep
    q there (16 bytes a question and item), else it is made anew at every step by so many sweeps from the answers: less good
    where questions depend on one another, see docs/scale.md. on_step: is told the step and its bound. features: some of the
    columns of answers, by number; None: all. starting_rates: (K,), error rates at the start; None: the mean of their prior.
    The steps are those of `genz_ppl.inference.fit` with calibration 0 and shrinkage False, the paper's bound, and the sums are
    joined in a fixed tree: whatever the runner, the result is the same to the last digit.
    Raises InputError for blocks that cannot be read or hold missing numbers, or a question without any answer; ModelError where
    workers fail for good.
    """
    check_error_rate_prior(error_rate_prior)
    check_number("n_steps", n_steps, 1)
    if sweeps is not None:
        check_number("sweeps", sweeps, 1)
    place = Path(work) if work is not None else Path(folder) / "fit"
    files = blocks_in(folder)
    fitting = Fitting(files, runner or Here(), error_rate_prior)
    columns = tuple(range(len(fitting.moments.answered)) if features is None else features)
    missing = [k for k in columns if not 0 <= k < len(fitting.moments.answered)]
    if missing:
        raise OptionError(f"features: expected columns answer_0 to answer_{len(fitting.moments.answered) - 1}, got {missing[0]}")
    fitting.check_answered(columns)
    first = fitting.blank(columns)
    if starting_rates is not None:
        first = replace(first, error_rates=np.asarray(starting_rates, dtype=np.float64))
    place.mkdir(parents=True, exist_ok=True)
    mark = digest_of([error_rate_prior, sweeps, columns, first.error_rates.tolist(), marks_of(files)])
    return _Fit(fitting, place.absolute(), sweeps, columns, mark, on_step).run(first, n_steps)


@dataclass(frozen=True)
class _Fit:
    """A fit of fixed columns that writes every step down. mark: of all that it depends on."""

    fitting: Fitting
    place: Path
    sweeps: int | None
    columns: tuple[int, ...]
    mark: str
    on_step: OnStep | None

    def run(self, first: Parameters, n_steps: int) -> BlockFit:
        bounds = self._resumed()
        if bounds is None:
            bounds = []
            first.save(self._file(-1))
            self._save(self.fitting.stepped(first, self._task(0))[0], [])
        parameters = Parameters.load(self._file(len(bounds)))
        for step in range(len(bounds) + 1, n_steps + 1):
            parameters, bound = self.fitting.stepped(parameters, self._task(step))
            bounds.append(bound)
            self._save(parameters, bounds)
            if self.on_step is not None:
                self.on_step(step, bound)
        return BlockFit(parameters, np.array(bounds), self.fitting.moments.n, self.fitting.files, self._task(len(bounds)))

    def _file(self, step: int) -> Path:
        """Of the parameters after a step; those that the first one starts at come before it."""
        return self.place / ("start.npz" if step < 0 else f"step-{step:04d}.npz")

    def _task(self, step: int) -> Task:
        return Task(step, str(self._file(step - 1)), str(self.place), self.sweeps, self.columns)

    def _resumed(self) -> list[float] | None:
        """The bounds so far of a fit to the same blocks; None where there is none to go on with."""
        try:
            noted = json.loads((self.place / "fit.json").read_text())
            last = len(noted["bounds"])
            there = self._file(last).exists() and noted["mark"] == self.mark
        except (OSError, ValueError, KeyError, TypeError):
            return None
        kept = self.sweeps is not None or all(self._task(last).kept(file).exists() for file in self.fitting.files)
        return [float(bound) for bound in noted["bounds"]] if there and kept else None

    def _save(self, parameters: Parameters, bounds: Sequence[float]) -> None:
        """Write a step down: its parameters first, and then that it is done. Of the steps before one is kept, for tasks again."""
        step = len(bounds)
        parameters.save(self._file(step))
        write_whole(self.place / "fit.json", json.dumps({"mark": self.mark, "bounds": list(bounds)}))
        if step > 1:
            self._file(step - 2).unlink(missing_ok=True)
