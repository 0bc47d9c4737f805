from __future__ import annotations

import bz2
import csv
import gzip
import json
import math
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.data import Items
from genz_ppl.errors import GenzError, InputError

CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00"), max_size=20)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def write(folder: Path, content: str | bytes, name: str = "data.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def one_line(error: pytest.ExceptionInfo[GenzError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


def fails(path: Path, **roles: object) -> str:
    with pytest.raises(InputError) as error:
        Items.from_file(path, **{"target": "y", **roles})  # type: ignore[arg-type]
    return one_line(error)


def test_csv_gives_typed_fields(tmp_path: Path) -> None:
    path = write(
        tmp_path, "code,n,f,flag,word,note,y\n01234,92276,1.50,true,NA,a,1\n92276,,2,FALSE,None,,2\n1,7,NaN,,NaN,  b ,3\n"
    )
    first, second, third = Items.from_csv(path, target="y")
    assert first.fields == {"code": "01234", "n": 92276, "f": 1.5, "flag": True, "word": "NA", "note": "a"}
    assert second.fields == {"code": "92276", "n": None, "f": 2, "flag": False, "word": "None", "note": None}
    assert third.fields == {"code": "1", "n": 7, "f": None, "flag": None, "word": None, "note": "  b "}
    assert type(first.fields["n"]) is int
    assert type(first.fields["flag"]) is bool
    assert first.text == "code: 01234\nn: 92276\nf: 1.5\nflag: true\nword: NA\nnote: a"
    assert second.text == "code: 92276\nf: 2\nflag: false\nword: None"


@pytest.mark.parametrize("cell", ["+49", "12345678901234567890", "1_000", "0x1f", "٣", "1;5", "00.5"])
def test_what_is_no_quantity_keeps_the_column_text(tmp_path: Path, cell: str) -> None:
    path = tmp_path / "data.csv"
    pd.DataFrame({"c": ["5", cell], "y": [1, 2]}).to_csv(path, index=False)
    assert [item.fields["c"] for item in Items.from_csv(path, target="y")] == ["5", cell]


@given(rows=st.lists(st.tuples(CELLS, NUMBERS | st.none()), min_size=2, max_size=8))
def test_written_csv_reads_back(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, float | None]]) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    frame = pd.DataFrame({"word": ["!" + word for word, _ in rows], "y": [math.nan if y is None else y for _, y in rows]})
    frame.to_csv(path, index=False)
    items = Items.from_csv(path, target="y", require_target=False)
    assert items.targets is not None
    np.testing.assert_array_equal(items.targets[:, 0], frame["y"])
    assert [item.fields["word"] for item in items] == frame["word"].tolist()


@given(values=st.lists(st.integers(-(10**17), 10**17) | st.floats(allow_nan=False, allow_infinity=False) | st.none(), min_size=1))
def test_numbers_keep_value_and_type_through_csv(
    tmp_path_factory: pytest.TempPathFactory, values: list[int | float | None]
) -> None:
    path = tmp_path_factory.mktemp("csv") / "data.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([["v", "w"], *([value, "x"] for value in values)])
    read = [item.fields["v"] for item in Items.from_csv(path, require_target=False)]
    assert read == values
    assert [type(value) for value in read] == [type(value) for value in values]


def test_all_formats_give_the_same_items(tmp_path: Path) -> None:
    frame = pd.DataFrame(
        {
            "key": [11, 12, 13],
            "zip": ["01234", "92276", None],
            "n": pd.array([5, None, 7], dtype="Int64"),
            "b": pd.array([True, False, None], dtype="boolean"),
            "f": [0.1, 2.5, math.nan],
            "y": [1.0, math.nan, 3.0],
            "x": [1, 2, 3],
        }
    )
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    frame.to_parquet(tmp_path / "a.parquet")
    frame.to_json(tmp_path / "a.jsonl", orient="records", lines=True)
    made = [
        Items.from_file(tmp_path / f"a.{kind}", id="key", target="y", covariates="x")
        for kind in ("csv", "tsv", "parquet", "jsonl")
    ]
    made.append(Items.from_frame(frame, id="key", target="y", covariates="x"))
    assert len({items.fingerprint() for items in made}) == 1
    assert made[0].ids == ("11", "12", "13")
    assert made[0][1].fields == {"zip": "92276", "n": None, "b": False, "f": 2.5, "x": 2}


def test_parquet_of_promoted_integers_gives_integers(tmp_path: Path) -> None:
    pd.DataFrame({"zip": [92276, None], "y": [1, 2]}).to_parquet(tmp_path / "a.parquet")
    item = Items.from_parquet(tmp_path / "a.parquet", target="y")[0]
    assert item.text == "zip: 92276"


def test_jsonl_keeps_types_and_fills_gaps(tmp_path: Path) -> None:
    lines = [
        {"a": [1, "é"], "y": 1, "s": "line\u2028separator"},
        {"y": 2, "late": {"k": None}},
        {"y": None, "a": False, "late": 1.0},
    ]
    path = write(tmp_path, "\n\n".join(json.dumps(line, ensure_ascii=False) for line in lines) + "\n", "a.jsonl")
    items = Items.from_jsonl(path, target="y")
    assert items[0].fields == {"a": '[1,"é"]', "s": "line\u2028separator", "late": None}
    assert items[1].fields["late"] == '{"k":null}'
    assert items[2].fields["a"] is False
    assert items.targets is not None
    assert math.isnan(items.targets[2, 0])


def test_large_cells_and_quoted_line_breaks(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    long = "x" * 10_000_000
    items = Items.from_csv(write(tmp_path, f'a,y\n{long},1\n"two\r\nlines, one ""cell""",2\n'), target="y")
    assert items[0].fields["a"] == long
    assert items[1].fields["a"] == 'two\r\nlines, one "cell"'
    assert csv.field_size_limit() == limit


def test_byte_order_mark_crlf_blank_lines_and_tabs(tmp_path: Path) -> None:
    items = Items.from_tsv(write(tmp_path, b"\xef\xbb\xbfa\t y \r\n\r\nu\t1\r\nv\t2\r\n", "a.tsv"), target="y")
    assert [item.text for item in items] == ["a: u", "a: v"]


def test_a_column_without_a_name_is_not_read_unless_named(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    pd.DataFrame({"a": ["u", "v"], "y": [1, 2]}).to_csv(path)  # pandas writes its index as such a column
    assert Items.from_csv(path, target="y")[0].text == "a: u"
    assert Items.from_csv(path, target="y", id="Unnamed: 0").ids == ("0", "1")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", "", "empty"),
        ("a.csv", "\ufeff\n \n", "empty"),
        ("a.jsonl", "", "empty"),
        ("a.csv", "a,y\n", "a header but no row of data"),
        ("a.csv", "a,y\nu,1\nv\n", "line 3 has 1 cells but the header has 2"),
        ("a.csv", "a,y\nu,1,2\n", "line 2 has 3 cells but the header has 2"),
        ("a.csv", 'a,y\n"u,1\n', "line 2: unexpected end of data; check the quotes"),
        ("a.csv", 'a,y\n"u"x,1\n', "line 2: "),
        ("a.csv", 'a,y\n\n"u\nv",1\n"w\nx",2,3\n', "line 5 has 3 cells"),
        ("a.csv", 'a,y\nu,1\n"v,2\nw,3\nx,4\n', "line 3: unexpected end of data"),
        ("a.csv", "a,y,b,a,y\n", "duplicate column names (a, y)"),
        ("a.csv", b"a,y\nu,1\ncaf\xe9,2\n", "not UTF-8, byte 0xe9 at position 11 (line 3); re-save the file as UTF-8"),
        ("a.csv", "a,y\nu,1\n".encode("utf-16"), "not UTF-8, byte 0xff at position 0 (line 1)"),
        ("a.tsv", "a;y\nu;1\n", "cells must be separated by commas"),
        ("a.jsonl", '{"a": 1}\n{"a": \n', "line 2: not valid JSON"),
        ("a.jsonl", '{"a": 1}\n\n[1]\n', "line 3: expected a JSON object, found [1]"),
        ("a.jsonl", '{"a": 1, "a": 2}\n', "line 1: the key 'a' is there twice"),
        ("a.jsonl", '{"a": "\\ud800", "y": 1}\n', "line 1: not valid JSON"),
        ("a.jsonl", '{"a": ' + "[" * 100_000, "line 1: not valid JSON"),
        ("a.parquet", "PAR1 but not really", "not a readable parquet file"),
        ("a.parquet", "", "not a readable parquet file"),
        (
            "a.xls",
            "x",
            "unknown suffix '.xls'; known are .csv, .tsv, .jsonl, .json, .parquet, .xlsx, and those of text with .gz, ",
        ),
        ("a.parquet.gz", "x", "unknown suffix '.gz'; known are .csv"),
        ("a.csv.gz", "not packed", "cannot be read"),
        ("a.csv.zst", "not packed", "cannot be read"),
        ("a.csv.zip", "not packed", "cannot be read (File is not a zip file)"),
        ("a.json", "{", "not valid JSON"),
        ("a.json", '[{"a": 1, "a": 2}]', "the key 'a' is there twice"),
        ("a.json", '[{"a": "\\ud800", "y": 1}]', "not valid JSON"),
        ("a.json", '{"a": 1}', "expected a list of JSON objects, one an item; one object per line goes into a .jsonl file"),
        ("a.json", "[]", "expected a list of JSON objects"),
        ("noend", "x", "unknown suffix ''"),
    ],
)
def test_broken_files_say_what_and_where(tmp_path: Path, name: str, content: str | bytes, expected: str) -> None:
    message = fails(write(tmp_path, content, name))
    assert expected in message
    assert str(tmp_path / name) in message


def test_missing_file_and_directory(tmp_path: Path) -> None:
    assert "there is no such file" in fails(tmp_path / "nowhere.csv")
    assert "this is a directory" in fails(tmp_path)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst", ".zip"])
@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl", ".json"])
def test_compressed_files_are_read_as_what_they_hold(tmp_path: Path, kind: str, suffix: str) -> None:
    table = pd.DataFrame({"word": ["é", "b", "c"], "y": [1.5, 2.0, 3.0]})
    plain = tmp_path / f"data{kind}"
    if kind in (".csv", ".tsv"):
        table.to_csv(plain, index=False, sep="," if kind == ".csv" else "\t")
    else:
        table.to_json(plain, orient="records", lines=kind == ".jsonl", force_ascii=False)
    content, packed = plain.read_bytes(), plain.with_name(plain.name + suffix)
    if suffix == ".zip":
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr(plain.name, content)
    elif suffix == ".zst":
        packed.write_bytes(pyarrow.Codec("zstd").compress(content, asbytes=True))
    else:
        packed.write_bytes({".gz": gzip, ".bz2": bz2}[suffix].compress(content))
    found = Items.from_file(packed, target="y")
    assert [item.fields["word"] for item in found] == ["é", "b", "c"]
    assert found.targets is not None
    np.testing.assert_array_equal(found.targets[:, 0], [1.5, 2.0, 3.0])


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".zst", ".zip"])
def test_damaged_and_locked_files_are_refused_in_a_line(tmp_path: Path, suffix: str) -> None:
    content = "".join(f"word {number},{number}\n" for number in range(500)).encode()
    path = tmp_path / f"a.csv{suffix}"
    if suffix != ".zip":
        packed = pyarrow.Codec("zstd").compress(content, asbytes=True) if suffix == ".zst" else None
        path.write_bytes((packed or {".gz": gzip, ".bz2": bz2}.get(suffix, gzip).compress(content))[:-100])
        assert "cannot be read" in fails(path)
        return
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", content)
    whole = path.read_bytes()
    entry = whole.find(b"PK\x01\x02")
    locked = bytearray(whole)
    locked[6] |= 1  # the bit that says so, at both places where it stands
    locked[entry + 8] |= 1
    for spoilt, expected in ((whole[:60] + bytes([whole[60] ^ 255]) + whole[61:], "cannot be read"), (locked, "password")):
        path.write_bytes(spoilt)
        assert expected in fails(path)


def test_an_archive_of_two_files_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "both.csv.zip", "w") as archive:
        archive.writestr("a.csv", "x,y\na,1\n")
        archive.writestr("b.csv", "x,y\na,1\n")
    assert "expected one file in the archive, found 2: a.csv, b.csv; keep one" in fails(tmp_path / "both.csv.zip")
