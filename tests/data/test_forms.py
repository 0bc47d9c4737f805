"""Every form in which a table may come, and what is said where an extra for it is missing."""

from __future__ import annotations

import gzip
import io
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest

from genz_ppl.data import Items, open_like, open_source
from genz_ppl.data.frames import as_frame
from genz_ppl.errors import GenzWarning, InputError, OptionError

FRAME = pd.DataFrame(
    {
        "key": ["u", "v", "w"],
        "city": ["Zürich", None, "Köln"],
        "rooms": pd.array([3, None, 5], dtype="Int64"),
        "y": [1.5, 2.25, 1234.5],
    }
)
ROLES: dict[str, Any] = {"id": "key", "target": "y"}
EXPECTED = Items.from_frame(FRAME, **ROLES).fingerprint()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """The address of a server of the files in the folder."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def as_bytes(kind: str) -> bytes:
    file = io.BytesIO()
    if kind == "parquet":
        FRAME.to_parquet(file)
    elif kind == "xlsx":
        pytest.importorskip("openpyxl")
        FRAME.to_excel(file, index=False)
    elif kind.startswith("json"):
        FRAME.to_json(file, orient="records", lines=kind == "jsonl", force_ascii=False)
    else:
        FRAME.to_csv(file, index=False)
    return gzip.compress(file.getvalue()) if kind.endswith("gz") else file.getvalue()


@pytest.mark.parametrize("kind", ["csv", "json", "jsonl", "parquet", "xlsx", "csv.gz"])
def test_standard_input_in_every_kind(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    piped(monkeypatch, as_bytes(kind))
    items = open_source("-", **ROLES)
    assert items.fingerprint() == EXPECTED
    assert items.name == "standard input"


def test_standard_input_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"")
    with pytest.raises(InputError, match=r"^standard input: the file is empty"):
        open_source("-", **ROLES)
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True)
    with pytest.raises(InputError, match=r"^standard input: expected a table, found a terminal; pipe one in"):
        open_source("-", **ROLES)


@pytest.mark.parametrize("kind", ["csv", "json", "parquet", "xlsx", "csv.gz"])
def test_an_address(tmp_path: Path, served: str, kind: str) -> None:
    (tmp_path / f"a.{kind}").write_bytes(as_bytes(kind))
    (tmp_path / "table").write_bytes(as_bytes(kind))
    for address in (f"{served}/a.{kind}", f"{served}/a.{kind}?download=1", f"{served}/table"):
        assert open_source(address, **ROLES).fingerprint() == EXPECTED


def test_an_address_of_another_file_system() -> None:
    import fsspec

    with fsspec.open("memory://bucket/a.csv", "wb") as file:
        file.write(as_bytes("csv"))
    assert open_source("memory://bucket/a.csv", **ROLES).fingerprint() == EXPECTED


def test_addresses_that_cannot_be_read(served: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for address, said in (
        (f"{served}/nothing.csv", r"cannot be read \(.*\); check the address"),
        ("http://127.0.0.1:1/a.csv", r"cannot be read \(.*\); check the address"),
        ("ftps3://x/a.csv", r"cannot be read \(.*ftps3.*\); check the address"),
        ("https://me:secret@example.org/a.csv", r"^https://example.org: .*leave out the password"),
    ):
        with pytest.raises(InputError, match=said) as error:
            open_source(address, **ROLES)
        assert "secret" not in str(error.value)
        assert "\n" not in str(error.value)
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(InputError, match=r"^s3://bucket/a.csv: needs the extra remote \(.*\): pip install 'genz-ppl\[remote\]'"):
        open_source("s3://bucket/a.csv", **ROLES)
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(InputError, match=r"needs the extra remote"):
        open_source("https://example.org/a.csv", **ROLES)


def test_a_workbook(tmp_path: Path) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    sheet = book.active
    for row in ([None] * 5, ["key", "city", "rooms", None, "y"], ["u", "NA", 3, "note", 1.5], ["v", None, None, None, 2]):
        sheet.append(row)
    book.save(tmp_path / "a.xlsx")
    items = open_source(str(tmp_path / "a.xlsx"), **ROLES)
    assert [item.fields for item in items] == [{"city": "NA", "rooms": 3}, {"city": None, "rooms": None}]
    book.create_sheet("second")
    book.save(tmp_path / "a.xlsx")
    with pytest.warns(GenzWarning, match="the sheet 'Sheet' is read, the first of 2"):
        open_source(str(tmp_path / "a.xlsx"), **ROLES)
    sheet["B2"] = "key"
    book.save(tmp_path / "a.xlsx")
    with pytest.warns(GenzWarning), pytest.raises(InputError, match=r"duplicate column names \(key\)"):
        open_source(str(tmp_path / "a.xlsx"), **ROLES)


def test_workbooks_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    path = tmp_path / "a.xlsx"
    path.write_bytes(b"PK\x03\x04 no archive")
    with pytest.raises(InputError, match="not a readable workbook"):
        open_source(str(path), **ROLES)
    openpyxl.Workbook().save(path)
    with pytest.raises(InputError, match="the first sheet is empty"):
        open_source(str(path), **ROLES)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(InputError, match=r"needs openpyxl: pip install 'genz-ppl\[excel\]', or save it as .csv"):
        open_source(str(path), **ROLES)


def test_a_folder_of_parts(tmp_path: Path) -> None:
    parts = tmp_path / "parts"
    (parts / "kind=b").mkdir(parents=True)
    FRAME[2:].to_parquet(parts / "kind=b" / "part-1.parquet")
    (parts / "kind=a").mkdir()
    FRAME[:2].to_parquet(parts / "kind=a" / "part-0.parquet")
    (parts / "_SUCCESS").touch()
    (parts / "kind=b" / "empty").mkdir()
    items = open_source(str(parts), **ROLES)
    assert items.ids == ("u", "v", "w")
    assert [item.fields["kind"] for item in items] == ["a", "a", "b"]
    assert items[2].fields["rooms"] == 5
    FRAME.drop(columns="city").to_parquet(parts / "kind=a" / "part-2.parquet")
    with pytest.raises(InputError, match=r"part-2.parquet: its columns are not those of part-0.parquet \(city\)"):
        open_source(str(parts), **ROLES)
    with pytest.raises(InputError, match="this is a directory; name a file, or a folder of parquet files"):
        open_source(str(parts / "kind=b" / "empty"), **ROLES)
    (parts / "run.json").touch()
    with pytest.raises(InputError, match="this is a run directory"):
        open_source(str(parts), **ROLES)


class Streamed:
    """A table that hands out Arrow's stream, as polars and DuckDB do."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pyarrow.Table.from_pandas(FRAME).__arrow_c_stream__(requested_schema)


class Dataset:
    """As Hugging Face's, in what is used of it."""

    def to_pandas(self) -> pd.DataFrame:
        return FRAME


class Lazy:
    def collect(self) -> pd.DataFrame:
        return FRAME

    def collect_schema(self) -> None: ...


@pytest.mark.parametrize("table", [Streamed(), Dataset(), pyarrow.Table.from_pandas(FRAME)])
def test_tables_of_others(table: Any) -> None:
    assert Items.from_frame(table, **ROLES).fingerprint() == EXPECTED


def test_a_frame_of_polars_as_it_is() -> None:
    polars = pytest.importorskip("polars")
    table = polars.DataFrame(FRAME.astype(object).where(FRAME.notna(), None).to_dict("list"))
    assert Items.from_frame(table, **ROLES).fingerprint() == EXPECTED


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (np.zeros((3, 2)), r"got a ndarray, whose columns have no names; pass pd.DataFrame\(array, columns=\[...\]\)"),
        (FRAME["y"], r"got a Series; make it a column: .to_frame\(\)"),
        (Lazy(), r"got a Lazy, which is not computed yet; pass .collect\(\)"),
        ({"train": Dataset(), "test": Dataset()}, "got a dict of several; pass one of them: 'train', 'test'"),
        ("a.csv", r"got a str; pass pd.DataFrame\(...\), or Items.from_file\(path\) for a file"),
        ([[1, 2]], "got a list"),
        (pyarrow.array([1, 2]).cast("int64"), "got a"),
    ],
)
def test_what_is_no_table(table: Any, said: str) -> None:
    with pytest.raises(OptionError, match=said) as error:
        as_frame(table)
    assert "\n" not in str(error.value)


def test_errors_about_frames_are_in_pythons_words() -> None:
    for roles, said in (
        ({}, "name the column to explain with target= "),
        ({"target": "y", "split": "key", "group": "city"}, "drop split= or group="),
        ({"target": "y", "text": ["y"]}, r"take it out of text \(text=\)"),
        ({"target": "city"}, "read classes with --likelihood .*in Python likelihood="),
    ):
        with pytest.raises((InputError, OptionError), match=said) as error:
            Items.from_frame(FRAME, **roles)
        assert "--" not in str(error.value).replace("--likelihood", "")


SEMICOLONS = "key;city;rooms;y\nu;Zürich;3;1,5\nv;;;2,25\nw;Köln;5;1.234,5\n"


def test_separator_decimal_and_encoding_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(SEMICOLONS.encode("latin-1"))
    how = {"sep": ";", "decimal": ",", "encoding": "latin-1"}
    items = open_source(str(path), **ROLES, **how)  # type: ignore[arg-type]
    assert items.fingerprint() == EXPECTED
    assert open_like(str(path), items.schema, **how).fingerprint() == EXPECTED
    with pytest.raises(InputError, match=r"not UTF-8, byte 0xfc .* name its encoding with --encoding \(encoding=\)"):
        open_source(str(path), **ROLES)


def test_thousands_are_no_decimals_where_commas_are(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a;y\n1.234;1\n5.678;2\n")
    assert [item.fields["a"] for item in open_source(str(path), target="y", sep=";")] == [1.234, 5.678]
    assert [item.fields["a"] for item in open_source(str(path), target="y", sep=";", decimal=",")] == [1234, 5678]


def test_a_semicolon_file_names_the_separator_in_its_error(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(SEMICOLONS)
    with pytest.raises(InputError, match=r"line 2 has 2 cells but the header has 1, separated by ','; .* --sep \(sep=\)"):
        open_source(str(path), **ROLES, sep=",")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"sep": ";;"}, "sep: expected one character, such as ';', got ';;'"),
        ({"decimal": ";"}, "decimal: expected ',' or '.', got ';'"),
        ({"decimal": ",", "sep": ","}, "a comma before decimals cannot separate cells"),
        ({"encoding": "klingon"}, "encoding: expected the name of an encoding, .* got 'klingon'"),
    ],
)
def test_ways_of_writing_that_cannot_be(tmp_path: Path, how: dict[str, str], said: str) -> None:
    (tmp_path / "a.csv").write_text(SEMICOLONS)
    with pytest.raises(OptionError, match=said):
        open_source(str(tmp_path / "a.csv"), **ROLES, **how)  # type: ignore[arg-type]


def test_ways_of_writing_are_of_text(tmp_path: Path) -> None:
    FRAME.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(OptionError, match=r"sep: only for .csv, .tsv, and .*a.parquet is .parquet; leave it out"):
        open_source(str(tmp_path / "a.parquet"), **ROLES, sep=";")
    with pytest.raises(OptionError, match="knows its own columns: drop --sep"):
        open_source("binary", sep=";")
