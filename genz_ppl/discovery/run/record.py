"""run.json and metrics.json: what a run records of itself, and how that is read back."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from genz_ppl.data import Items, Split
from genz_ppl.data.values import readable
from genz_ppl.discovery.run.folder import RunDirectory
from genz_ppl.discovery.run.own_runs import OBJECT, with_id
from genz_ppl.discovery.run.records import Counters, Progress
from genz_ppl.discovery.run.runner import Runner
from genz_ppl.errors import InputError, OptionError, RunDirectoryError
from genz_ppl.inference.isolation import isolated
from genz_ppl.inference.start import Scaling, build_model
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.settings import ModelSettings, is_served
from genz_ppl.models import GenZ
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray, Item

# The entry of run.json that only a 0-shot baseline has: what it was asked for besides the settings.
BASELINE = "baseline"


def content_hash(item: Item) -> str:
    """What an item says, as 16 hexadecimal digits: equal for equal text, fields and image names."""
    content = json.dumps([item.text, dict(item.fields), [path.name for path in item.images]], sort_keys=True, default=readable)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:16]


def metrics(runner: Runner, progress: Progress) -> dict[str, Any]:
    """The content of metrics.json."""
    # Isolated: outside, Pyro's global store would put parameters of an earlier step back into the model.
    with isolated(runner.settings.seed):
        train, test = runner.evaluate(progress, density=True)
    counters = {name: getattr(progress.counters, name) for name in Counters.__dataclass_fields__}
    return {
        "train": _finite(train),
        "test": _finite(test),
        "n_features": len(progress.active),
        "summary": progress.outcome or None,
        **_finite(counters),  # a cost that is not known is null
        "seconds": round(progress.seconds, 3),
        "status": progress.status,
    }


def _finite(values: dict[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def make_record(
    runner: Runner,
    source: str | None,
    model_settings: ModelSettings | None = None,
    store: str | None = None,
    keep_texts: bool = False,
) -> dict[str, Any]:
    """The content of run.json at the start of a run."""
    items, scaling = runner.items, runner.scaling
    record = {
        "source": source,
        "name": items.name,
        "keep_texts": keep_texts,
        "settings": runner.settings.to_dict(),
        "model_settings": None if model_settings is None else model_settings.to_dict(),
        "store": store,
        "versions": {name: version(name) for name in ("genz-ppl", "torch", "pyro-ppl", "numpy")}
        | {"python": platform.python_version()},
        "schema": items.schema.to_dict(),
        "fingerprint": items.fingerprint(),
        "n_classes": runner.n_classes,
        "levels": list(runner.levels),
        "scaling": {name: getattr(scaling, name).tolist() for name in Scaling.__dataclass_fields__},
        "split": {"train": list(runner.train.ids), "test": list(runner.test.ids)},
        "content": {"train": _hashes(runner.train), "test": _hashes(runner.test)},
        **{name: named(value) for name, value in runner.training_with.items() if value is not None},
        "status": "running",
    }
    return with_id(record)


def named(value: object) -> str:
    """How run.json names the loss or the optimiser that a run was given."""
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _hashes(items: Sequence[Item]) -> list[str]:
    return [content_hash(item) for item in items]


def check_same_items(items: Items, record: dict[str, Any], run: str) -> None:
    """Raise InputError unless these are the items that a run was started on."""
    if items.fingerprint() != record["fingerprint"]:
        raise InputError(f"{items.name}: the items are not those of {run}; give the data it was started on")


def known_answers(progress: Progress, record: Mapping[str, Any], items: Items) -> tuple[FloatArray, list[int]]:
    """Answers to the active features, (T, K), that a run has of items with the same content, and the positions of the others."""
    known: dict[str, FloatArray] = {}
    for side, rows in (("train", progress.train_answers), ("test", progress.test_answers)):
        known.update(zip(record["content"][side], rows, strict=True))
    found = [known.get(content_hash(item)) for item in items]
    unknown = np.full(len(progress.active), np.nan)
    answers = np.array([unknown if row is None else row for row in found]).reshape(len(items), len(unknown))
    return answers, [position for position, row in enumerate(found) if row is None]


def recorded_split(record: dict[str, Any], items: Items) -> Split:
    """The split of the run, for the same items."""
    position = {name: index for index, name in enumerate(items.ids)}
    train, test = ([position[name] for name in record["split"][side]] for side in ("train", "test"))
    return Split(train=np.array(train, dtype=np.int64), test=np.array(test, dtype=np.int64))


def recorded_settings(
    record: dict[str, Any], directory: RunDirectory, baseline: bool = False, device: str | None = None
) -> DiscoverSettings:
    """The settings of the run. baseline: whether the caller can go on with a 0-shot baseline; device: to go on on another one.

    Raises RunDirectoryError if the settings are another version's, or a baseline's and the caller cannot go on with it.
    """
    if record.get(BASELINE) and not baseline:
        raise RunDirectoryError(
            f"{directory.path}: holds a 0-shot baseline; go on with genz_ppl.resume or 'genz resume {directory.path}'"
        )
    try:
        prior = tuple(record["settings"]["error_rate_prior"])
        settings = DiscoverSettings(**{**record["settings"], "error_rate_prior": prior})
    except (TypeError, KeyError, OptionError) as error:
        written = record.get("versions", {}).get("genz-ppl", "unknown")
        raise RunDirectoryError(
            f"{directory.path}: the settings in run.json are not of this version ({error}); resume with genz-ppl {written}"
        ) from None
    return settings if device is None else replace(settings, device=device)


def recorded_model(
    name: str, model: str | FoundationModel | None, option: str = "model", reading: bool = False
) -> str | FoundationModel:
    """The model that is given, else the one of that name, which the run was started with.

    option: by which it is given. reading: whether an object that is missing does no harm yet. Raises OptionError where a run that
    was given an object is not given it again, and for another name where answers come from a server.
    """
    if isinstance(model, str) and model != name and (is_served(model) or is_served(name)):
        raise OptionError(f"{option}: cannot change when a run goes on, and the run's is {name!r}; give that, or leave it out")
    if model is None and name.startswith(OBJECT) and not reading:
        kind = name.removeprefix(OBJECT)
        raise OptionError(f"the run was given the model object {kind}, not a name; pass it again as {option}=")
    return name if model is None else model


def recorded_model_settings(record: dict[str, Any], changes: Mapping[str, Any]) -> ModelSettings | None:
    """How the run's served model is called, with changes; None where the run has no served model.

    Raises OptionError for changes to what a run cannot change, or of a model that is not served.
    """
    settings, models = record.get("model_settings"), record.get("models") or [record["settings"]["model"]]
    given = {name: value for name, value in changes.items() if value is not None}
    if not any(is_served(model) for model in models):
        if given:
            raise OptionError(
                f"{next(iter(given))}: only for models behind a server (openai:NAME), and the run's is {models[0]!r}"
            )
        return None
    try:
        TypeAdapter(ModelSettings).validate_python(settings or {})
        recorded, wanted = (ModelSettings.from_dict(values) for values in (settings or {}, {**(settings or {}), **given}))
    except (TypeError, ValidationError) as error:
        fault = " ".join(str(error).split())
        raise RunDirectoryError(f"the model_settings in run.json are not of this version ({fault})") from None
    return recorded.changed(**{name: getattr(wanted, name) for name in given if getattr(wanted, name) != getattr(recorded, name)})


def recorded_scaling(record: dict[str, Any]) -> Scaling:
    """The scaling of the run."""
    return Scaling(**{name: torch.tensor(values, dtype=torch.float64) for name, values in record["scaling"].items()})


def blank_model(record: dict[str, Any]) -> GenZ:
    """A model of the run's kind without features, for `RunDirectory.load` to fill."""
    settings, scaling = record["settings"], recorded_scaling(record)
    with isolated(0):
        return build_model(
            0,
            len(record["scaling"]["target_centre"]),
            scaling.n_columns,
            settings["link"],
            settings["likelihood"],
            tuple(settings["error_rate_prior"]),
            n_classes=record.get("n_classes", 2),
            pooling=scaling.pooling,
            shortcuts=settings.get("shortcuts", True),
        )
