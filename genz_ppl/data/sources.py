"""SOURCE on the command line: a file, or a data set by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from genz_ppl.data.binary import binary_frame, binary_items
from genz_ppl.data.columns import Classes, Names, Roles, Schema
from genz_ppl.data.houses import houses_frame, houses_items
from genz_ppl.data.items import Items
from genz_ppl.data.reading import READERS
from genz_ppl.data.values import shorten
from genz_ppl.errors import OptionError

LATER_SOURCES = ("movielens", "netflix", "things")


@dataclass(frozen=True)
class NamedSource:
    """A data set known by name.

    takes: what follows the colon ("DIR"), or None. items: makes the items of the directory, split by the group if one is given.
    frame: the same data before the columns have roles.
    """

    takes: str | None
    items: Callable[[str, str | None], Items]
    frame: Callable[[str], pd.DataFrame]


def _binary(_: str, group: str | None) -> Items:
    if group is not None:
        raise OptionError("'binary' has no groups: drop --group")
    return binary_items()


NAMED_SOURCES: Mapping[str, NamedSource] = {
    "binary": NamedSource(None, _binary, lambda _: binary_frame()),
    "houses": NamedSource("DIR", lambda folder, group: houses_items(folder, group=group), houses_frame),
    "houses-metadata": NamedSource(
        "DIR",
        lambda folder, group: houses_items(folder, annotations=False, group=group),
        lambda folder: houses_frame(folder, annotations=False),
    ),
}


def open_source(
    source: str,
    *,
    id: str | None = None,
    target: Names = (),
    covariates: Names = (),
    text: Names | None = None,
    images: Names = (),
    split: str | None = None,
    group: str | None = None,
    require_target: bool = True,
    classes: Classes = False,
) -> Items:
    """Items of a file (.csv, .tsv, .parquet, .jsonl) or of a named data set: `binary`, `houses:DIR`, `houses-metadata:DIR`.

    The keywords name the columns of a file, as in `Items.from_frame`. Named data sets know their columns and take none of
    them, except that houses take group="listing"; their targets are numbers, never classes. Raises InputError for a fault
    of the data and OptionError for an unknown name and for keywords that are missing or do not go with the source.
    """
    named = _named_source(source)
    if named is None:
        roles = Roles(id=id, target=target, covariates=covariates, text=text, images=images, split=split, group=group)
        roles |= Roles(require_target=require_target, classes=classes)
        return Items.from_file(source, **roles)
    given = {"id": id, "target": target, "covariate": covariates, "text": text, "image": images, "split": split}
    _refuse(source, [f"--{option}" for option, value in given.items() if value])
    if classes:
        raise OptionError(
            f"{shorten(source)} has numbers to explain, not classes: drop classes (--likelihood on the command line)"
        )
    name, argument = named
    return NAMED_SOURCES[name].items(argument, group)


def open_like(source: str, schema: Schema) -> Items:
    """Items of a source with the roles of a known schema, for prediction: targets may be absent, no split is made.

    Classes are coded by the schema's labels; a label that is not among them counts as missing.
    Raises InputError naming the first column that the schema has and the source has not.
    """
    roles = Roles(
        id=schema.id,
        target=schema.target,
        covariates=schema.covariates,
        text=schema.text,
        images=schema.images,
        require_target=False,
        classes=schema.classes,
    )
    named = _named_source(source)
    if named is None:
        return Items.from_file(source, **roles)
    name, argument = named
    return Items.from_frame(NAMED_SOURCES[name].frame(argument), **roles, name=name)


def _named_source(source: str) -> tuple[str, str] | None:
    """The name and what follows its colon, or None for a file."""
    name, colon, argument = source.partition(":")
    if name in LATER_SOURCES:
        raise OptionError(f"the named data set '{name}' is not in this version; known are {_known()}, or name a file")
    if name in NAMED_SOURCES:
        takes = NAMED_SOURCES[name].takes
        if takes is None and colon:
            raise OptionError(f"'{name}' takes nothing after its name: write {name}, not {shorten(source)}")
        if takes is not None and not argument:
            raise OptionError(f"'{name}' needs a folder: write {name}:{takes}")
        return name, argument
    path = Path(source).expanduser()
    looks_named = len(name) > 1 and name.replace("-", "").replace("_", "").isalnum()  # "C:" is a drive
    if path.exists() or path.suffix.lower() in READERS or not looks_named:
        return None
    close = difflib.get_close_matches(name, NAMED_SOURCES, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    files = ", ".join(READERS)
    raise OptionError(f"{shorten(source)} is neither a file ({files}) nor a named data set; {hint}known are {_known()}")


def _known() -> str:
    return ", ".join(name if source.takes is None else f"{name}:{source.takes}" for name, source in NAMED_SOURCES.items())


def _refuse(source: str, options: list[str]) -> None:
    if options:
        raise OptionError(f"{shorten(source)} knows its own columns: drop {', '.join(options)}")
