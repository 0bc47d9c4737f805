"""From the text after --model to a foundation model."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any, cast

from genz_ppl.errors import GenzError, OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.joined import JoinedModel
from genz_ppl.llm.served.settings import SERVED, ModelSettings, is_served, joined_parts, served_name
from genz_ppl.llm.table import TableModel

CHOICES = (
    "rules, similarity, phrases, similarity:PROFILES, table:FILE, openai:NAME or package.module:object, or several joined by +"
)
_BUILT_IN = ("rules", "similarity", "phrases", "table", SERVED)
_METHODS = ("answer", "propose", "suggest")


def open_model(spec: str) -> FoundationModel:
    """The model that a text names; one behind a server with the defaults of `ModelSettings` and the user's own store.

    `rules`; `similarity` or `phrases`, or either with the vectors of a file of profiles, `similarity:PROFILES`; `table:FILE`;
    `openai:NAME`; or `package.module:object`, where the object is a model, a class of models or a function without arguments that
    makes one, and the current directory may hold the module. Several of them joined by +, as in rules+table:FILE, are one
    `JoinedModel`.

    Raises OptionError if the text names no model or the object is none, and InputError if FILE is not usable.
    """
    spec = spec.strip()
    if len(parts := joined_parts(spec)) > 1:
        if is_served(spec):
            served_name(spec)  # says why not
        return JoinedModel([open_model(part) for part in parts])
    name, colon, rest = spec.partition(":")
    if spec == "rules":
        from genz_ppl.llm.rules.model import RulesModel  # a tenth of a second, for those who only read a run

        return RulesModel()
    if name in ("similarity", "phrases") and (not colon or rest):
        # These load torch and 90 MB of weights.
        from genz_ppl.llm.similarity.model import SimilarityModel
        from genz_ppl.llm.similarity.phrases import PhrasesModel

        return (SimilarityModel if name == "similarity" else PhrasesModel)(rest or None)
    if name == "table" and colon:
        if not rest:
            raise OptionError("the model 'table:' names no file; write table:FILE, a .csv, .tsv or .jsonl file of attributes")
        return TableModel(rest)
    if is_served(spec):
        from genz_ppl.llm.served.model import OpenAIModel  # takes a second to import

        return OpenAIModel(ModelSettings(model=served_name(spec)))
    if colon and name not in _BUILT_IN and _is_dotted(name) and _is_dotted(rest):
        return cast("FoundationModel", imported(spec, _METHODS, "foundation model"))
    raise OptionError(f"unknown model {spec!r}; choose {CHOICES}")


def code_of(spec: str) -> str | None:
    """Where the code lies that a text would run, found without running it; None where it names no `package.module:object`."""
    parts = [part.partition(":") for part in joined_parts(spec)]
    modules = [name for name, _, rest in parts if name not in _BUILT_IN and _is_dotted(name) and _is_dotted(rest)]
    places = []
    for name in modules:
        found: ModuleSpec | None = None
        with _current_directory_importable(), suppress(ImportError, ValueError):
            found = importlib.util.find_spec(name.partition(".")[0])
        there = [] if found is None else [found.origin, *(found.submodule_search_locations or ())]
        place = next((place for place in there if place), None)
        places.append(f"{name}, which is not there" if place is None else os.path.abspath(place))
    return ", ".join(places) or None


def _is_dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def imported(spec: str, methods: Sequence[str], what: str) -> Any:
    """The object that `package.module:object` names, or that it makes where it is a class or a function without arguments.

    methods: what it must have. what: the kind of thing, for messages. Raises OptionError.
    """
    module_name, _, object_name = spec.partition(":")
    try:
        with _current_directory_importable():
            found: object = importlib.import_module(module_name)
        for part in object_name.split("."):
            found = getattr(found, part)
        if isinstance(found, type) or (callable(found) and _missing(found, methods)):
            found = found()
    except GenzError:
        raise
    except Exception as error:  # foreign code may raise anything; the user wants the reason, not our traceback
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise OptionError(
            f"the {what.rpartition(' ')[2]} {spec!r} could not be made ({reason}); check the module, the name and the path"
        ) from error
    if missing := _missing(found, methods):
        named = what.rpartition(" ")[2]
        raise OptionError(f"the {named} {spec!r} is no {what}: it lacks {', '.join(missing)}; add what is missing")
    return found


def _missing(candidate: object, methods: Sequence[str]) -> list[str]:
    return [f"{method}()" for method in methods if not callable(getattr(candidate, method, None))]


@contextmanager
def _current_directory_importable() -> Iterator[None]:
    directory = str(Path.cwd())
    sys.path.insert(0, directory)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        # By value: the imported module may have changed the path itself.
        if directory in sys.path:
            sys.path.remove(directory)
