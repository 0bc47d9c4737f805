"""Many items: minibatches with `svi` next to `coordinate` on all items, in memory, time and held-out error.

    python benchmarks/minibatches.py                       # 200 000 items, 50 features, 32 targets
    python benchmarks/minibatches.py --items 5000 --features 8 --targets 4 --batch 500

Simulated data with known weights, 10 % wrong answers. Each side runs in a process of its own, so that peak memory is its own;
both are fitted by `genz_ppl.inference.fit` with the defaults but for the strategy. The error is the root mean squared
error of the predictive mean for held-out items, of which only the answers are known.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Outcome:
    """One side: seconds of the fit, seconds an epoch or step, peak memory in MB, held-out error, and the noise in it."""

    seconds: float
    seconds_each: float
    megabytes: float
    error: float
    floor: float


def world(n_items: int, n_features: int, n_targets: int, seed: int) -> tuple[Any, Any, Any]:
    """Answers (T, K), targets (T, D) and the targets' expectation given the true features (T, D)."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(n_features, n_targets)) / np.sqrt(n_features / 8)
    truth = random.random((n_items, n_features)) < 0.35
    answers = np.where(random.random(truth.shape) < 0.1, ~truth, truth).astype(np.float64)
    clean = truth.astype(np.float64) @ weights
    return answers, clean + 0.5 * random.normal(size=clean.shape), clean


def fit_one(options: dict[str, Any], sizes: tuple[int, int, int, int], seed: int, queue: Any) -> None:
    """Simulate, fit, and put an `Outcome` into the queue."""
    from genz_ppl.inference import fit

    n_items, n_features, n_targets, held_out = sizes
    answers, targets, _ = world(n_items + held_out, n_features, n_targets, seed)
    started = time.perf_counter()
    result = fit(answers[:n_items], targets[:n_items], **options)
    seconds = time.perf_counter() - started
    error = targets[n_items:] - result.predict(answers[n_items:])
    megabytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    spread = float(targets[n_items:].std())
    queue.put(Outcome(seconds, seconds / len(result.bounds), megabytes, float(np.sqrt(np.mean(error**2))), spread))


def measure(options: dict[str, Any], sizes: tuple[int, int, int, int], seed: int) -> Outcome:
    """`fit_one` in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=fit_one, args=(options, sizes, seed, queue))
    process.start()
    outcome: Outcome = queue.get()
    process.join()
    return outcome


def main() -> None:
    """Measure both sides and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=200_000)
    parser.add_argument("--features", type=int, default=50)
    parser.add_argument("--targets", type=int, default=32)
    parser.add_argument("--held-out", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=None, help="of svi; default: that of the library")
    parser.add_argument("--steps", type=int, default=20, help="of coordinate")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    sizes = (arguments.items, arguments.features, arguments.targets, arguments.held_out)
    sides = {
        "coordinate, all items": {"steps": arguments.steps},
        f"svi, batches of {arguments.batch}": {
            "inference": "svi",
            "batch_size": arguments.batch,
            "steps": arguments.epochs,
        },
    }
    print(f"{sizes[0]} items, {sizes[1]} features, {sizes[2]} targets, {sizes[3]} held out")
    print("| strategy | held-out RMSE | sd of y | peak memory, MB | seconds | seconds a step or epoch |")
    print("|---|---|---|---|---|---|")
    found = {}
    for name, options in sides.items():
        found[name] = outcome = measure(options, sizes, arguments.seed)
        print(
            f"| {name} | {outcome.error:.4f} | {outcome.floor:.4f} | {outcome.megabytes:.0f} | {outcome.seconds:.1f} "
            f"| {outcome.seconds_each:.2f} |",
            flush=True,
        )
    one, other = found.values()
    print(f"svi's held-out error is {other.error / one.error:.4f} times that of coordinate")


if __name__ == "__main__":
    main()
