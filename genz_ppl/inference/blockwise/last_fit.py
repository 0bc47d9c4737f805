"""The last fit of a run in blocks: the run's items are written as blocks, and E-steps are made by whoever works on them."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.blockwise.runners import check_dask, open_runner
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.candidates import better_start


def fit_in_blocks(
    state: State, data: Data, n_steps: int, engine: str, scheduler: str | None = None, shared: str | None = None
) -> tuple[State, float]:
    """A state fitted from the start by so many steps, and its bound: what `fit_blocks` gives for standardised data.

    shared: a folder that all workers see; None for a temporary one of this host, which is gone afterwards, as is what is written
    into the other. Without features there is nothing to be done in blocks.
    """
    if data.answers.shape[1] == 0:
        return better_start(state, data, n_steps)
    from genz_ppl.inference.blockwise.files import write_blocks  # pyarrow, which a run without blocks does without
    from genz_ppl.inference.blockwise.fit import fit_blocks

    with (
        tempfile.TemporaryDirectory(prefix="genz-blocks-", dir=shared) as folder,
        open_runner(engine, scheduler) as runner,
    ):
        write_blocks(folder, data.answers.numpy(), data.targets.numpy(), data.covariates.numpy())
        prior = tuple(float(part) for part in state.model.features.concentration)
        found = fit_blocks(folder, n_steps, runner, error_rate_prior=(prior[0], prior[1]))
        fitted = state.copy()
        parts = {name: torch.from_numpy(part) for name, part in found.in_units.items()}
        fitted.model.link.set_solution(parts["weights"].unsqueeze(1), parts["intercept"], parts["covariate_weights"])
        fitted.model.likelihood.scale = parts["scale"]
        fitted.error_rates = parts["error_rates"]
        fitted.posterior = torch.from_numpy(found.posterior(runner))
    return fitted, float(found.bounds[-1])


def check_fit_in_blocks(data: Data, levels: object, engine: str, scheduler: str | None, shared: str | None) -> None:
    """Raise before anything is asked: InputError for data that have no such fit, OptionError for workers that cannot be had."""
    if engine == "here":
        return
    if not data.complete:
        raise InputError("targets: some are missing, and a fit in blocks needs all of them; leave --engine out, or those items")
    if levels:
        raise OptionError("--varying: effects of groups are not fitted in blocks; leave --engine or --varying out")
    if scheduler is not None and (shared is None or not Path(shared).is_dir()):
        raise OptionError("--scheduler: expected --blocks with a folder that this host and all workers see; add it")
    if scheduler is not None:
        with open_runner(engine, scheduler):
            pass
    else:
        check_dask()
