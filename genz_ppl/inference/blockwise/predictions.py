"""Predictions of a fit to blocks for the items of blocks: files beside one another, each written whole, done ones left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.blockwise.files import Block, blocks_in, read_block, write_table
from genz_ppl.inference.blockwise.fit import BlockFit
from genz_ppl.inference.blockwise.moments import Moments, joined_moments, moments_of
from genz_ppl.inference.blockwise.runners import Here, Runner
from genz_ppl.inference.blockwise.steps import PART, Parameters, observations_of
from genz_ppl.inference.engines.blocks import blocks_of
from genz_ppl.inference.isolation import one_thread
from genz_ppl.types import FloatArray


def predict_blocks(fit: BlockFit, folder: str | Path, out: str | Path, runner: Runner | None = None) -> list[Path]:
    """Predict the items of the blocks in a folder from their answers and covariates; one file in `out` for each, of its name.

    Its columns are mean_0, sd_0, mean_1, ... in the user's units: of p(y | h, x), z averaged over p(z | h), exact. Files that
    are there are left alone, so that what was stopped goes on. `out`: a folder that all workers see. Raises InputError for blocks
    of other columns than the fit's, OptionError where out is the folder itself.
    """
    files, there = blocks_in(folder), Path(out).absolute()
    if there == Path(folder).absolute():
        raise OptionError(f"{out}: holds the blocks themselves; name another folder")
    runner = runner or Here()
    checked(fit, folder, tuple(map(str, files)), runner)
    missing = [str(file.absolute()) for file in files if not (there / file.name).exists()]
    runner.each(predict_block, missing, fit.parameters, fit.features, str(there))
    return [there / file.name for file in files]


def checked(fit: BlockFit, folder: str | Path, files: tuple[str, ...], runner: Runner) -> Moments:
    """The moments of blocks that a fit can predict. Raises InputError for others."""
    moments, now = runner.joined(moments_of, files, joined_moments), fit.parameters
    sizes = max(fit.features, default=-1) + 1, len(now.intercept), len(now.covariate_centre)
    found = len(moments.answered), moments.n_targets, len(moments.mean) - moments.n_targets
    if found[1:] != sizes[1:] or found[0] < sizes[0]:
        raise InputError(
            f"{folder}: expected blocks with the columns of the fit, {sizes[0]} or more answers, {sizes[1]} targets and "
            f"{sizes[2]} covariates, got {found[0]}, {found[1]} and {found[2]}"
        )
    return moments


@one_thread()
def predict_block(path: str, now: Parameters, features: tuple[int, ...], out: str) -> None:
    """Write the predictions for a block."""
    block, parts = read_block(path, features), []
    for items in blocks_of(len(block.targets), PART):
        chances, mean = predicted(block, now, items)
        variance = (chances * (1 - chances)).T @ now.weights**2 + now.variance
        parts.append((mean, np.sqrt(variance) * now.target_spread))
    columns = {}
    for target in range(len(now.intercept)):
        for name, side in (("mean", 0), ("sd", 1)):
            columns[f"{name}_{target}"] = pa.array(np.concatenate([part[side][:, target] for part in parts]))
    write_table(Path(out) / Path(path).name, pa.table(columns))


def predicted(block: Block, now: Parameters, items: slice) -> tuple[FloatArray, FloatArray]:
    """Of some items P(z = 1 | h), (K, B), and E[y | h, x], (B, D), in the user's units."""
    rates, signs = now.error_rates[:, None], block.signs[:, items]
    chances = np.where(signs > 0, 1 - rates, np.where(signs < 0, rates, 0.5))
    known = observations_of(block, now, items).numpy()[len(now.intercept) :]
    location = now.weights.T @ chances + np.concatenate([now.intercept[None], now.covariate_weights]).T @ known
    return chances, location.T * now.target_spread + now.target_centre
