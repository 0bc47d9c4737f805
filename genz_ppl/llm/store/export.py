"""Answers out of a store into a table."""

from __future__ import annotations

import csv
import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from genz_ppl.errors import OptionError
from genz_ppl.llm.store.places import is_shared, open_shared
from genz_ppl.llm.store.rows import ITEM_BYTES, Question, named, read_answer
from genz_ppl.llm.store.schema import open_store, store_errors

# The question's hash is over the six columns that make it: an import can tell that none was changed.
COLUMNS = ("item", "feature", "model", "endpoint", "prompt", "sampling", "draw", "answer", "reason", "probability", "question")
_ROWS = 50_000

Row = tuple[str, str, str, str, str, str, int, int | None, str, float | None, str]


@dataclass(frozen=True)
class Exported:
    """rows: answers written. damaged: rows left out since they are damaged."""

    rows: int
    damaged: int


def export(path: str | Path, file: str | Path) -> Exported:
    """Write all answers to a .csv, .parquet or .jsonl file: the item's hash in hex, the question, and the answer (1, 0, none).

    Damaged rows are left out and counted. Raises OptionError for another ending or a file that is there already, StoreError if
    there is no store at `path` or pages of it cannot be read.
    """
    output = Path(file)
    write = _WRITERS.get(output.suffix.lower())
    if write is None:
        raise OptionError(f"{output}: expected a name that ends with {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}")
    if output.exists():
        raise OptionError(f"{output}: is there already and is not overwritten; name another file or move it away")
    partial = output.with_name(f"{output.name}.partial")
    counts = {True: 0, False: 0}

    def counted(rows: Iterator[Row | None]) -> Iterator[Row]:
        for row in rows:
            counts[row is not None] += 1
            if row is not None:
                yield row

    with _rows_of(path) as rows:
        try:
            write(counted(rows), partial)
            partial.replace(output)
        except OSError as error:
            said = error.strerror or error
            raise OptionError(f"{output}: cannot be written ({said}); check the folder, space and permissions") from None
        finally:
            partial.unlink(missing_ok=True)
    return Exported(counts[True], counts[False])


@contextmanager
def _rows_of(place: str | Path) -> Iterator[Iterator[Row | None]]:
    """The answers of a store, wherever it is."""
    if is_shared(place):
        from genz_ppl.llm.store.postgres.every import every_answer

        with open_shared(place) as shared:
            yield intact(every_answer(shared))
        return
    file = Path(os.path.abspath(place))
    with closing(open_store(file, create=False)) as connection, store_errors(file):
        yield intact_rows(connection)


def intact_rows(connection: sqlite3.Connection) -> Iterator[Row | None]:
    """All answers as rows of `COLUMNS`, in order of questions; None for each that is damaged."""
    return intact(
        connection.execute(
            "SELECT questions.digest, feature, model, endpoint, prompt, sampling, draw, items.digest, value, reason, "
            "probability, checksum FROM answers LEFT JOIN questions ON questions.id = question "
            "LEFT JOIN items ON items.id = item ORDER BY question, item"
        )
    )


def intact(rows: Iterable[tuple[Any, ...]]) -> Iterator[Row | None]:
    """The same from rows with the question's digest and columns, then the item, the answer and its checksum."""
    question: Question | None = None
    for row in rows:
        if question is None or question.digest != row[0]:
            question = asked(row[0], row[1:7])
        yield None if question is None else _row(question, row[1:7], *row[7:])


def asked(digest: Any, columns: Sequence[Any]) -> Question | None:
    """The question of a row; None if the row is not what was written there."""
    texts, draw = columns[:5], columns[5]
    if not all(isinstance(text, str) for text in texts) or not isinstance(draw, int):
        return None
    question = Question(*columns)
    # A lone surrogate was spelled out when it was stored, so such a text no longer has the digest.
    spelled = any("\\ud" in text for text in texts)
    if question.digest != digest and not (spelled and isinstance(digest, bytes)):
        return None
    return named(digest, columns)


def _row(
    question: Question, columns: Sequence[Any], item: Any, value: Any, reason: Any, probability: Any, mark: Any
) -> Row | None:
    if not isinstance(item, bytes) or len(item) != ITEM_BYTES:
        return None
    answer = read_answer((question, item), value, reason, probability, mark)
    return None if answer is None else (item.hex(), *columns, value, answer.reason, answer.probability, question.digest.hex())


def _write_csv(rows: Iterator[Row], file: Path) -> None:
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(rows)


def _write_jsonl(rows: Iterator[Row], file: Path) -> None:
    with file.open("w", encoding="utf-8", errors="backslashreplace", newline="\n") as opened:
        for row in rows:
            opened.write(json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n")


def _write_parquet(rows: Iterator[Row], file: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = pa.string()
    types = (text, text, text, text, text, text, pa.int64(), pa.int8(), text, pa.float64(), text)
    schema = pa.schema(list(zip(COLUMNS, types, strict=True)))
    with pq.ParquetWriter(file, schema) as writer:
        while portion := list(islice(rows, _ROWS)):
            columns = [pa.array(column, kind) for column, kind in zip(zip(*portion, strict=True), types, strict=True)]
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))


_WRITERS = {".csv": _write_csv, ".parquet": _write_parquet, ".jsonl": _write_jsonl}
SUFFIXES = tuple(_WRITERS)
