"""What the store of answers holds: questions, answers, and the checksum that tells an intact row from a damaged one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b, sha256
from math import nan
from typing import Any

ITEM_BYTES = 32


@dataclass(frozen=True)
class Question:
    """Everything that decides an answer besides the item.

    feature: the wording. endpoint: where the model is served. prompt: the template with its version. sampling: what else
    was sent (temperature and the like), in one canonical text. draw: 0 for the first time of asking, then 1, 2, ….
    """

    feature: str
    model: str
    endpoint: str
    prompt: str
    sampling: str
    draw: int = 0

    @property
    def columns(self) -> tuple[str, str, str, str, str, int]:
        """The values of its row, in the order of the table."""
        return self.feature, self.model, self.endpoint, self.prompt, self.sampling, self.draw

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the question as canonical JSON: its name in the store."""
        names = ("feature", "model", "endpoint", "prompt", "sampling", "draw")
        parts = dict(zip(names, self.columns, strict=True))
        return sha256(json.dumps(parts, sort_keys=True, separators=(",", ":")).encode("ascii")).digest()

    @cached_property
    def _hash(self) -> int:
        return int.from_bytes(self.digest[:8], "big")

    def __hash__(self) -> int:
        # Hashed for every pair of every call, so once and for all; from the digest, since that survives pickling.
        return self._hash


def named(digest: bytes, columns: Iterable[Any]) -> Question:
    """The question with that name in the store, of whose columns some are spelled in another way or lost."""
    question = Question(*columns)
    question.__dict__["digest"] = digest
    return question


Pair = tuple[Question, bytes]
"""A question and the 32-byte SHA-256 of an item's content."""


@dataclass(frozen=True)
class StoredAnswer:
    """value: 1., 0. or nan (no valid answer). reason: why nan. probability: P(yes), where the model gave it."""

    value: float
    reason: str = ""
    probability: float | None = None


@dataclass(frozen=True)
class Claim:
    """What `Store.claim` found out about some pairs, each pair in one of the three.

    known: answered already (nan included). mine: to be asked by the caller now. theirs: being asked by someone else, another
    process or another part of this one; claim them again later.
    """

    known: dict[Pair, StoredAnswer] = field(default_factory=dict)
    mine: list[Pair] = field(default_factory=list)
    theirs: list[Pair] = field(default_factory=list)


Key = tuple[int, int | bytes]
"""A pair by the numbers of its question and item; or 0 and the key of a text."""

_YES, _NO = StoredAnswer(1.0), StoredAnswer(0.0)
# What is put under the checksum of the answers that nearly all rows hold.
_SAID_YES, _SAID_NO = b"1|None|", b"0|None|"


def checksum(*parts: bytes) -> int:
    """64 bits over the parts, as SQLite's signed integers hold them."""
    return int.from_bytes(blake2b(b"".join(parts), digest_size=8).digest(), "big", signed=True)


def damage(message: str) -> sqlite3.DatabaseError:
    """SQLite's error for a damaged file."""
    error = sqlite3.DatabaseError(message)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def whole(value: Any) -> int:
    """The number of a row; raises `damage` if it is none."""
    if isinstance(value, int):
        return value
    raise damage("a row's number is no number")


def writable(text: str) -> str:
    """The text as UTF-8 can hold it: a lone surrogate is spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def answer_row(key: Key, pair: Pair, answer: StoredAnswer, attempt: int) -> tuple[object, ...]:
    """The row of an answer, in the order of the table. Raises ValueError for what is no answer."""
    if answer.value == 1.0 or answer.value == 0.0:
        value = int(answer.value)
    elif answer.value != answer.value:
        value = None
    else:
        raise ValueError(f"an answer is 1., 0. or nan, not {answer.value!r}")
    probability = None if answer.probability is None else float(answer.probability)
    if probability is not None and not 0.0 <= probability <= 1.0:
        raise ValueError(f"the probability of an answer lies between 0 and 1, not at {probability!r}")
    reason = writable(answer.reason) if answer.reason else ""
    return *key, value, reason, probability, attempt, _answer_checksum(pair, value, reason, probability)


def read_answer(pair: Pair, value: Any, reason: Any, probability: Any, mark: Any) -> StoredAnswer | None:
    """The answer in a row; None if it is not what was written there: another type, another value, another question or item."""
    if _answer_checksum(pair, value, reason, probability) != mark:
        return None
    if reason == "" and probability is None and value is not None:
        return _YES if value == 1 else _NO if value == 0 else None
    return StoredAnswer(nan if value is None else float(value), str(reason), probability) if value in (0, 1, None) else None


def _answer_checksum(pair: Pair, value: object, reason: object, probability: object) -> int:
    if reason == "" and probability is None and type(value) is int and 0 <= value <= 1:
        said = _SAID_YES if value else _SAID_NO
    else:
        # repr tells 1 from 1.0 and from "1"; the reason may hold undecodable bytes as surrogates when it was damaged.
        said = f"{value!r}|{probability!r}|{reason!s}".encode("utf-8", "surrogateescape")
    return checksum(pair[0].digest, pair[1], said)


def text_row(key: bytes, text: str, attempt: int) -> tuple[bytes, bytes, int, int]:
    """The row of a stored text: bytes, since a model's reply may hold NUL and lone surrogates."""
    content = text.encode("utf-8", "surrogatepass")
    return key, content, attempt, checksum(key, content)


def read_text(key: Any, content: Any, mark: Any) -> str | None:
    """The text in a row; None if it is not what was written there."""
    if not isinstance(key, bytes) or not isinstance(content, bytes) or checksum(key, content) != mark:
        return None
    return content.decode("utf-8", "surrogatepass")


def distinct(pairs: Iterable[Pair]) -> list[Pair]:
    """Each pair once, in order. Raises ValueError for what is no item hash."""
    found = list(dict.fromkeys(pairs))
    for _, item in found:
        if len(item) != ITEM_BYTES:
            raise ValueError(f"an item is named by the {ITEM_BYTES} bytes of its SHA-256, not by {len(item)} bytes")
    return found


def portions(keys: Sequence[Any], most: int = 256) -> Iterator[list[Any]]:
    """The keys in portions of a power of two, the last filled up with repeats: few statements to prepare, whatever the number."""
    for start in range(0, len(keys), most):
        portion = list(keys[start : start + most])
        yield portion + portion[-1:] * ((1 << (len(portion) - 1).bit_length()) - len(portion))
