"""Tables of known yes/no attributes: read from a file and checked."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.compute
from numpy.typing import NDArray

from genz_ppl.cells import SPACES, Cells, TextCells, are_unique, text_cells
from genz_ppl.errors import InputError
from genz_ppl.separated import UNREADABLE, bare_parts, separated_parts
from genz_ppl.types import FloatArray

_ANSWERS = {"yes": 1.0, "true": 1.0, "1": 1.0, "1.0": 1.0, "no": 0.0, "false": 0.0, "0": 0.0, "0.0": 0.0, "": math.nan}
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_LINES = (".jsonl", ".ndjson")
_SHOWN = 40
# Bytes of a file that are read together.
_AT_ONCE = 1 << 22


@dataclass(frozen=True)
class KnownAttributes:
    """ids: T names. texts: C attribute texts. values: (C, T) int8 of 1, 0 and -1, no answer. digest: sha256 of the file."""

    ids: Cells
    texts: tuple[str, ...]
    values: NDArray[np.int8]
    digest: str


def read_attributes(path: str | Path, id_column: str | None = None) -> KnownAttributes:
    """Read a .csv, .tsv or .jsonl file of attributes.

    Wide: one row an item; the ids are in `id_column`, else in the column "id", else in the first one; all others are
    attributes. Long (.jsonl only): one line a question, {"question": text, "yes": [ids]}, and maybe {"ids": [ids]} lines: an
    item that any line lists is known, and each question that does not list it is answered no; any other item is unknown.

    Raises InputError for a missing, empty or undecodable file, repeated ids or attributes, no attribute, or a value that is
    not yes or no.
    """
    file = Path(path).expanduser()
    delimiter = _DELIMITERS.get(file.suffix.lower())
    bare = _bare(file, delimiter, id_column) if delimiter is not None else None
    if bare is not None:
        return bare
    content = _content(file)
    digest = hashlib.sha256(content).hexdigest()
    found = None if delimiter is None else separated_parts(content.removeprefix(codecs.BOM_UTF8), delimiter)
    whole = None if found is None else _whole(*found, content.count(b"\n") + 1, id_column)
    if whole is not None:
        return KnownAttributes(*whole, digest)
    text = _text(file, content)
    rows = _json_rows(file, text) if delimiter is None else _delimited_rows(file, text, delimiter)
    is_long = delimiter is None and id_column is None and "id" not in rows[0][1]
    if is_long and any("question" in row or "ids" in row for _, row in rows):
        return KnownAttributes(*_long(file, rows), digest)
    return KnownAttributes(*_wide(file, rows, id_column), digest)


def folded(text: str) -> str:
    """A text as it is looked up: without letter case and outer or repeated spaces."""
    return " ".join(text.split()).casefold()


def _content(file: Path) -> bytes:
    """What a file holds."""
    if file.suffix.lower() not in (*_DELIMITERS, *_LINES):
        raise InputError(f"{file}: expected a table of attributes in a .csv, .tsv or .jsonl file; give it one of these names")
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputError(f"{file}: expected a readable table of attributes: {error.strerror}; check the path") from error


def _text(file: Path, content: bytes) -> str:
    """What it says."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(f"{file}: line {line}: expected UTF-8 text, found other bytes; save the file as UTF-8") from error
    if not text.strip():
        raise InputError(f"{file}: the file is empty; one row per item with yes/no attributes is needed")
    return text


def _bare(file: Path, delimiter: str, id_column: str | None) -> KnownAttributes | None:
    """A table that is written plainly, whatever its size; None where it has to be read otherwise, or to be told what is wrong."""
    try:
        found, digest, n_lines = bare_parts(file, delimiter), hashlib.sha256(), 1
        if found is None:
            return None
        with file.open("rb") as content:
            while part := content.read(_AT_ONCE):
                digest.update(part)
                n_lines += part.count(b"\n")
    except OSError:
        return None
    whole = _whole(*found, n_lines, id_column)
    return None if whole is None else KnownAttributes(*whole, digest.hexdigest())


def _whole(header: list[str], parts: Iterator[pyarrow.RecordBatch], n_lines: int, id_column: str | None) -> Parts | None:
    """A table read part by part; None where it has to be read row by row, or to be told what is wrong with it."""
    header = [name.strip() for name in header]
    key = id_column or ("id" if "id" in header else header[0])
    texts = [name for name in header if name != key]
    if key not in header or not texts or len({folded(name) for name in header}) < len(header) or not all(map(str.strip, texts)):
        return None
    # A row takes a line at least; what is beyond the last one is never touched.
    values = np.empty((len(texts), n_lines), dtype=np.int8)
    names, n_rows = [pyarrow.array([], pyarrow.large_string())], 0
    places = [header.index(name) for name in texts]
    try:
        for part in parts:
            for row, place in enumerate(places):
                if (coded := _coded(part.column(place))) is None:
                    return None
                values[row, n_rows : n_rows + len(part)] = coded
            names.append(pyarrow.compute.utf8_trim(part.column(header.index(key)), characters=SPACES))
            n_rows += len(part)
    except UNREADABLE:
        return None
    ids = pyarrow.concat_arrays(names)
    del names
    return (TextCells(ids), tuple(texts), values[:, :n_rows]) if n_rows and are_unique(ids) else None


def _coded(column: pyarrow.Array) -> NDArray[np.int8] | None:
    """Answers as they are written, as `KnownAttributes` has them; None where one is none."""
    coded = column.dictionary_encode()
    known = [_ANSWERS.get(written.strip().casefold()) for written in coded.dictionary.to_pylist()]
    return None if None in known else _packed(np.array(known, dtype=np.float64))[coded.indices.to_numpy()]


def _packed(answers: FloatArray) -> NDArray[np.int8]:
    return np.where(np.isnan(answers), -1, answers).astype(np.int8)


Parts = tuple[Cells, tuple[str, ...], NDArray[np.int8]]
Rows = Sequence[tuple[int, Mapping[str, object]]]  # line number and cells by column


def _delimited_rows(file: Path, text: str, delimiter: str) -> Rows:
    reader = csv.reader(io.StringIO(text.lstrip("\r\n"), newline=""), delimiter=delimiter, strict=True)
    rows: list[tuple[int, Mapping[str, object]]] = []
    try:
        header = [name.strip() for name in next(reader)]
        _no_repeats(file, header, "column")
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(header):
                raise InputError(
                    f"{file}: line {reader.line_num}: expected {len(header)} cells as in the header, found {len(cells)}; "
                    "quote cells that hold the delimiter"
                )
            rows.append((reader.line_num, dict(zip(header, cells, strict=True))))
    except csv.Error as error:
        raise InputError(f"{file}: line {reader.line_num}: not a readable table: {error}; correct the line") from error
    if not rows:
        raise InputError(f"{file}: there is a header and no row; one row per item is needed")
    return rows


def _json_rows(file: Path, text: str) -> Rows:
    rows: list[tuple[int, Mapping[str, object]]] = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{file}: line {number}: expected one JSON object, found {_shown(line)}; correct it") from error
        if not isinstance(row, dict) or not row:
            raise InputError(f"{file}: line {number}: expected a JSON object with keys, found {_shown(line)}; correct the line")
        rows.append((number, row))
    return rows


def _wide(file: Path, rows: Rows, id_column: str | None) -> Parts:
    columns = list(dict.fromkeys(name for _, row in rows for name in row))
    name = id_column or ("id" if "id" in columns else columns[0])
    if name not in columns:
        raise InputError(f"{file}: expected an id column {name!r}, found {', '.join(columns[:8])}; name one of these")
    texts = [column for column in columns if column != name]
    if not texts:
        raise InputError(f"{file}: expected attribute columns beside the ids in {name!r}, found none; add yes/no columns")
    _no_repeats(file, texts, "attribute")
    lines: dict[str, int] = {}
    values = np.full((len(rows), len(texts)), np.nan)
    for index, (number, row) in enumerate(rows):
        item = _id(file, number, row.get(name))
        if item in lines:
            raise InputError(f"{file}: line {number}: the id {_shown(item)} was on line {lines[item]} already; keep one of them")
        lines[item] = number
        values[index] = [_answer(file, number, text, row.get(text)) for text in texts]
    return text_cells(lines), tuple(texts), _packed(values.T)


def _long(file: Path, rows: Rows) -> Parts:
    known: dict[str, None] = {}
    questions: list[str] = []
    yes: list[set[str]] = []
    for number, row in rows:
        question, listed = row.get("question"), row.get("yes" if "question" in row else "ids")
        if not isinstance(listed, list) or not (question is None or (isinstance(question, str) and question.strip())):
            expected = '{"question": text, "yes": [ids]} or {"ids": [ids]}'
            raise InputError(f"{file}: line {number}: expected {expected}, found other content; correct the line")
        ids = [_id(file, number, entry) for entry in listed]
        known.update(dict.fromkeys(ids))
        if isinstance(question, str):
            questions.append(question)
            yes.append(set(ids))
    if not questions or not known:
        raise InputError(f"{file}: expected questions with the ids of items answered yes, found none; add lines")
    _no_repeats(file, questions, "question")
    place = {item: row for row, item in enumerate(known)}
    values = np.zeros((len(questions), len(known)), dtype=np.int8)
    for answered, members in zip(values, yes, strict=True):
        answered[[place[item] for item in members]] = 1
    return text_cells(known), tuple(questions), values


def _no_repeats(file: Path, texts: Sequence[str], what: str) -> None:
    seen: set[str] = set()
    for text in texts:
        if not text.strip():
            raise InputError(f"{file}: a {what} has no name; give each one a text")
        if folded(text) in seen:
            raise InputError(f"{file}: the {what} {_shown(text)} is there twice (letter case aside); rename or drop one")
        seen.add(folded(text))


def _id(file: Path, line: int, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)) or not str(value).strip():
        raise InputError(f"{file}: line {line}: expected an id (text or number), found {_shown(value)}; give each item one")
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value).strip()


def _answer(file: Path, line: int, column: str, value: object) -> float:
    written = "" if value is None else str(value).strip().casefold() if isinstance(value, (str, int, float)) else None
    if written is None or written not in _ANSWERS:
        raise InputError(
            f"{file}: line {line}, column {_shown(column)}: expected yes, no, 1, 0, true, false or nothing, "
            f"found {_shown(value)}; correct the value or drop the column"
        )
    return _ANSWERS[written]


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
