"""SOURCE and the columns named beside it, and how a run directory remembers both."""

from __future__ import annotations

import json
import os
import re
import warnings
from typing import TYPE_CHECKING, Any

from genz_ppl.cli import vectors
from genz_ppl.errors import GenzWarning, RunDirectoryError

# How a file is written and read, behind SOURCE in a run's record.
_WAYS = ("sep", "decimal", "encoding", "memory")
_WRITTEN = re.compile(rf' --({"|".join(_WAYS)}) ("(?:[^"\\]|\\.)*")\Z')

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pandas as pd

    from genz_ppl.data import Items, Schema
    from genz_ppl.data.columns import Writing
    from genz_ppl.discovery.discover import Discovery


def open_items(source: str, given: Mapping[str, Any]) -> Items:
    """The items of SOURCE. given: the values of --id, --target and so on by the parameters' names, None where not given.

    The targets are read as classes as `classes_for` says of --likelihood.
    """
    from genz_ppl.data import open_source
    from genz_ppl.discovery.matching import classes_for

    texts, explained = given["text"], vectors.are_targets(given)
    found = open_source(
        source,
        id=given["id"],
        target=given["target"] or (),
        covariates=given["covariate"] or (),
        text=texts[0] if texts and len(texts) == 1 else texts or None,  # one text may be a template
        images=given["image"] or (),
        split=given["split"],
        group=given["group"],
        varying=given.get("varying"),
        classes=classes_for(given.get("likelihood")) if "likelihood" in given else False,
        as_text=given.get("as_text") or (),
        as_number=given.get("as_number") or (),
        drop=given.get("drop") or (),
        require_target=not explained,
        **written(given),
    )
    return vectors.beside(found, given.get("vectors"))


def written(given: Mapping[str, Any]) -> Writing:
    """Those of --sep, --decimal, --encoding and --memory that were given."""
    return {name: given[name] for name in _WAYS if given.get(name) is not None}  # type: ignore[return-value]


def noted(source: str, given: Mapping[str, Any]) -> str:
    """What a record says of SOURCE: found from any working directory, with how it is written and the vectors beside it."""
    how = "".join(f" --{name} {json.dumps(value)}" for name, value in written(given).items())
    return vectors.noted(absolute_source(source) + how, given.get("vectors"))


def reopen_items(source: str | None, roles: Schema, folder: Path, again: bool = False) -> Items:
    """The items that the run in `folder` was started on. source, roles: as its run.json has them; again: standard input, too."""
    from genz_ppl.data import open_source
    from genz_ppl.data.columns import Roles
    from genz_ppl.data.files import STANDARD_INPUT, is_address
    from genz_ppl.data.sources import NAMED_SOURCES

    if source is None:
        raise RunDirectoryError(
            f"{folder}: the run was started from Python on a table in memory; go on with genz_ppl.resume({str(folder)!r}, items)"
        )
    source, roles, beside = vectors.recorded(source, roles)
    how: dict[str, Any] = {}
    while found := _WRITTEN.search(source):
        source, how[found[1]] = source[: found.start()], json.loads(found[2])
    if source == STANDARD_INPUT and not again:
        raise RunDirectoryError(f"{folder}: the run was started on standard input, which is gone; 'genz resume' takes it again")
    if is_address(source):
        warnings.warn(f"{folder}: its items are read from {source} again", GenzWarning, stacklevel=2)
    if source.partition(":")[0] in NAMED_SOURCES:
        return vectors.beside(open_source(source, group=roles.group, varying=roles.varying), beside)
    roles_there = roles.roles() | Roles(require_target=bool(roles.target))
    return vectors.beside(open_source(source, **roles_there, **how), beside)


def items_of(run: Discovery, folder: Path) -> Items | None:
    """What `Discovery.fitted` needs: None where the run's folder holds the numbers of its items, else all it was started on."""
    from genz_ppl.discovery.run.folder import ITEMS_FILE

    return None if (folder / ITEMS_FILE).exists() else reopen_items(run.record.source, run.schema, folder)


def read_labels(path: Path) -> pd.DataFrame:
    """A table of labels by people, every cell as it is written."""
    import pandas as pd

    from genz_ppl.data.reading import read_table

    table = read_table(str(path))
    return pd.DataFrame({column: table.cells(column) for column in table.columns})


def absolute_source(source: str) -> str:
    """The source as it is found from any working directory."""
    from genz_ppl.data.files import STANDARD_INPUT, is_address
    from genz_ppl.data.sources import NAMED_SOURCES

    if source == STANDARD_INPUT or is_address(source):
        return source
    name, colon, folder = source.partition(":")
    if name in NAMED_SOURCES:
        return f"{name}:{_absolute(folder)}" if colon else name
    return _absolute(source)


def absolute_model(model: str) -> str:
    """The name of a model, or of several joined by +, as it is found from any working directory."""
    from genz_ppl.llm.served.settings import joined_parts

    parts = []
    for part in joined_parts(model):
        kind, colon, file = part.partition(":")
        parts.append(f"{kind}:{_absolute(file)}" if kind in ("table", "similarity", "phrases") and colon and file else part)
    return "+".join(parts)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
