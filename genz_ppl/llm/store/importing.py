"""Answers into a store: from a table that an export wrote, or from another store."""

from __future__ import annotations

import csv
import json
import math
import warnings
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from genz_ppl.errors import GenzWarning, InputError, OptionError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.export import COLUMNS, SUFFIXES, asked, intact_rows
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.places import is_shared, open_answers
from genz_ppl.llm.store.rows import ITEM_BYTES, Pair, StoredAnswer, read_text
from genz_ppl.llm.store.schema import open_store, store_errors

_PORTION = 10_000
_HEAD = b"SQLite format 3\0"


@dataclass
class Imported:
    """How many answers were new, known, or other than those in the store, which stay; and how many texts were new.

    refused: why rows are no answers, with how many there are and the number of the first; rows count from 1.
    """

    new: int = 0
    known: int = 0
    conflicting: int = 0
    texts: int = 0
    refused: dict[str, tuple[int, int]] = field(default_factory=dict)

    def compare(self, there: StoredAnswer, other: StoredAnswer) -> None:
        """Count an answer to what is answered already."""
        same = there.value == other.value or (math.isnan(there.value) and math.isnan(other.value))
        self.known += same
        self.conflicting += not same


def import_answers(source: str | Path, path: str | Path) -> Imported:
    """Bring in what `export` wrote (.csv, .parquet, .jsonl), or another store's answers and texts; what is answered stays.

    Money and tokens spent on them are not brought along. Warns of rows that are refused. Raises InputError for a file that
    cannot be read or holds no answers, OptionError for the store itself, StoreError for a damaged store.
    """
    file, imported = Path(source), Imported()
    if not is_shared(path) and file.exists() and Path(path).exists() and file.samefile(path):
        raise OptionError(f"{file}: is the store itself; name another file, or another store with --store")
    portions = _portions(file, imported)
    first = next(portions)  # before a store is made
    if imported.refused and not first:
        why, (_, row) = next(iter(imported.refused.items()))
        raise InputError(f"{file}: expected what 'genz store export' writes, found no answer; row {row}: {why}")
    with open_answers(path) as store:
        for portion in chain([first], portions):
            claim = store.claim(list(portion))
            for pair, there in claim.known.items():
                imported.compare(there, portion[pair])
            new = {pair: portion[pair] for pair in (*claim.mine, *claim.theirs)}
            if new:
                store.settle(store.begin(0, "import", "", Spending()), "imported", Spending(), new)
            imported.new += len(new)
        if _is_store(file):
            _add_texts(file, store, imported)
    for why, (number, row) in imported.refused.items():
        warnings.warn(f"{file}: {number} rows were refused, the first is row {row}: {why}", GenzWarning, stacklevel=2)
    return imported


def _portions(file: Path, imported: Imported) -> Iterator[dict[Pair, StoredAnswer]]:
    """The answers of a file, at least one portion."""
    portion: dict[Pair, StoredAnswer] = {}
    for number, row in enumerate(_rows(file), 1):
        try:
            pair, answer = _answer(row)
        except (ValueError, KeyError) as error:
            why = f"there is no column {error}" if isinstance(error, KeyError) else str(error)
            count, first = imported.refused.get(why, (0, number))
            imported.refused[why] = count + 1, first
            continue
        if pair in portion:
            imported.compare(portion[pair], answer)
        portion.setdefault(pair, answer)
        if len(portion) == _PORTION:
            yield portion
            portion = {}
    yield portion


def _rows(file: Path) -> Iterator[Any]:
    """The rows of a file, as dicts by column; anything else is no row."""
    suffix = file.suffix.lower()
    if _is_store(file):
        with closing(open_store(file, create=False)) as connection, store_errors(file):
            yield from (row and dict(zip(COLUMNS, row, strict=True)) for row in intact_rows(connection))
        return
    if suffix not in SUFFIXES:
        raise InputError(f"{file}: expected a store of answers, or a name that ends with {', '.join(SUFFIXES)}")
    try:
        if suffix == ".parquet":
            import pyarrow.parquet as pq

            with pq.ParquetFile(file) as table:
                for batch in table.iter_batches():
                    yield from batch.to_pylist()
        else:
            with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as opened:
                yield from csv.DictReader(opened) if suffix == ".csv" else map(_parsed, opened)
    except (OSError, ValueError, csv.Error) as error:
        raise InputError(
            f"{file}: cannot be read ({' '.join(str(error).split())}); name a table that 'genz store export' wrote"
        ) from None


def _is_store(file: Path) -> bool:
    with suppress(OSError), file.open("rb") as opened:
        return opened.read(len(_HEAD)) == _HEAD
    return False


def _parsed(line: str) -> Any:
    with suppress(ValueError, RecursionError):
        return json.loads(line)
    return None


def _answer(row: Any) -> tuple[Pair, StoredAnswer]:
    """What a row says. Raises ValueError or KeyError for what was never exported."""
    if not isinstance(row, dict):
        raise ValueError("it is damaged, or no row of a table")
    *texts, draw = (row[name] for name in COLUMNS[1:7])
    whole = int(draw) if str(draw).isdecimal() and len(str(draw)) < 19 else None
    item, question = _hash(row, "item"), asked(_hash(row, "question"), (*texts, whole))
    if question is None:
        raise ValueError("question: is not the hash of feature, model, endpoint, prompt, sampling and draw; one was changed")
    value, probability = _number(row, "answer"), _number(row, "probability")
    if 0 < value < 1:
        raise ValueError("answer: expected 1, 0 or nothing")
    return (question, item), StoredAnswer(value, str(row["reason"] or ""), None if math.isnan(probability) else probability)


def _hash(row: dict[str, Any], name: str) -> bytes:
    with suppress(TypeError, ValueError):
        found = bytes.fromhex(row[name])
        if len(found) == ITEM_BYTES:
            return found
    raise ValueError(f"{name}: expected a hash of {2 * ITEM_BYTES} hexadecimal digits")


def _number(row: dict[str, Any], name: str) -> float:
    """A number from 0 to 1; nan for nothing."""
    value = row[name]
    if value is None or value == "":
        return math.nan
    with suppress(TypeError, ValueError, OverflowError):
        number = float(value)
        if not isinstance(value, bool) and (math.isnan(number) or 0 <= number <= 1):
            return number
    raise ValueError(f"{name}: expected {'1, 0' if name == 'answer' else 'a number from 0 to 1'} or nothing")


def _add_texts(file: Path, store: Store, imported: Imported) -> None:
    """The texts of another store, each as of the model that it is of there."""
    with closing(open_store(file, create=False)) as connection, store_errors(file):
        for key, content, mark, model in connection.execute(
            "SELECT key, text, checksum, coalesce(model, '') FROM texts LEFT JOIN attempts ON attempts.id = attempt"
        ):
            text = read_text(key, content, mark)
            if text is not None and store.text(key) is None:
                store.settle(store.begin(0, "import", model, Spending()), "imported", Spending(), texts={key: text})
                imported.texts += 1
