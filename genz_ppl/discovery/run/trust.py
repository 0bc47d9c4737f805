"""Which runs are this user's own: a folder from somebody else may ask for code to run, a server that gets the key, files."""

from __future__ import annotations

import json
import os
import shlex
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from genz_ppl.discovery.run.record import OBJECT, AnyRecord
from genz_ppl.errors import GenzWarning, RunDirectoryError
from genz_ppl.llm.registry import code_of
from genz_ppl.llm.served.settings import is_served
from genz_ppl.llm.store.store import default_path

Record = TypeVar("Record", bound=AnyRecord)
# Arguments of `resume` by which a user confirms what a folder asks for, with the flags of the command line.
_FLAGS = {name: f"--{name.replace('_', '-')}" for name in ("model", "column_model", "annotators", "base_url", "prompts", "store")}


def with_id(record: Record) -> Record:
    """A record with an id where the run's model is behind a server or code of somebody's: what it spends is counted by it.

    Others have none, so that equal runs are equal files.
    """
    named = {**_models(record), **_likelihood(record)}
    needs = any(is_served(one) for one in record.asked) or any(_code_of(model) is not None for model in named.values())
    return record.changed(id=uuid4().hex) if needs and record.id is None else record


def own(record: Record) -> Record:
    """The record of a run that the user goes on with, which makes it theirs."""
    record = with_id(record)
    note(record)
    return record


def asked(record: AnyRecord) -> dict[str, str]:
    """What opening the models of a run would do beyond the defaults, by argument of `resume`.

    That is run code, send the key, texts and images to another server than OpenAI's, take prompts from a folder, and write
    another store than the user's. `table:FILE` only reads a table, nothing of which leaves the machine, so it is not among them.
    """
    found = {name: model for name, model in _models(record).items() if _code_of(model) is not None} | _likelihood(record)
    values = {**(record.model_settings or {}), "store": record.store}
    found |= {name: str(values[name]) for name in ("base_url", "prompts", "store") if values.get(name) is not None}
    with suppress(RuntimeError):  # there may be no home
        if found.get("store") == str(default_path()):
            del found["store"]
    return found


def note(record: AnyRecord) -> None:
    """Write down that a run is the user's own, with what it asks for. A GenzWarning where that cannot be written."""
    entry = _entry(record)
    if entry["id"] is None or not asked(record) or entry in _noted(entry["id"]):
        return
    try:
        path = _ledger()
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
    except (OSError, RuntimeError) as error:
        later = f"resume and predict will want {' '.join(_FLAGS[name] for name in asked(record))}"
        warnings.warn(f"the run could not be noted as yours ({error}); {later}", GenzWarning, stacklevel=3)


def check(record: AnyRecord, folder: Path, given: Mapping[str, Any]) -> None:
    """Raise RunDirectoryError if the run in `folder` asks for what the user neither gives now nor has noted as their own."""
    models = [given.get(name) for name in _models(record)]
    if all(model is not None and not isinstance(model, str) for model in models):
        return  # objects: nothing is opened that the folder names
    said = {value for value in given.values() if isinstance(value, str)}
    wanted = {name: value for name, value in asked(record).items() if name != "likelihood"}  # `check_likelihood` sees to that
    unsaid = {name: value for name, value in wanted.items() if given.get(name) is None and value not in said}
    entry, noted = _entry(record), _noted(record.id)
    if not unsaid or entry in noted:
        return
    why = "is not known as a run of yours"
    if noted:
        before = ", ".join(f"{name} {value}" for name, value in noted[-1].items() if entry.get(name) != value)
        why = f"has changed since it was noted as yours{before and f' with {before}'}"
    shown = ", ".join(f"{name} {value}" for name, value in entry.items() if name.removeprefix("code of ") in unsaid)
    flags = " ".join(f"{_FLAGS[name]} {shlex.quote(value)}" for name, value in unsaid.items())
    raise RunDirectoryError(
        f"{folder}: {why}, and asks for {shown}; if you trust it, give the same again: {flags} (arguments of that name in Python)"
    )


def check_likelihood(record: AnyRecord, folder: Path) -> None:
    """Raise RunDirectoryError if reading the run would import a likelihood that is neither known here nor noted as the user's."""
    for name in _likelihood(record).values():
        from genz_ppl.models import LIKELIHOODS  # with torch, which takes seconds

        if name not in LIKELIHOODS and _entry(record) not in _noted(record.id):
            module = name.partition(":")[0]
            raise RunDirectoryError(
                f"{folder}: is not known as a run of yours, and its likelihood is code, {name}; if you trust it, in Python "
                f"import {module} and pass it to genz_ppl.models.name_of before you load the run"
            )


def _likelihood(record: AnyRecord) -> dict[str, str]:
    return {"likelihood": record.likelihood} if ":" in record.likelihood else {}


def _models(record: AnyRecord) -> dict[str, str]:
    """By argument of `resume`; objects are not among them."""
    return {name: model for name, model in record.by_argument.items() if not model.startswith(OBJECT)}


def _code_of(names: str) -> str | None:
    """As `code_of`, of one model or of annotators with commas between them."""
    return ", ".join(place for name in names.split(",") if (place := code_of(name)) is not None) or None


def _entry(record: AnyRecord) -> dict[str, Any]:
    """What is noted of a run. Code is known by where it lies, too: another folder may hold a module of the same name."""
    named = {**_models(record), **_likelihood(record)}
    places = {f"code of {name}": place for name, model in named.items() if (place := _code_of(model)) is not None}
    found = asked(record)
    if "prompts" in found:
        found["prompts"] = os.path.abspath(found["prompts"])
    return {"id": record.id, **found, **places}


def _ledger() -> Path:
    return default_path().with_name("runs")


def _noted(name: str | None) -> list[dict[str, Any]]:
    """The entries of a run."""
    found = []
    with suppress(OSError, RuntimeError, UnicodeDecodeError):
        for line in _ledger().read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, RecursionError):
                entry = json.loads(line)
                if name is not None and isinstance(entry, dict) and entry.get("id") == name:
                    found.append(entry)
    return found
