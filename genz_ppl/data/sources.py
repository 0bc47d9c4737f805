"""SOURCE on the command line: a file, or a data set by name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import pandas as pd

from genz_ppl.data import movielens, netflix
from genz_ppl.data.binary import binary_frame, binary_items
from genz_ppl.data.columns import BY_WORDS, FileRoles, Roles, Schema, Writing
from genz_ppl.data.files import STANDARD_INPUT, is_address
from genz_ppl.data.frames import as_frame
from genz_ppl.data.houses import houses_frame, houses_items
from genz_ppl.data.items import Items
from genz_ppl.data.movielens import movielens_frame, movielens_items
from genz_ppl.data.netflix import netflix_frame, netflix_items
from genz_ppl.data.reading import READERS, TYPED
from genz_ppl.data.things import things_frame, things_items
from genz_ppl.data.values import listing, shorten
from genz_ppl.errors import OptionError
from genz_ppl.types import IntArray

if TYPE_CHECKING:
    from scipy import sparse

# What may follow DIR of the films, as ",items=1000,alpha=0.5": the parameter of the function, and its type.
FILM_OPTIONS: Mapping[str, tuple[str, type[int] | type[float]]] = {
    "items": ("n_items", int),
    "dimensions": ("dimensions", int),
    "alpha": ("alpha", float),
}
# Those of the films' functions.
DEFAULT_DIMENSIONS, DEFAULT_ALPHA = 32, 0.0
# What named data sets know of themselves.
_OWN_ROLES = ("id", "target", "covariates", "text", "images", "split", *Writing.__annotations__)
_OPTIONS = re.compile(r"((?:,[^,=/\\]*=[^,/\\]*)*)\Z")


@dataclass(frozen=True)
class NamedSource:
    """A data set known by name.

    takes: what follows the colon ("DIR"), or None. items: makes the items of the directory, split by the group and varying by the
    column, if given.
    frame: the same data before the columns have roles. ratings: where targets are embeddings of ratings, the numbers of the items
    and of the users and the matrix.
    """

    takes: str | None
    items: Callable[[str, str | None, str | None], Items]
    frame: Callable[[str], pd.DataFrame]
    ratings: Callable[[str], tuple[IntArray, IntArray, sparse.csr_array]] | None = None


@dataclass(frozen=True, eq=False)
class RatingTable:
    """Who rated what, and how the targets are made of it.

    items: (N,) ids as `Items` has them. users: (M,) numbers. ratings: (N, M), 0 where missing. dimensions, alpha: see
    `genz_ppl.data.embeddings.item_embeddings`.
    """

    items: tuple[str, ...]
    users: IntArray
    ratings: sparse.csr_array
    dimensions: int
    alpha: float


def _binary(_: str, group: str | None, varying: str | None) -> Items:
    _refuse_groups("binary", group, varying)
    return binary_items()


def _films(name: str, items: Callable[..., Items], frame: Callable[..., pd.DataFrame], **variant: bool) -> NamedSource:
    """Films of a folder, whose name may be followed by `FILM_OPTIONS`. variant: arguments of `items`, those of `frame` too."""
    ratings = netflix.folder_ratings if name == "netflix" else movielens.folder_ratings
    frame_variant = {"plots": True} if variant.get("plots") else {}

    def make(argument: str, group: str | None, varying: str | None) -> Items:
        _refuse_groups(name, group, varying)
        folder, options = _film_options(name, argument)
        return items(folder, **options, **variant)

    def make_frame(argument: str) -> pd.DataFrame:
        folder, options = _film_options(name, argument)
        return frame(folder, **options, **frame_variant)

    return NamedSource("DIR", make, make_frame, lambda argument: ratings(_film_options(name, argument)[0]))


def _film_options(name: str, argument: str) -> tuple[str, dict[str, Any]]:
    """The folder, and the options written after it by the names of the functions' parameters."""
    written = _OPTIONS.search(argument)
    folder = argument[: written.start()] if written is not None else argument
    options: dict[str, Any] = {}
    for piece in argument[len(folder) + 1 :].split(",") if len(folder) < len(argument) else ():
        option, _, value = piece.partition("=")
        if option not in FILM_OPTIONS:
            raise OptionError(f"'{name}' has no option {shorten(option)}: it knows {listing(FILM_OPTIONS)}")
        parameter, kind = FILM_OPTIONS[option]
        if parameter in options:
            raise OptionError(f"the option '{option}' of '{name}' is there twice: give it once")
        try:
            options[parameter] = kind(value)
        except ValueError:
            expected = "a whole number" if kind is int else "a number"
            raise OptionError(f"the option '{option}' of '{name}' must be {expected}, not {shorten(value)}") from None
    if not folder:
        raise OptionError(f"'{name}' needs a folder: write {name}:DIR, and options after it")
    return folder, options


def _things(folder: str, group: str | None, varying: str | None) -> Items:
    _refuse_groups("things", group, varying)
    return things_items(folder)


def _refuse_groups(name: str, group: str | None, varying: str | None) -> None:
    for option, given in (("--group", group), ("--varying", varying)):
        if given is not None:
            raise OptionError(f"'{name}' has no groups: drop {option}")


NAMED_SOURCES: Mapping[str, NamedSource] = {
    "binary": NamedSource(None, _binary, lambda _: binary_frame()),
    "houses": NamedSource("DIR", lambda folder, group, varying: houses_items(folder, True, group, varying), houses_frame),
    "houses-metadata": NamedSource(
        "DIR",
        lambda folder, group, varying: houses_items(folder, False, group, varying),
        lambda folder: houses_frame(folder, annotations=False),
    ),
    "movielens": _films("movielens", movielens_items, movielens_frame),
    "movielens-genres": _films("movielens-genres", movielens_items, movielens_frame, genres=True),
    "movielens-plots": _films("movielens-plots", movielens_items, movielens_frame, plots=True),
    "netflix": _films("netflix", netflix_items, netflix_frame),
    "things": NamedSource("DIR", _things, things_frame),
}


def open_source(source: str, **roles: Unpack[FileRoles]) -> Items:
    """Items of a file, a folder of parquet files, an address or standard input (see `Items.from_file`), or of a named data set.

    Named are `binary`, `houses:DIR`, `houses-metadata:DIR` (without the annotations), `movielens:DIR` (a model reads title and
    year), `movielens-genres:DIR`, `movielens-plots:DIR` (genres, director, actors and plot), `netflix:DIR` and `things:DIR`.
    Films take options after the folder: `movielens:DIR,items=1000,dimensions=16,alpha=0.5`.

    The keywords name the columns of a file, as in `Items.from_frame`. Named data sets know their columns and take none of
    them, except that houses take group="listing" and varying="zipcode"; their targets are numbers, never classes.
    Raises InputError for a fault of the data and OptionError for an unknown name and for keywords that are missing or do
    not go with the source.
    """
    named = _named_source(source)
    if named is None:
        return Items.from_file(source, **roles)
    _refuse(source, [f"--{option.removesuffix('s')}" for option in _OWN_ROLES if roles.get(option)])
    if roles.get("classes") not in (None, False, BY_WORDS):
        raise OptionError(
            f"{shorten(source)} has numbers to explain, not classes: drop classes (--likelihood on the command line)"
        )
    name, argument = named
    return NAMED_SOURCES[name].items(argument, roles.get("group"), roles.get("varying"))


def open_like(source: str, schema: Schema, **written: Unpack[Writing]) -> Items:
    """Items of a source with the roles of a known schema, for prediction: targets may be absent, no split is made.

    written: sep, decimal, encoding and memory of a file, as in `Items.from_file`.

    Classes are coded by the schema's labels; a label that is not among them counts as missing.
    Raises InputError naming the first column that the schema has and the source has not.
    """
    roles = _roles_of(schema)
    named = _named_source(source)
    if named is None:
        return Items.from_file(source, **FileRoles(**roles, **written))
    name, argument = named
    frame = NAMED_SOURCES[name].frame(argument)
    keyed = frame.set_index(schema.id, drop=False) if schema.id in frame.columns else frame
    return Items.from_frame(keyed, **roles, name=name)


def frame_like(frame: Any, schema: Schema) -> Items:
    """As `open_like`, of a table that `as_frame` knows; without the schema's id column the index gives the ids."""
    frame = as_frame(frame)
    there = {str(name) for name in (*frame.columns, *frame.index.names)}
    return Items.from_frame(frame, **_roles_of(schema if schema.id in there else replace(schema, id=None)))


def _roles_of(schema: Schema) -> Roles:
    return schema.roles() | Roles(split=None, group=None, require_target=False)


def open_ratings(source: str) -> RatingTable | None:
    """The ratings behind the targets of a source; None where targets are not embeddings of ratings. Raises as `open_source`."""
    named = _named_source(source)
    if named is None:
        return None
    name, argument = named
    read = NAMED_SOURCES[name].ratings
    if read is None:
        return None
    _, options = _film_options(name, argument)
    items, users, ratings = read(argument)
    dimensions, alpha = options.get("dimensions", DEFAULT_DIMENSIONS), options.get("alpha", DEFAULT_ALPHA)
    return RatingTable(tuple(str(number) for number in items.tolist()), users, ratings, dimensions, alpha)


def _named_source(source: str) -> tuple[str, str] | None:
    """The name and what follows its colon, or None for a file."""
    name, colon, argument = source.partition(":")
    if name in NAMED_SOURCES:
        takes = NAMED_SOURCES[name].takes
        if takes is None and colon:
            raise OptionError(f"'{name}' takes nothing after its name: write {name}, not {shorten(source)}")
        if takes is not None and not argument:
            raise OptionError(f"'{name}' needs a folder: write {name}:{takes}")
        return name, argument
    if source == STANDARD_INPUT or is_address(source):
        return None
    path = Path(source).expanduser()
    looks_named = len(name) > 1 and name.replace("-", "").replace("_", "").isalnum()  # "C:" is a drive
    if path.exists() or path.suffix.lower() in (*READERS, *TYPED) or not looks_named:
        return None
    close = difflib.get_close_matches(name, NAMED_SOURCES, n=1)
    hint = f"did you mean '{close[0]}'? " if close else ""
    files = ", ".join((*READERS, *TYPED))
    raise OptionError(f"{shorten(source)} is neither a file ({files}) nor a named data set; {hint}known are {_known()}")


def _known() -> str:
    return ", ".join(name if source.takes is None else f"{name}:{source.takes}" for name, source in NAMED_SOURCES.items())


def _refuse(source: str, options: list[str]) -> None:
    if options:
        raise OptionError(f"{shorten(source)} knows its own columns: drop {', '.join(options)}")
