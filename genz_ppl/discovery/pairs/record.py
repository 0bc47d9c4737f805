"""run.json of a run on two sides, and how it is read back."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genz_ppl.data import Items
from genz_ppl.discovery.pairs.directory import PAIRS, PairDirectory
from genz_ppl.discovery.pairs.problem import PairProblem
from genz_ppl.discovery.run.record import OBJECT
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.settings import DiscoverSettings, PairSettings
from genz_ppl.types import Pairs

# Settings of a search that the two-item model decides by itself.
_FIXED = ("model", "likelihood", "test_fraction")


def split_settings(settings: Mapping[str, Any]) -> tuple[PairSettings, dict[str, Any]]:
    """Settings of the two-item model and of its searches, which share link, error rate prior and seed.

    Raises OptionError for names that neither has and for values out of range.
    """
    of_pairs = set(PairSettings.__dataclass_fields__)
    of_search = set(DiscoverSettings.__dataclass_fields__) - set(_FIXED)
    unknown = [option for option in settings if option not in of_pairs | of_search]
    if unknown:
        raise OptionError(f"{unknown[0]}: no such setting; known are {', '.join(sorted(of_pairs | of_search))}")
    chosen = PairSettings(**{name: value for name, value in settings.items() if name in of_pairs})
    search = {name: value for name, value in settings.items() if name in of_search}
    return chosen, {**search, "error_rate_prior": chosen.error_rate_prior}


def make_record(
    problem: PairProblem,
    settings: PairSettings,
    search: Mapping[str, Any],
    models: tuple[str | FoundationModel, str | FoundationModel],
    run: Mapping[str, Any],
) -> dict[str, Any]:
    """The content of run.json at the start. run: rounds, test_fraction, pair_fraction, model_settings, store, source
    and pair_columns."""
    model_settings, store = run["model_settings"], run["store"]
    split = {
        side.name: {part: [side.ids[position] for position in getattr(side, part)] for part in ("train", "test")}
        for side in problem.sides
    }
    return {
        PAIRS: len(problem.pairs),
        "settings": settings.to_dict(),
        "search": dict(search),
        "models": [_name(model) for model in models],
        "rounds": run["rounds"],
        "test_fraction": run["test_fraction"],
        "pair_fraction": run["pair_fraction"],
        "source": None if run["source"] is None else dict(run["source"]),
        "pair_columns": run["pair_columns"],
        "model_settings": model_settings.to_dict() if isinstance(model_settings, ModelSettings) else model_settings,
        "store": None if store is None else str(Path(store).absolute()),
        "versions": {name: version(name) for name in ("genz-ppl", "torch", "pyro-ppl", "numpy")}
        | {"python": platform.python_version()},
        "fingerprint": problem.fingerprint(),
        "split": split,
        "status": "running",
    }


def _name(model: str | FoundationModel) -> str:
    return model if isinstance(model, str) else f"{OBJECT}{type(model).__module__}.{type(model).__qualname__}"


def recorded_settings(record: Mapping[str, Any]) -> PairSettings:
    """The settings of the two-item model. Raises RunDirectoryError if they are another version's."""
    try:
        settings = dict(record["settings"])
        return PairSettings(**{**settings, "error_rate_prior": tuple(settings["error_rate_prior"])})
    except (TypeError, KeyError, OptionError) as error:
        written = record.get("versions", {}).get("genz-ppl", "unknown")
        raise RunDirectoryError(
            f"the settings in run.json are not of this version ({error}); resume with genz-ppl {written}"
        ) from None


def recorded_search(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the searches that were given."""
    search = dict(record["search"])
    if "error_rate_prior" in search:
        search["error_rate_prior"] = tuple(search["error_rate_prior"])
    return search


def recorded_models(
    record: Mapping[str, Any], row_model: FoundationModel | None, column_model: FoundationModel | None, reading: bool = False
) -> tuple[str | FoundationModel, str | FoundationModel]:
    """The models of both sides. reading: whether an object that is missing does no harm yet.

    Raises OptionError where the run was given an object that is not passed again.
    """
    found: list[str | FoundationModel] = []
    for option, name, given in zip(
        ("model", "column_model"), record["models"], (row_model, column_model or row_model), strict=True
    ):
        if given is None and name.startswith(OBJECT) and not reading:
            raise OptionError(f"the run was given the model object {name.removeprefix(OBJECT)}, not a name; pass it as {option}=")
        found.append(name if given is None else given)
    return found[0], found[1]


def recorded_problem(
    rows: Items | Sequence[str],
    columns: Items | Sequence[str],
    pairs: Pairs,
    record: Mapping[str, Any],
    directory: PairDirectory,
) -> PairProblem:
    """The same data, split as they were. Raises InputError if they are not the same."""
    problem = PairProblem.of(rows, columns, pairs, record["settings"]["seed"], record["test_fraction"], record["pair_fraction"])
    if problem.fingerprint() != record["fingerprint"]:
        raise InputError(f"the rows, columns or pairs are not those of the run in {directory.path}; give those it was started on")
    return problem
