"""How well a fit to blocks predicts the items of blocks, its own or others: what metrics.json has of a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.inference.blockwise.files import Block, blocks_in, read_block
from genz_ppl.inference.blockwise.fit import BlockFit
from genz_ppl.inference.blockwise.moments import Moments
from genz_ppl.inference.blockwise.predictions import checked, predicted
from genz_ppl.inference.blockwise.runners import Here, Runner
from genz_ppl.inference.blockwise.steps import PART, Parameters
from genz_ppl.inference.engines.blocks import blocks_of
from genz_ppl.inference.isolation import isolated, one_thread
from genz_ppl.inference.prediction import log_predictive_density
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.inference.state import State
from genz_ppl.types import FloatArray

# Items whose log density is drawn at the most: 400 draws an item take a thousand times as long as its prediction.
MOST_DRAWN = 200_000
# Bits of a number that are looked at in one pass for a median.
BITS = 16


@dataclass(frozen=True)
class BlockMeasures:
    """Of the items of some blocks, in the user's units, each as `genz_ppl.diagnostics.measures` has it.

    r2: averaged over targets that vary; median_absolute_error and rmse: over all entries; cosine: NaN with one target;
    log_likelihood: the mean over items of log p(y | h, x), of n_drawn of the n_items.
    """

    n_items: int
    r2: float
    median_absolute_error: float
    rmse: float
    cosine: float
    log_likelihood: float
    n_drawn: int


def measure_blocks(
    fit: BlockFit, folder: str | Path, runner: Runner | None = None, seed: int = 0, most_drawn: int = MOST_DRAWN
) -> BlockMeasures:
    """Predict the items of the blocks in a folder from their answers and covariates, and hold that against their targets.

    The columns of answers are those of the fit, by number. All but log_likelihood are exact, whatever the blocks; that is of
    every n-th item, so that there are at most `most_drawn`, and by draws from `seed`. Raises InputError for blocks that have
    other columns than those of the fit, or cannot be read.
    """
    files, runner, now = tuple(map(str, blocks_in(folder))), runner or Here(), fit.parameters
    n_targets, moments = len(now.intercept), checked(fit, folder, files, runner)
    errors = runner.joined(errors_of, files, _added, now, fit.features)
    squares, total = errors[:n_targets], moments.squares[:n_targets]
    varies = total > 0
    every = -(-moments.n // max(1, most_drawn))
    seeds = {file: _seed(seed, number) for number, file in enumerate(files)}
    drawn = runner.joined(densities_of, files, _added, now, fit.features, every, seeds)
    return BlockMeasures(
        n_items=moments.n,
        r2=float(np.mean(1 - squares[varies] / total[varies])) if varies.any() else float("nan"),
        median_absolute_error=_median(runner, files, now, fit.features, moments),
        rmse=float(np.sqrt(squares.sum() / (moments.n * n_targets))),
        cosine=float(errors[-2] / errors[-1]) if n_targets > 1 and errors[-1] else float("nan"),
        log_likelihood=float(drawn[0] / drawn[1]),
        n_drawn=int(drawn[1]),
    )


def _added(several: Sequence[FloatArray]) -> FloatArray:
    """Arrays of blocks together, in this order."""
    total: FloatArray = np.add.reduce([*several])
    return total


def _counted(several: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Counts of blocks together."""
    total: NDArray[np.int64] = np.add.reduce([*several])
    return total


def _seed(seed: int, number: int) -> int:
    """Of a block; of the first the seed itself, as where all items are together."""
    return seed if number == 0 else int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def _predicted(block: Block, now: Parameters, items: slice) -> tuple[FloatArray, FloatArray]:
    """Targets and E[y | h, x] of some items, (B, D) each, in the user's units."""
    return block.targets[items].astype(np.float64), predicted(block, now, items)[1]


@one_thread()
def errors_of(path: str, now: Parameters, features: tuple[int, ...]) -> FloatArray:
    """Of a block: squared errors, (D,), then the sum of cosine similarities and of how many items that is."""
    block, sums = read_block(path, features), np.zeros(len(now.intercept) + 2)
    for items in blocks_of(len(block.targets), PART):
        targets, predicted = _predicted(block, now, items)
        size = np.linalg.norm(targets, axis=1) * np.linalg.norm(predicted, axis=1)
        dot, some = (targets * predicted).sum(axis=1), size > 0
        sums[:-2] += ((targets - predicted) ** 2).sum(axis=0)
        sums[-2:] += (dot[some] / size[some]).sum(), some.sum()
    return sums


@one_thread()
def counts_of(path: str, now: Parameters, features: tuple[int, ...], heads: tuple[int, ...], level: int) -> NDArray[np.int64]:
    """Of the absolute errors of a block whose first bits, `level` times BITS, are a head: how many have which next BITS."""
    block, counts = read_block(path, features), np.zeros((len(heads), 1 << BITS), dtype=np.int64)
    shift = np.uint64(64 - BITS * (level + 1))
    for items in blocks_of(len(block.targets), PART):
        targets, predicted = _predicted(block, now, items)
        bits = np.abs(targets - predicted).ravel().view(np.uint64) >> shift
        for row, head in zip(counts, heads, strict=True):
            low = bits - np.uint64(head << BITS) if level else bits
            row += np.bincount(low[low < np.uint64(1 << BITS)].astype(np.int64), minlength=1 << BITS)
    return counts


def _median(runner: Runner, files: Sequence[str], now: Parameters, features: tuple[int, ...], moments: Moments) -> float:
    """The median of all absolute errors, to the last bit: numbers not below 0 are in the order of their bits."""
    size = moments.n * moments.n_targets
    ranks, heads = [(size - 1) // 2, size // 2], [0, 0]
    for level in range(64 // BITS):
        wanted = tuple(dict.fromkeys(heads))
        counts = runner.joined(counts_of, files, _counted, now, features, wanted, level)
        for place, head in enumerate(heads):
            below = np.cumsum(counts[wanted.index(head)])
            digit = int(np.searchsorted(below, ranks[place], side="right"))
            ranks[place] -= int(below[digit - 1]) if digit else 0
            heads[place] = (head << BITS) | digit
    return float(np.array(heads, dtype=np.uint64).view(np.float64).mean())


@one_thread()
def densities_of(path: str, now: Parameters, features: tuple[int, ...], every: int, seeds: dict[str, int]) -> FloatArray:
    """Of every n-th item of a block: the sum of log p(y | h, x), in the user's units, and their number."""
    block = read_block(path, features)
    signs = torch.from_numpy(block.signs[:, ::every].T.astype(np.float64))
    answers = torch.where(signs == 0, torch.nan, 0.5 + 0.5 * signs)
    targets, covariates = (torch.from_numpy(part[::every].astype(np.float64)) for part in (block.targets, block.covariates))
    with isolated(0):
        state, scaling = model_of(now)
        found = log_predictive_density(state, scaling, answers, covariates, targets, seeds[path])
    return np.array([found.sum(), len(found)])


def model_of(now: Parameters) -> tuple[State, Scaling]:
    """The parameters as a state without items, and its units. Call inside `isolated`."""
    units = ("target_centre", "target_spread", "covariate_centre", "covariate_spread")
    scaling = Scaling(*(torch.from_numpy(getattr(now, name)) for name in units))
    (n_features, n_targets), n_covariates = now.weights.shape, len(now.covariate_centre)
    model = build_model(n_features, n_targets, n_covariates)
    weights, intercept, slopes = (torch.from_numpy(part) for part in (now.weights, now.intercept, now.covariate_weights))
    model.link.set_solution(weights.unsqueeze(1), intercept, slopes)
    model.likelihood.scale = torch.from_numpy(np.sqrt(now.variance))
    return State(model, torch.from_numpy(now.error_rates), torch.zeros(0, n_features, dtype=torch.float64)), scaling
