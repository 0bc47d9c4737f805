"""The run directory of two sides: its own state after every stage, and a run directory for each search."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
import torch
from torch import Tensor

from genz_ppl.discovery.discover import Discovery
from genz_ppl.discovery.pairs.problem import SIDE_NAMES
from genz_ppl.discovery.run.folder import (
    STATE_FILE,
    UNREADABLE,
    RunDirectory,
    csv_of,
    packed,
    state_from,
    state_tensors,
    unpacked,
)
from genz_ppl.discovery.run.records import Counters
from genz_ppl.discovery.run.run_file import PAIR_PROGRESS, PAIR_RUN
from genz_ppl.errors import RunDirectoryError
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.pairs.embedding import Embedding
from genz_ppl.inference.pairs.fit import PairState
from genz_ppl.inference.pairs.side import Side
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.llm.base import FoundationModel
from genz_ppl.models import LIKELIHOODS
from genz_ppl.models.cooccurrence import CoOccurrence
from genz_ppl.settings import PairSettings

if TYPE_CHECKING:
    from genz_ppl.discovery.pairs.runner import PairProgress

#: The entry of run.json that only such a run has.
PAIRS = "pairs"


@dataclass(frozen=True)
class PairDirectory(RunDirectory):
    """A folder that holds one run on two sides; the searches are in rows-1, columns-1, rows-2 and so on."""

    form: ClassVar[Any] = PAIR_RUN

    def side(self, number: int, round_number: int) -> RunDirectory:
        """Where a side is searched in a round, from 1. Raises RunDirectoryError for a link, which may lead anywhere."""
        path = self.path / f"{SIDE_NAMES[number]}-{round_number}"
        if path.is_symlink():
            raise RunDirectoryError(f"{path}: expected a folder, found a link; put the folder itself there")
        return RunDirectory(path)

    def save_stage(self, progress: PairProgress) -> None:
        """Write the end of a stage: first the state, then its views."""
        assert progress.state is not None
        plain = {"stage": progress.stage, "scores": progress.scores, "bounds": progress.state.bounds, "status": progress.status}
        plain["links"] = [side.state.model.link.name for side in progress.state.sides]  # of a side without items it is linear
        curve = [{**row, "seconds": 0.0} for row in progress.curve]
        self.replace(STATE_FILE, packed(pair_tensors(progress.state), {**plain, "curve": curve}))
        self.write_table("curve.csv", pd.DataFrame(progress.curve))
        last = progress.curve[-1] if progress.curve else {}
        asked = {name: last.get(name) for name in Counters.__dataclass_fields__}
        features = {"n_row_features": last.get("n_row_features"), "n_column_features": last.get("n_column_features")}
        metrics = {**progress.scores, **features, **asked, "seconds": round(progress.seconds, 3), "status": progress.status}
        self.replace("metrics.json", (json.dumps(metrics, indent=2) + "\n").encode())
        self.set_status(progress.status)

    def write_table(self, name: str, table: pd.DataFrame) -> None:
        """A view for people."""
        self.replace(name, csv_of(table).encode())

    def load_stage(self, progress: PairProgress, settings: PairSettings) -> None:
        """Bring `progress` to the end of the last stage that was written, if there is one; searches are not opened."""
        path = self.path / STATE_FILE
        if not path.exists():
            return
        split = self.record()["split"]
        try:
            tensors, plain = unpacked(path, PAIR_PROGRESS)
            progress.state = pair_state(tensors, plain, settings)
            _check_sizes(progress.state, [len(split[side]["train"]) for side in SIDE_NAMES], settings.dimensions)
        except UNREADABLE as error:
            raise self.unreadable(error) from None
        progress.stage, progress.scores, progress.status = plain["stage"], plain["scores"], plain["status"]
        progress.curve = plain["curve"]
        try:
            for row, seconds in zip(progress.curve, pd.read_csv(self.path / "curve.csv")["seconds"], strict=False):
                row["seconds"] = float(seconds)
        except (OSError, KeyError, ValueError):
            pass  # times are for people
        progress.seconds = progress.curve[-1]["seconds"] if progress.curve else 0.0

    def load_searches(
        self,
        progress: PairProgress,
        stages: list[tuple[str, int]],
        models: tuple[str | FoundationModel | None, str | FoundationModel | None],
        model_settings: Mapping[str, Any] | None = None,
        store: str | Path | None = None,
    ) -> None:
        """Read the last search of each side that is done. models, model_settings, store: as the user gives them."""
        for what, round_number in stages[: progress.stage]:
            if what in SIDE_NAMES:
                number = SIDE_NAMES.index(what)
                directory = self.side(number, round_number)
                if directory.path.exists():
                    progress.searches[number] = Discovery.load(directory.path, models[number], model_settings, store)


def pair_tensors(state: PairState) -> dict[str, Tensor]:
    """All numbers of a fitted two-item model."""
    tensors = {"offset": state.model.offset, **{f"likelihood.{k}": v for k, v in state.model.likelihood.state_dict().items()}}
    for name, side, embedding in zip(SIDE_NAMES, state.sides, state.embeddings, strict=True):
        tensors |= state_tensors(name, side.state)
        tensors |= {f"{name}_mean": embedding.mean, f"{name}_sd": embedding.sd, f"{name}_answers": side.answers}
        tensors |= {f"{name}_covariates": side.covariates}
        tensors |= {f"{name}_scaling.{part}": getattr(side.scaling, part) for part in Scaling.__dataclass_fields__}
    return {name: value.detach().clone(memory_format=torch.contiguous_format) for name, value in tensors.items()}


def pair_state(tensors: dict[str, Tensor], plain: dict[str, Any], settings: PairSettings) -> PairState:
    """The inverse of `pair_tensors`. plain: the links of both sides and the bounds."""
    sides, embeddings = [], []
    with isolated(0):
        for name, link in zip(SIDE_NAMES, plain["links"], strict=True):
            start = f"{name}_scaling."
            scaling = Scaling(**{key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)})
            answers, covariates = tensors[f"{name}_answers"], tensors[f"{name}_covariates"]
            n_entries = tensors[f"{name}_mean"].shape[1]
            blank = build_model(0, n_entries, covariates.shape[1], link, "gaussian", settings.error_rate_prior)
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
