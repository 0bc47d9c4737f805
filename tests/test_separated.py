"""What is read fast is what Python's strict csv reads."""

from __future__ import annotations

import csv
import io
import threading
import weakref
from typing import Any

import numpy as np
import pyarrow
import pyarrow.csv
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from genz_ppl.separated import read_separated

PIECES = ("a", "b", ",", ";", '"', '""', "\n", "\r\n", "\r", " ", "é", "1.5", "\t", "\0", "\ufeff")


def read_by_python(text: str, separator: str) -> list[list[str]] | None:
    """Header and rows, None for a file with a fault."""
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True) if row]
    except csv.Error:
        return None
    return rows if len({len(row) for row in rows}) == 1 else None


@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.sampled_from(",;\t"))
@example('a,b\n"x\ny","say ""hi"""\n\n,\n', ",")
@example('a\n""\n\nb', ",")
@example('a,b\n1,"x"y"\n', ",")
@example('a,b\n1,5" pipe 3"\n', ",")
@example("\ufeff\n", ",")
def test_files_are_read_as_python_reads_them_or_not_at_all(text: str, separator: str) -> None:
    found = read_separated(text.encode(), separator)
    if found is not None:
        header, columns = found
        rows = [list(row) for row in zip(*(column.to_pylist() for column in columns), strict=True)]
        assert [header, *rows] == read_by_python(text, separator)


@pytest.mark.parametrize(
    "text",
    [
        "a,b\n1,2\n",
        "a,b\r\n1,2\r\n3,4",
        '\n\na,b\n\n1,"x, ""y"""\n\n',
        'a,b\n"",""\n',
        'a,b\n"several\nlines",é\n',
    ],
)
def test_usual_files_are_read_fast(text: str) -> None:
    found = read_separated(text.encode(), ",")
    assert found is not None
    rows = [found[0], *map(list, zip(*(column.to_pylist() for column in found[1]), strict=True))]
    assert rows == read_by_python(text, ",")


@pytest.mark.parametrize(
    "text", ["", "a,b", "a,b\n", "a,b\n1\n", "a,b\n1,2,3\n", 'a\n"x"y\n', 'a\n"x\n', "a\n1\r2\n", "a\nx\0\n"]
)
def test_others_are_left_to_a_careful_reader(text: str) -> None:
    assert read_separated(text.encode(), ",") is None
    assert read_separated(b"a\n\xff\n", ",") is None


def test_nothing_is_left_with_pyarrows_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """They give back what they read from a moment later, and abort the program where that is at its end."""
    lent: list[weakref.ref[np.ndarray]] = []
    kept: list[threading.Timer] = []
    open_csv, frombuffer = pyarrow.csv.open_csv, np.frombuffer

    def slow(source: pyarrow.BufferReader, *options: object) -> pyarrow.csv.CSVStreamingReader:
        held = [source]
        kept.append(threading.Timer(0.05, held.clear))
        kept[-1].start()
        return open_csv(source, *options)

    def noted(*given: Any, **named: Any) -> np.ndarray:
        made = frombuffer(*given, **named)
        lent.append(weakref.ref(made))
        return made

    monkeypatch.setattr(pyarrow.csv, "open_csv", slow)
    monkeypatch.setattr(np, "frombuffer", noted)
    for text in ("a,b\n", "a,b\n1,2\n", "a,b\n1\n"):
        read_separated(text.encode(), ",")
        assert lent
        assert all(one() is None for one in lent)
