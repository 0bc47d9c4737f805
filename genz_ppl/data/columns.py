"""Which column plays which role, and how the readable ones become the text of an item."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fnmatch import fnmatchcase
from typing import TypedDict, cast

from genz_ppl.data.values import listing, readable, shorten
from genz_ppl.errors import InputError, OptionError, did_you_mean
from genz_ppl.types import FieldValue

Names = str | Sequence[str]
Classes = bool | str | Sequence[Sequence[str]]
# Targets are classes where they are words.
BY_WORDS = "auto"
Readings = Sequence[tuple[str, str]]

_TEMPLATE_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]+)\}|[{}]")


class Roles(TypedDict, total=False):
    """The keyword arguments by which a user names columns: see `Items.from_frame`."""

    id: str | None
    target: Names
    covariates: Names
    text: Names | None
    images: Names
    split: str | None
    group: str | None
    varying: str | None
    require_target: bool
    classes: Classes
    as_text: Names
    as_number: Names
    drop: Names
    readings: Readings


class Writing(TypedDict, total=False):
    """How a file is written and read: see `genz_ppl.data.files.Written`."""

    sep: str | None
    decimal: str | None
    encoding: str | None
    memory: str | None


class FileRoles(Roles, Writing, total=False):
    """Both, of a file."""


@dataclass(frozen=True)
class Schema:
    """The role of each column.

    id, split, group, varying: a column each, or None. target, covariates, images: columns in order.
    text: the columns a model reads, in order, or a template such as "{title} ({year})"; None: not settled yet.
    classes: the labels of each target in the order of their codes 0, 1, …; () where targets are numbers.
    readings: (column, how its cells are read): "text", "true or false", a style of numbers ("1234.5", "$1,234.5")
    or a format of dates ("%d/%m/%Y", maybe with a time and a zone); columns of mixed types have none.
    embedding: whether the targets are one vector, whose direction matters more than its length.
    Raises InputError if there are classes for more or fewer targets than there are.
    """

    id: str | None = None
    target: tuple[str, ...] = ()
    covariates: tuple[str, ...] = ()
    text: tuple[str, ...] | str | None = None
    images: tuple[str, ...] = ()
    split: str | None = None
    group: str | None = None
    classes: tuple[tuple[str, ...], ...] = ()
    varying: str | None = None
    readings: tuple[tuple[str, str], ...] = ()
    embedding: bool = False

    def __post_init__(self) -> None:
        if self.classes and len(self.classes) != len(self.target):
            raise InputError(
                f"expected the class labels of {len(self.target)} targets, found those of {len(self.classes)}: "
                "give one list of labels for each target"
            )

    @property
    def readable(self) -> tuple[str, ...]:
        """The columns a model may read."""
        return template_columns(self.text) if isinstance(self.text, str) else self.text or ()

    def roles(self) -> Roles:
        """The keyword arguments by which another source is read in the same way."""
        return cast("Roles", {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "embedding"})

    def to_dict(self) -> dict[str, object]:
        """As JSON can hold it: tuples become lists."""
        return {name: _lists(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, object]) -> Schema:
        """The inverse of `to_dict`. Raises InputError for an unknown or wrongly typed entry."""
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise InputError(f"a schema has no entry {listing(unknown)}: it knows {listing(cls.__dataclass_fields__)}")
        return cls(**{name: _entry(name, value) for name, value in values.items()})  # type: ignore[arg-type]


def _lists(value: object) -> object:
    return [_lists(entry) for entry in value] if isinstance(value, tuple) else value


def _entry(name: str, value: object) -> tuple[tuple[str, ...], ...] | tuple[str, ...] | str | bool | None:
    if name == "embedding":
        if not isinstance(value, bool):
            raise InputError(f"the schema's entry 'embedding' must be true or false, not {shorten(value)}")
        return value
    if name == "readings":
        pairs = [tuple(pair) for pair in value if isinstance(pair, (list, tuple))] if isinstance(value, (list, tuple)) else None
        sound = pairs is not None and len(pairs) == len(value)  # type: ignore[arg-type]
        if not sound or any(len(pair) != 2 or not all(isinstance(part, str) for part in pair) for pair in pairs or ()):
            raise InputError(f"the schema's entry 'readings' must be pairs of a column and its reading, not {shorten(value)}")
        return tuple(pairs or ())
    if name == "classes":
        classes = _label_lists(value)
        if classes is None:
            raise InputError(f"the schema's entry 'classes' must be lists of different labels, not {shorten(value)}")
        return classes
    many = name in ("target", "covariates", "images", "text")
    if many and isinstance(value, (list, tuple)) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    if name not in ("target", "covariates", "images") and (value is None or isinstance(value, str)):
        return value
    kind = "a list of column names" if many else "a column name or null"
    raise InputError(f"the schema's entry '{name}' must be {kind}, not {shorten(value)}")


def _label_lists(value: object) -> tuple[tuple[str, ...], ...] | None:
    """The value as the labels of each target, or None if it is anything else."""
    if not isinstance(value, (list, tuple)):
        return None
    for labels in value:
        if not isinstance(labels, (list, tuple)) or not all(isinstance(label, str) for label in labels):
            return None
        if len(set(labels)) < len(labels):
            return None
    return tuple(tuple(labels) for labels in value)


def as_names(value: Names | None) -> tuple[str, ...]:
    """One name or several as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(str(name) for name in value)


def expanded(names: Sequence[str], columns: Sequence[str]) -> tuple[str, ...]:
    """Columns by name, by pattern ("y*", in the table's order), from one to another ("y0:y49"); what is none of these stays."""
    found: list[str] = []
    for name in names:
        first, _, last = name.partition(":")
        if name not in columns and first in columns and last in columns[columns.index(first) :]:
            found += columns[columns.index(first) : columns.index(last) + 1]
        elif name not in columns and any(sign in name for sign in "*?["):
            found += [column for column in columns if fnmatchcase(column, name)] or [name]
        else:
            found.append(name)
    return tuple(found)


def resolve_schema(columns: Sequence[str], unread: Collection[str], source: str, roles: Roles) -> Schema:
    """Checks the named roles against the columns of a source and settles which columns are read.

    unread: columns that are never read unless named (an index). Targets may be absent unless `require_target`.
    Class labels that are given are in the result; those still to be found (True) are not.
    Raises InputError for a column that is not there or if none is left to read, OptionError for roles that clash.
    """
    schema = Schema(
        id=roles.get("id"),
        target=expanded(as_names(roles.get("target")), columns),
        covariates=expanded(as_names(roles.get("covariates")), columns),
        text=_text_role(roles.get("text"), columns),
        images=as_names(roles.get("images")),
        split=roles.get("split"),
        group=roles.get("group"),
        varying=roles.get("varying"),
        classes=_classes_role(roles.get("classes", False)),
        readings=tuple(roles.get("readings", ())),
    )
    _check_roles(schema)
    required = roles.get("require_target", True)
    _check_presence(schema, columns, source, required)
    dropped = _checked_readings(schema, columns, source, roles)
    if schema.text is not None:
        return schema
    taken = {schema.id, schema.split, *schema.target, *schema.images, *unread, *dropped}
    left = tuple(column for column in columns if column not in taken)
    if not left:
        raise InputError(f"{source}: no column is left for a model to read besides id, target, split and images; add one")
    return replace(schema, text=left)


def _classes_role(classes: Classes) -> tuple[tuple[str, ...], ...]:
    given = () if isinstance(classes, bool) or classes == BY_WORDS else _label_lists(classes)
    if given is None:
        raise OptionError(
            f"classes must be True, False, {BY_WORDS!r} or a list of different labels for each target, not {shorten(classes)}"
        )
    return given


def _text_role(text: Names | None, columns: Collection[str]) -> tuple[str, ...] | str | None:
    if isinstance(text, str) and text not in columns and ("{" in text or "}" in text):
        return text
    return as_names(text) or None


def _check_roles(schema: Schema) -> None:
    for role, names in (
        ("target", schema.target),
        ("covariate", schema.covariates),
        ("text", schema.readable),
        ("image", schema.images),
    ):
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise OptionError(f"column {shorten(twice)} is named twice as {role}: name it once")
    for role, name in (("covariate", schema.covariates), ("image", schema.images)):
        _check_clash(schema.target, name, "target", role)
    for role, single in (("id", schema.id), ("split", schema.split), ("group", schema.group), ("varying", schema.varying)):
        _check_clash(schema.target, as_names(single), "target", role)
    for role, other in (("id", as_names(schema.id)), ("covariate", schema.covariates)):
        _check_clash(other, as_names(schema.varying), role, "varying")
    for role, hidden in (("target", schema.target), ("id", as_names(schema.id))):
        leak = next((name for name in schema.readable if name in hidden), None)
        if leak is not None:
            raise OptionError(f"column {shorten(leak)} is the {role}, which a model must not read: take it out of text (--text)")
    if schema.split is not None and schema.group is not None:
        raise OptionError(
            "split and group exclude each other: the split column already says where each row goes; drop --split or --group"
        )


def _checked_readings(schema: Schema, columns: Sequence[str], source: str, roles: Roles) -> tuple[str, ...]:
    """The columns to drop. Raises for columns that are not there and for those that are needed, or read in two ways, at once."""
    as_text, as_number, drop = map(as_names, (roles.get("as_text"), roles.get("as_number"), roles.get("drop")))
    for role, names in (("as text", as_text), ("as number", as_number), ("to drop", drop)):
        for name in names:
            if name not in columns:
                raise InputError(missing_column(name, role, columns, source))
    _check_clash(as_text, as_number, "read as text", "as number")
    numbers = (*schema.covariates, *(() if roles.get("classes") else schema.target))
    _check_clash(as_text, numbers, "read as text", "a number (covariate or target)")
    for role in ("id", "target", "covariates", "split", "group", "varying"):
        _check_clash(drop, as_names(cast("Names | None", getattr(schema, role))), "dropped", role.removesuffix("s"))
    _check_clash(drop, schema.readable, "dropped", "text")
    return drop


def _check_clash(first: Sequence[str], second: Sequence[str], role: str, other: str) -> None:
    both = next((name for name in first if name in second), None)
    if both is not None:
        raise OptionError(f"column {shorten(both)} cannot be {role} and {other} at once: drop one of the two")


def _check_presence(schema: Schema, columns: Sequence[str], source: str, require_target: bool) -> None:
    wanted = {
        "id": as_names(schema.id),
        "target": schema.target if require_target else (),
        "covariate": schema.covariates,
        "text": schema.readable,
        "image": schema.images,
        "split": as_names(schema.split),
        "group": as_names(schema.group),
        "varying": as_names(schema.varying),
    }
    present = set(columns)
    for role, names in wanted.items():
        for name in names:
            if name not in present:
                raise InputError(missing_column(name, role, columns, source))


def missing_column(name: str, role: str, columns: Sequence[str], source: str) -> str:
    """The message for a column that is not there: what was asked for, what is close, what there is."""
    hint = did_you_mean(name, columns)
    if len(columns) == 1 and re.search(r"[;\t|,]", columns[0]):
        hint += "cells must be separated by commas in .csv and by tabs in .tsv. "
    return f"{source}: there is no column {shorten(name)} ({role}); {hint}columns: {listing(columns)}"


def template_columns(template: str) -> tuple[str, ...]:
    """The columns a template mentions, each once, in order. Raises OptionError for a stray brace or no column at all."""
    names: dict[str, None] = {}
    for piece in _TEMPLATE_PIECE.finditer(template):
        if piece.group(1) is not None:
            names[piece.group(1)] = None
        elif piece.group() in ("{", "}"):
            raise OptionError(
                f"the text template {shorten(template)} has a stray brace: write {{column}}, and {{{{ or }}}} for braces"
            )
    if not names:
        raise OptionError(f"the text template {shorten(template)} mentions no column: write a column name in braces")
    return tuple(names)


def render_lines(columns: Mapping[str, Sequence[FieldValue]]) -> list[str]:
    """What a model reads about each row: lines "name: value", without the missing ones."""
    # By column and not by row: it halves the time, and a file may have millions of cells.
    lines = [[None if value is None else f"{name}: {readable(value)}" for value in values] for name, values in columns.items()]
    return ["\n".join(filter(None, row)) for row in zip(*lines, strict=True)]


def render_templates(template: str, columns: Mapping[str, Sequence[FieldValue]]) -> list[str]:
    """What a model reads about each row: the template filled in, "" for what is missing."""
    return [render_template(template, dict(zip(columns, row, strict=True))) for row in zip(*columns.values(), strict=True)]


def render_template(template: str, fields: Mapping[str, FieldValue]) -> str:
    """What a model reads about one item: the template filled in, "" for what is missing."""

    def fill(piece: re.Match[str]) -> str:
        name = cast("str | None", piece.group(1))
        return piece.group()[0] if name is None else readable(fields[name])

    return _TEMPLATE_PIECE.sub(fill, template)
