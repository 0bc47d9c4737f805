"""Pruning by scores and a few refits next to refitting every removal: what each chooses, and how long it takes.

Random problems have 4 to 20 features, some of them correlated, useless or nearly so, missing answers, one to six targets, and
now and then missing targets and covariates. The large problem is that of `numpy_em.py`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from genz_ppl.inference.engines.coordinate import coordinate, refit
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.prune import least_useful, removal_losses, removals, without
from genz_ppl.models import LIKELIHOODS

STEPS = 10


@dataclass(frozen=True)
class Choice:
    """Whether the choice is that of refitting all, the nats it leaves behind, and whether the best score alone is right."""

    same: bool
    loss: float
    first: bool


def fitted(answers: np.ndarray, targets: np.ndarray, covariates: np.ndarray, likelihood: str) -> tuple[State, Data]:
    """A fit of 20 steps. Call inside `isolated`."""
    h, y, x = (torch.from_numpy(part) for part in (answers, targets, covariates))
    data = Scaling.of(y, x, LIKELIHOODS[likelihood]).data(h, x, y)
    state = start_state(build_model(h.shape[1], y.shape[1], x.shape[1], likelihood=likelihood), data)
    coordinate(state, data, 20)
    return state, data


def random_problem(seed: int, likelihood: str) -> tuple[State, Data]:
    """See the module."""
    random = np.random.default_rng(seed)
    n_features, n_items, n_targets = int(random.integers(4, 21)), int(random.integers(150, 800)), int(random.integers(1, 7))
    common = random.normal(size=(n_items, 2)) @ random.normal(size=(2, n_features)) * random.choice([0.0, 0.7, 1.5])
    truth = common + random.normal(size=(n_items, n_features)) > 0.7 * random.normal(size=n_features)
    weights = random.normal(size=(n_features, n_targets)) * random.choice([0.0, 0.1, 0.3, 1.0], size=(n_features, 1))
    targets = truth @ weights + random.choice([0.3, 1.0]) * random.normal(size=(n_items, n_targets))
    answers = (truth ^ (random.random(truth.shape) < random.uniform(0.02, 0.2, size=n_features))).astype(np.float64)
    answers[random.random(answers.shape) < random.choice([0.0, 0.2])] = np.nan
    covariates = random.normal(size=(n_items, int(random.integers(0, 3))))
    targets += covariates @ random.normal(size=(covariates.shape[1], n_targets))
    if random.random() < 0.3:
        targets[random.random(targets.shape) < 0.1] = np.nan
    return fitted(answers, targets, covariates, likelihood)


def large_problem(n_items: int, n_features: int, n_targets: int) -> tuple[State, Data]:
    """As in `numpy_em.py`."""
    random = np.random.default_rng(0)
    truth = random.random((n_items, n_features)) < 0.35
    answers = (truth ^ (random.random(truth.shape) < 0.1)).astype(np.float64)
    targets = truth @ random.normal(size=(n_features, n_targets)) + 0.5 * random.normal(size=(n_items, n_targets))
    return fitted(answers, targets, np.zeros((n_items, 0)), "gaussian")


def choice(state: State, data: Data) -> Choice:
    """Pruning by scores judged by refits of all removals."""
    every = removals(state, data, STEPS)
    best = max(every, key=lambda removal: removal.bound)
    chosen = least_useful(state, data, STEPS)
    losses = removal_losses(state, data)
    assert losses is not None
    first = int(losses.argmin())
    return Choice(chosen.feature == best.feature, best.bound - chosen.bound, first == best.feature)


def seconds(work: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    for option, default in (("problems", 100), ("items", 17770), ("features", 50), ("targets", 32)):
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    options = parser.parse_args()
    print(f"| {options.problems} random problems | same choice | best score alone | largest loss where it differs, nats |")
    print("|---|---|---|---|")
    for likelihood in ("gaussian", "isotropic", "student_t"):
        found = []
        for seed in range(options.problems):
            with isolated(seed):
                found.append(choice(*random_problem(seed, likelihood)))
        same, first = sum(one.same for one in found), sum(one.first for one in found)
        print(f"| {likelihood} | {same} | {first} | {max(one.loss for one in found):.2f} |", flush=True)
    with isolated(0):
        state, data = large_problem(options.items, options.features, options.targets)
        rounds = []
        for _ in range(3):
            reduced = state.with_columns(list(range(1, options.features)))
            one = seconds(lambda reduced=reduced: refit(reduced, without(data, 0), STEPS))  # type: ignore[misc]
            rounds.append((seconds(lambda: least_useful(state, data, STEPS)), one))
        whole, one = (float(np.median(part)) for part in zip(*rounds, strict=True))
    print(f"\n{options.items} items, {options.features} features, {options.targets} targets, {torch.get_num_threads()} threads:")
    print(f"pruning takes {whole:.2f} s, {whole / one:.1f} times one refit of {STEPS} steps ({one:.2f} s)")


if __name__ == "__main__":
    main()
