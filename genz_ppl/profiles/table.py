"""The feature store: one parquet file, one row an item or user, with what it was made of; read, checked and written whole."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray
from pyarrow import parquet

from genz_ppl.errors import InputError, did_you_mean
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.similarity.vectors import check_ids, check_one, read_columns, stacked
from genz_ppl.output import in_one_stroke, not_written
from genz_ppl.types import FloatArray

FORMAT, NOTE, NOTHING = 1, b"genz", Spending()
_SPENT = {"calls": int, "tokens_in": int, "tokens_out": int, "cost": float}
_NUMBERS = pyarrow.list_(pyarrow.float32())
_SCHEMA = pyarrow.schema(
    [
        ("id", pyarrow.string()),
        ("item_hash", pyarrow.string()),
        ("profile", pyarrow.string()),
        ("tags", pyarrow.list_(pyarrow.string())),
        ("vector", _NUMBERS),
        ("answers", _NUMBERS),
        ("q", _NUMBERS),
        ("prompt_version", pyarrow.string()),
        ("model", pyarrow.string()),
        ("encoder", pyarrow.string()),
        ("generated_at", pyarrow.timestamp("s", tz="UTC")),
    ]
)


@dataclass(frozen=True, eq=False)
class Profile:
    """One row. item_hash: sha-256 of what the item says. profile: two sentences, None where the model gave none that can be used.

    vector: (D,) float32 of length 1, None without a profile. answers, q: (K,) of the file's questions: 1, 0 or NaN, and
    P(feature); None without questions. generated_at: when text or vector were made, UTC.
    """

    id: str
    item_hash: str
    profile: str | None
    tags: tuple[str, ...]
    vector: NDArray[np.float32] | None
    answers: NDArray[np.float32] | None
    q: NDArray[np.float32] | None
    prompt_version: str
    model: str
    encoder: str
    generated_at: datetime


@dataclass(frozen=True)
class About:
    """What a file says of itself.

    kind: "item" or "user". questions: the texts of its K questions. pairs: hash of those that users were described by.
    made_with: how it was made, for `genz profile status`. spent: by all refreshes. refreshes: how many there were.
    """

    kind: str = "item"
    questions: tuple[str, ...] = ()
    pairs: str | None = None
    made_with: Mapping[str, Any] = field(default_factory=dict)
    spent: Spending = NOTHING
    refreshes: int = 0


class Profiles:
    """The rows of a feature store, in order, with arrays over them.

    Raises InputError, in one line, for duplicate ids, more than one encoder, model or prompt version, and vectors of another
    length than the first, with a number that is not finite, of zeros, or not of length 1. source: for messages.
    """

    def __init__(self, rows: Sequence[Profile], about: About, source: str = "profiles") -> None:
        self.rows, self.about, self.source = tuple(rows), about, source
        check_ids(self.ids, source)
        self.encoder, self.model, self.prompt_version = (
            check_one(name, [getattr(row, name) for row in rows], source) for name in ("encoder", "model", "prompt_version")
        )
        #: (T, D) float32, rows of NaN where there is no profile.
        self.vectors = stacked([row.vector for row in self.rows], self.ids, source)
        self._places = {name: place for place, name in enumerate(self.ids)}

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"<Profiles: {len(self)} of {self.encoder!r}, {len(self.missing)} without a profile>"

    @property
    def ids(self) -> tuple[str, ...]:
        """Of all T rows."""
        return tuple(row.id for row in self.rows)

    @property
    def questions(self) -> tuple[str, ...]:
        """The texts of the K questions."""
        return self.about.questions

    @property
    def answers(self) -> FloatArray:
        """(T, K) of 1., 0. and NaN."""
        return self._numbers("answers")

    @property
    def q(self) -> FloatArray:
        """(T, K): the posterior of the run's training items, P(feature | answer) of others; NaN where answers are of a table."""
        return self._numbers("q")

    @property
    def missing(self) -> tuple[str, ...]:
        """The ids of the rows without a profile or without a vector."""
        return tuple(row.id for row in self.rows if row.profile is None or row.vector is None)

    def find(self, name: str) -> Profile:
        """The row of that id. Raises InputError where there is none."""
        place = self._places.get(name)
        if place is None:
            hint = did_you_mean(name, self.ids)
            raise InputError(f"{self.source}: has no profile of {name[:40]!r}; {hint}give one of its {len(self)} ids")
        return self.rows[place]

    def check_pairs(self, pairs: str | None) -> None:
        """Raise InputError unless users were described by exactly these training pairs. pairs: their `pairs_hash`."""
        if self.about.kind == "user" and pairs != self.about.pairs:
            given = "none" if pairs is None else pairs[:12]
            raise InputError(
                f"{self.source}: users were described by other pairs ({str(self.about.pairs)[:12]}) than are given ({given}); "
                "give the training pairs it was made of, or make profiles of these in a file of their own"
            )

    def write(self, path: str | Path) -> None:
        """Write the file in one stroke. Raises OptionError where it cannot be written."""
        columns: dict[str, list[Any]] = {name: [getattr(row, name) for row in self.rows] for name in _SCHEMA.names}
        columns["tags"] = [list(tags) for tags in columns["tags"]]
        note = json.dumps({"format": FORMAT, **asdict(self.about)}, ensure_ascii=True).encode()
        table = pyarrow.table(columns, schema=_SCHEMA.with_metadata({NOTE: note}))
        try:
            with in_one_stroke(Path(path)) as partial:
                parquet.write_table(table, partial)
        except OSError as error:
            raise not_written(f"--output {path}", error) from None

    def _numbers(self, name: str) -> FloatArray:
        unknown = np.full(len(self.questions), np.nan)
        rows = [unknown if (row := getattr(one, name)) is None else row for one in self.rows]
        return np.array(rows, dtype=np.float64).reshape(len(self), len(self.questions))


def read_profiles(path: str | Path) -> Profiles:
    """The profiles in a file. Raises InputError for one that cannot be read, and as `Profiles` does."""
    table = read_columns(path, _SCHEMA.names)
    source = str(path)
    about = _about((table.schema.metadata or {}).get(NOTE), source)
    try:
        columns = {name: table[name].cast(_SCHEMA.field(name).type) for name in _SCHEMA.names}
    except pyarrow.ArrowException:
        raise InputError(f"{source}: its columns are not those of a file of profiles; make it again") from None
    lists = {name: columns[name].to_numpy(zero_copy_only=False) for name in ("vector", "answers", "q")}
    plain = {name: columns[name].to_pylist() for name in _SCHEMA.names if name not in lists}
    texts = [name for name in ("id", "item_hash", "prompt_version", "model", "encoder", "generated_at") if None in plain[name]]
    if texts:
        raise InputError(f"{source}: the column {texts[0]!r} has an empty cell; make the file again")
    count = len(about.questions)
    for name in ("answers", "q"):
        if any(one is not None and len(one) != count for one in lists[name]):
            raise InputError(f"{source}: the column {name!r} does not have {count} numbers a row; make the file again")
    rows = [
        Profile(**{**{name: plain[name][at] for name in plain}, "tags": tuple(plain["tags"][at] or ())}, **_row(lists, at))
        for at in range(len(table))
    ]
    return Profiles(rows, about, source)


def _row(lists: Mapping[str, Any], at: int) -> dict[str, Any]:
    return {name: None if values[at] is None else np.asarray(values[at], np.float32) for name, values in lists.items()}


def _about(note: bytes | None, source: str) -> About:
    try:
        said = json.loads(note or b"null")
        form = said.pop("format")
        if form > FORMAT:
            raise InputError(f"{source}: is of form {form}, this genz-ppl knows {FORMAT}: upgrade genz-ppl, or make it again")
        spent = Spending(*(kind(said["spent"][name]) for name, kind in _SPENT.items()))
        about = About(**{**said, "questions": tuple(map(str, said["questions"])), "spent": spent})
        if about.kind not in ("item", "user") or not isinstance(about.made_with, dict) or type(about.refreshes) is not int:
            raise TypeError
        return about
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{source}: was not written by 'genz profile'; make it with 'genz profile ITEMS -o FILE'") from None
