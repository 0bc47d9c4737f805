"""The `coordinate` strategy next to the same EM written plainly in numpy: same start, same steps, seconds and memory of both.

Both fit the linear Gaussian model with a factorised posterior to simulated answers and targets. The numpy side is eqs. 27 and
29-31 of the paper as a reader would write them down: one feature after the other, all items at once, the residual updated after
every feature. They take turns of a few steps in one process, with a pause before each turn, so that neither finds a core that the
other's threads still keep busy; peak memory is taken in a process of its own for each.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.inference.engines.choose import engine_for
from genz_ppl.inference.engines.coordinate import coordinate
from genz_ppl.inference.engines.rates import update_error_rates
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.models import GaussianLikelihood

Array = NDArray[np.float64]
Seconds = tuple[float, float]
ERROR_RATE_PRIOR = (1.0, 9.0)
SIDES = ("numpy", "genz_ppl")
# Steps that a side takes in a row, as in a fit, and seconds before the other side's turn: after a product the threads of numpy's
# BLAS keep their cores busy for a tenth of a second, in case there is more to do.
TURN, PAUSE = 5, 0.25


@dataclass
class NumpyEM:
    """EM for y = z W + b + noise with answers h of z that are wrong at rate p_e. answers: (T, K); targets: (T, D), complete."""

    answers: Array
    targets: Array
    posterior: Array
    error_rates: Array
    weights: Array = field(init=False)
    intercept: Array = field(init=False)
    variance: Array = field(init=False)

    def __post_init__(self) -> None:
        self.maximise_observation()

    def step(self) -> None:
        """One E-step and one M-step."""
        self.expect()
        self.maximise_observation()
        self.maximise_error_rates()

    def expect(self) -> None:
        """Eq. 27, feature by feature."""
        agree = np.where(self.answers == 1, 1 - self.error_rates, self.error_rates)
        log_odds = np.log(agree) - np.log(1 - agree)
        residual = self.targets - self.intercept - self.posterior @ self.weights
        for k, weights in enumerate(self.weights):
            strength = np.sum(weights**2 / self.variance)
            pull = residual @ (weights / self.variance) + strength * self.posterior[:, k]
            updated = 1 / (1 + np.exp(-(log_odds[:, k] + pull - 0.5 * strength)))
            residual -= np.outer(updated - self.posterior[:, k], weights)
            self.posterior[:, k] = updated

    def maximise_observation(self) -> None:
        """Eq. 29 with an intercept, and the diagonal form of eq. 30."""
        design = np.column_stack([self.posterior, np.ones(len(self.posterior))])
        spread = self.posterior * (1 - self.posterior)
        normal = design.T @ design + np.diag(np.append(spread.sum(0), 0.0))
        solution = np.linalg.solve(normal, design.T @ self.targets)
        self.weights, self.intercept = solution[:-1], solution[-1]
        squared = (self.targets - design @ solution) ** 2 + spread @ self.weights**2
        self.variance = squared.mean(0)

    def maximise_error_rates(self) -> None:
        """Eq. 31 at the mode under the Beta prior."""
        a, b = ERROR_RATE_PRIOR
        wrong = np.where(self.answers == 1, 1 - self.posterior, self.posterior).sum(0)
        self.error_rates = np.clip((wrong + a - 1) / (len(self.answers) + a + b - 2), 1e-6, 1 - 1e-6)


class Package:
    """The package's own E- and M-steps, one at a time, without the bound."""

    def __init__(self, state: State, data: Data) -> None:
        self.state, self.data = state, data
        self.engine = engine_for(state.model, data, "exact", joint_moves=False)
        self.engine.maximise(state)

    def step(self) -> None:
        """One E-step and one M-step."""
        self.engine.sweep(self.state)
        self.engine.maximise(self.state)
        update_error_rates(self.state, self.data)

    def posterior(self) -> Array:
        """q(z = 1), (T, K)."""
        return self.state.posterior.numpy()


@dataclass(frozen=True)
class Comparison:
    """Median seconds a step, the largest difference of any posterior after any step, and what the joint moves cost.

    numpy_processor, package_processor: seconds of all processors together. moves_cost: seconds of a whole fit with the joint
    moves over one without; both compute the bound after every step.
    """

    numpy_seconds: float
    package_seconds: float
    numpy_processor: float
    package_processor: float
    difference: float
    moves_cost: float


def simulate(n_items: int, n_features: int, n_targets: int, seed: int) -> tuple[Array, Array]:
    """Answers (T, K), one in ten wrong, and targets (T, D) of a linear model with noise of half a unit."""
    random = np.random.default_rng(seed)
    truth = random.random((n_items, n_features)) < 0.35
    answers = truth ^ (random.random(truth.shape) < 0.1)
    weights = random.normal(size=(n_features, n_targets))
    targets = truth @ weights + 0.5 * random.normal(size=(n_items, n_targets))
    return answers.astype(np.float64), targets


def start(answers: Array, targets: Array) -> tuple[State, Data]:
    """The package's starting point. Call inside `isolated`."""
    h, y = torch.from_numpy(answers), torch.from_numpy(targets)
    x = torch.zeros(len(y), 0, dtype=torch.float64)
    data = Scaling.of(y, x, GaussianLikelihood).data(h, x, y)
    model = build_model(h.shape[1], y.shape[1], 0, error_rate_prior=ERROR_RATE_PRIOR)
    return start_state(model, data), data


def numpy_side(state: State, data: Data) -> NumpyEM:
    """The numpy EM at the same starting point."""
    rates, posterior = state.error_rates.numpy().copy(), state.posterior.numpy().copy()
    return NumpyEM(data.answers.numpy(), data.targets.numpy(), posterior, rates)


def compare(n_items: int, n_features: int, n_targets: int, steps: int, seed: int) -> Comparison:
    """Run both side by side, the order changing at every turn."""
    answers, targets = simulate(n_items, n_features, n_targets, seed)
    with isolated(seed):
        state, data = start(answers, targets)
        peer, package = numpy_side(state, data), Package(state.copy(), data)
        taken: tuple[list[Seconds], list[Seconds]] = ([], [])
        sides = [(taken[0], peer.step, lambda: peer.posterior), (taken[1], package.step, package.posterior)]
        difference = 0.0
        for turn, first in enumerate(range(0, steps, TURN)):
            passed: list[list[Array]] = []
            for seconds, work, posterior in sides if turn % 2 == 0 else reversed(sides):
                time.sleep(PAUSE)
                passed.append([])
                for _ in range(min(TURN, steps - first)):
                    seconds.append(timed(work))
                    passed[-1].append(posterior().copy())
            difference = max(difference, *(float(np.abs(one - other).max()) for one, other in zip(*passed, strict=True)))
        whole = {True: 0.0, False: 0.0}
        for moves in (False, True, True, False):
            whole[moves] += timed(lambda moves=moves: coordinate(state.copy(), data, steps, joint_moves=moves))[0]  # type: ignore[misc]
    medians = [float(np.median(values)) for side in taken for values in zip(*side, strict=True)]
    return Comparison(medians[0], medians[2], medians[1], medians[3], difference, whole[True] / whole[False])


def timed(work: Callable[[], object]) -> Seconds:
    """Seconds that a call takes, and those of all processors together."""
    begun = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def memory_of_side(side: str, n_items: int, n_features: int, n_targets: int, steps: int, seed: int) -> tuple[float, float]:
    """MB this process held at most before the first step, and over the whole run."""
    answers, targets = simulate(n_items, n_features, n_targets, seed)
    with isolated(seed):
        state, data = start(answers, targets)
        before = peak_memory()
        runner: NumpyEM | Package = numpy_side(state, data) if side == "numpy" else Package(state, data)
        for _ in range(steps):
            runner.step()
    return before, peak_memory()


def peak_memory() -> float:
    """The most MB this process has held so far."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 1e6 if sys.platform == "darwin" else size / 1e3


def print_table(found: Comparison, memory: dict[str, tuple[float, float]]) -> None:
    """The comparison as a markdown table."""
    heads = ("seconds an E+M step, median", "of all processors", "most memory held, MB", "of it before the first step, MB")
    print(f"| | {' | '.join(heads)} |")
    print("|---|---|---|---|---|")
    sides = ((found.numpy_seconds, found.numpy_processor), (found.package_seconds, found.package_processor))
    for side, (seconds, processor) in zip(SIDES, sides, strict=True):
        before, peak = memory[side]
        print(f"| {side} | {seconds:.4f} | {processor:.4f} | {peak:.0f} | {before:.0f} |")
    print(f"\ngenz_ppl takes {found.package_seconds / found.numpy_seconds:.2f} times the seconds of numpy;")
    print(f"largest difference of a posterior after any step: {found.difference:.1e};")
    print(f"a fit with the joint moves, as by default, takes {found.moves_cost:.2f} times the seconds of one without.")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("items", 17770), ("features", 50), ("targets", 32), ("steps", 20), ("seed", 0)):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--memory-of", choices=SIDES, help="run this side alone and print its memory in MB: before and peak")
    options = parser.parse_args()
    sizes = (options.items, options.features, options.targets, options.steps, options.seed)
    if options.memory_of:
        print(*memory_of_side(options.memory_of, *sizes))
        return
    found = compare(*sizes)
    memory: dict[str, tuple[float, float]] = {}
    for side in SIDES:
        child = subprocess.run(
            [sys.executable, __file__, *sys.argv[1:], "--memory-of", side], check=True, capture_output=True, text=True
        )
        before, peak = child.stdout.split()
        memory[side] = float(before), float(peak)
    print(f"{options.items} items, {options.features} features, {options.targets} targets, {options.steps} steps, ", end="")
    print(f"{torch.get_num_threads()} threads\n")
    print_table(found, memory)
    if found.difference > 1e-4:
        sys.exit("the two do not agree to 1e-4: the comparison of seconds means nothing")


if __name__ == "__main__":
    main()
