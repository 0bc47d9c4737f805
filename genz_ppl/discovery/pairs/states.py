"""The fitted model of two sides as arrays by name and back, and with it the whole `PairProgress` of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from genz_ppl.discovery.pairs.folder import PAIR_PROGRESS, SIDE_NAMES, PairDirectory
from genz_ppl.discovery.result import Discovery
from genz_ppl.discovery.run.record import PairRecord
from genz_ppl.discovery.run.state_file import UNREADABLE, packed
from genz_ppl.discovery.run.states import as_arrays, as_tensors, state_from, state_tensors
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.fit import PairState
from genz_ppl.inference.pairs.side import Side
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.models import LIKELIHOODS
from genz_ppl.models.cooccurrence import CoOccurrence
from genz_ppl.settings import PairSettings


@dataclass
class PairProgress:
    """A run between two stages. state: None before the first; searches: the last of each side; scores: by part."""

    stage: int = 0
    state: PairState | None = None
    searches: list[Discovery | None] = field(default_factory=lambda: [None, None])
    scores: dict[str, dict[str, float | None]] = field(default_factory=dict)
    curve: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0
    status: str = "running"


def state_bytes(progress: PairProgress, state: PairState) -> bytes:
    """The content of the state file at the end of a stage."""
    plain = {"stage": progress.stage, "scores": progress.scores, "bounds": state.bounds, "status": progress.status}
    plain["links"] = [side.state.model.link.name for side in state.sides]  # of a side without items it is linear
    plain["curve"] = [{**row, "seconds": 0.0} for row in progress.curve]
    return packed(as_arrays(pair_tensors(state)), plain)


def load_stage(directory: PairDirectory, record: PairRecord) -> PairProgress | None:
    """The end of the last stage that was written, None where there is none; searches are not opened."""
    if (found := directory.state(PAIR_PROGRESS)) is None:
        return None
    arrays, plain = found
    try:
        state = pair_state(as_tensors(arrays), plain, record.settings)
        _check_sizes(state, [len(record.split[side].train) for side in SIDE_NAMES], record.settings.dimensions)
    except UNREADABLE as error:
        raise directory.unreadable(error) from None
    known = {name: plain[name] for name in ("stage", "scores", "curve", "status")}
    return PairProgress(state=state, seconds=plain["curve"][-1]["seconds"], **known)


def pair_tensors(state: PairState) -> dict[str, Tensor]:
    """All numbers of a fitted two-item model."""
    tensors = {"offset": state.model.offset, **{f"likelihood.{k}": v for k, v in state.model.likelihood.state_dict().items()}}
    for name, side, embedding in zip(SIDE_NAMES, state.sides, state.embeddings, strict=True):
        tensors |= state_tensors(name, side.state)
        tensors |= {f"{name}_mean": embedding.mean, f"{name}_sd": embedding.sd, f"{name}_answers": side.answers}
        tensors |= {f"{name}_covariates": side.covariates}
        tensors |= {f"{name}_scaling.{part}": getattr(side.scaling, part) for part in Scaling.__dataclass_fields__}
    return tensors


def pair_state(tensors: dict[str, Tensor], plain: dict[str, Any], settings: PairSettings) -> PairState:
    """The inverse of `pair_tensors`. plain: the links of both sides and the bounds."""
    sides, embeddings = [], []
    with isolated(0):
        for name, link in zip(SIDE_NAMES, plain["links"], strict=True):
            start = f"{name}_scaling."
            scaling = Scaling(**{key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})
            answers, covariates = tensors[f"{name}_answers"], tensors[f"{name}_covariates"]
            n_entries = tensors[f"{name}_mean"].shape[1]
            # A side without features yet is neither.
            calibrated = any(key.startswith(f"{name}.marginal.") for key in tensors)
            options: dict[str, Any] = {
                "calibration": settings.calibration if calibrated else 0.0,
                "shrinkage": f"{name}.link.shrinkage" in tensors,
            }
            blank = build_model(0, n_entries, covariates.shape[1], link, "gaussian", settings.error_rate_prior, **options)
            sides.append(Side(state_from(name, blank, tensors), scaling, answers, covariates))
            embeddings.append(Embedding(tensors[f"{name}_mean"], tensors[f"{name}_sd"]))
        likelihood = LIKELIHOODS[settings.likelihood](1)
        start = "likelihood."
        likelihood.load_state_dict({key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})
        units = [(side.scaling.target_centre, side.scaling.target_spread) for side in sides]
        model = CoOccurrence(sides[0].state.model, sides[1].state.model, likelihood, *units)
        with torch.no_grad():
            model.offset.copy_(tensors["offset"])
    return PairState(model, sides[0], sides[1], (embeddings[0], embeddings[1]), plain["bounds"])


def _check_sizes(state: PairState, n_items: list[int], n_dimensions: int) -> None:
    """Raise ValueError unless sides and embeddings belong together, and to that many items of each side."""
    for side, embedding, count in zip(state.sides, state.embeddings, n_items, strict=True):
        rates, width = side.state.error_rates, 1 + n_dimensions
        sizes = {
            (count, width): (embedding.mean, embedding.sd),
            (count, len(rates)): (side.answers, side.state.posterior),
            (count, side.covariates.shape[1]): (side.covariates,),
            (width,): (side.scaling.target_centre, side.scaling.target_spread),
            (side.covariates.shape[1],): (side.scaling.covariate_centre, side.scaling.covariate_spread),
        }
        if any(part.shape != size or part.dtype != torch.float64 for size, parts in sizes.items() for part in parts):
            raise ValueError("its parts do not belong together, or not to these items")
