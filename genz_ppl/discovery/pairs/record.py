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
from genz_ppl.discovery.run import own_runs
from genz_ppl.discovery.run.own_runs import OBJECT, with_id
from genz_ppl.discovery.run.record import recorded_model, recorded_model_settings
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
    record = {
        PAIRS: len(problem.pairs),
        "settings": settings.to_dict(),
        "search": dict(search),
        "models": names_of(models),
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
    return with_id(record)


def names_of(models: Sequence[str | FoundationModel]) -> list[str]:
    """Of models, as run.json notes them."""
    return [
        model if isinstance(model, str) else f"{OBJECT}{type(model).__module__}.{type(model).__qualname__}" for model in models
    ]


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
    record: Mapping[str, Any],
    row_model: str | FoundationModel | None,
    column_model: str | FoundationModel | None,
    reading: bool = False,
) -> tuple[str | FoundationModel, str | FoundationModel]:
    """The models of both sides. Raises as `recorded_model`."""
    row_model, column_model = given_models(record, row_model, column_model)
    first, second = record["models"]
    return recorded_model(first, row_model, "model", reading), recorded_model(second, column_model, "column_model", reading)


def given_models(
    record: Mapping[str, Any], row_model: str | FoundationModel | None, column_model: str | FoundationModel | None
) -> tuple[str | FoundationModel | None, str | FoundationModel | None]:
    """What a user gives, by side: one model is of both sides where they have the same."""
    same = record["models"][0] == record["models"][1]
    return row_model, row_model if same and column_model is None else column_model


def continued(
    record: dict[str, Any],
    directory: PairDirectory,
    models: Mapping[str, str | FoundationModel | None],
    changes: Mapping[str, Any],
) -> dict[str, Any]:
    """The run.json of a run that goes on. models, changes: as the user gives them, the latter as in `Service.recorded`.

    Raises RunDirectoryError where the directory asks for what is neither given nor known as the user's own, see `own_runs`.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    own_runs.check(record, directory.path, {**models, **given})
    store = given.pop("store", record.get("store"))
    served = recorded_model_settings(record, given)
    names = names_of(recorded_models(record, models["model"], models["column_model"]))
    settings = None if served is None else served.to_dict()
    store = None if store is None else str(Path(store).absolute())
    record = own_runs.with_id({**record, "models": names, "model_settings": settings, "store": store})
    own_runs.note(record)
    return record


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
