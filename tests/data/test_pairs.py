from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from genz_ppl.data import Items, pair_files, pairs
from genz_ppl.data.pairs import pairs_from_frame, read_pairs, with_absent
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import Pairs

ROWS = ["1", "2", "a b", "é"]
COLUMNS = ["x", "7", "z"]
FRAME = pd.DataFrame({"film": ["é", "1", "a b", "1"], "user": ["x", "7", "x", "z"], "stars": [5, 2.5, -1, 0]})
EXPECTED = ([3, 0, 2, 0], [0, 1, 0, 2], [5.0, 2.5, -1.0, 0.0])


def assert_pairs(found: Pairs, rows: list[int], columns: list[int], values: list[float]) -> None:
    assert (found.n_rows, found.n_columns, len(found)) == (len(ROWS), len(COLUMNS), len(values))
    assert found.rows.dtype == found.columns.dtype == np.int64
    assert found.values.dtype == np.float64
    assert found.rows.tolist() == rows
    assert found.columns.tolist() == columns
    assert found.values.tolist() == values


def write(frame: pd.DataFrame, file: Path) -> Path:
    if file.suffix == ".parquet":
        frame.to_parquet(file)
    else:
        frame.to_csv(file, sep="\t" if file.suffix == ".tsv" else ",", index=False)
    return file


def csv_file(folder: Path, text: str | bytes) -> Path:
    file = folder / "pairs.csv"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return file


def fault(call: Callable[[], Any], kind: type[Exception] = InputError) -> str:
    with pytest.raises(kind) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def csv_fault(folder: Path, text: str | bytes, names: list[str] | None = None) -> str:
    return fault(lambda: read_pairs(csv_file(folder, text), ROWS, COLUMNS, names))


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet"])
def test_reads_every_kind_of_file(tmp_path: Path, suffix: str) -> None:
    assert_pairs(read_pairs(write(FRAME, tmp_path / f"p{suffix}"), ROWS, COLUMNS), *EXPECTED)


def test_a_frame_gives_the_same_pairs() -> None:
    assert_pairs(pairs_from_frame(FRAME, ROWS, COLUMNS), *EXPECTED)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ""])
def test_columns_by_name_in_any_order_beside_others(tmp_path: Path, suffix: str) -> None:
    frame = FRAME.assign(note="n")[["stars", "note", "user", "film"]]
    names = ("film", "user", "stars")
    found = (
        read_pairs(write(frame, tmp_path / f"p{suffix}"), ROWS, COLUMNS, names)
        if suffix
        else pairs_from_frame(frame, ROWS, COLUMNS, names)
    )
    assert_pairs(found, *EXPECTED)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_two_columns_mean_presence(tmp_path: Path, suffix: str) -> None:
    file = write(FRAME[["film", "user"]], tmp_path / f"p{suffix}")
    assert_pairs(read_pairs(file, ROWS, COLUMNS), EXPECTED[0], EXPECTED[1], [1.0] * 4)
    whole = write(FRAME, tmp_path / f"w{suffix}")
    assert_pairs(read_pairs(whole, ROWS, COLUMNS, ("film", "user")), EXPECTED[0], EXPECTED[1], [1.0] * 4)


@pytest.mark.parametrize(
    ("kind", "values"),
    [("int64", [1, 2]), ("Int16", [1, 2]), ("float64", [1.0, 2.0]), ("float32", [1.0, 2.0]), ("object", [1, "2"])],
)
def test_one_and_its_word_are_the_same_id(tmp_path: Path, kind: str, values: list[object]) -> None:
    frame = pd.DataFrame({"r": pd.Series(values, dtype=kind), "c": ["x", "x"], "v": [1, 2]})
    items = Items.from_frame(pd.DataFrame({"id": [1, 2], "a": ["b", "c"], "y": [0.0, 1.0]}), id="id", target="y")
    for ids in (["1", "2"], [1, 2], [1.0, 2.0], items.ids):
        assert pairs_from_frame(frame, ids, COLUMNS).rows.tolist() == [0, 1]
        if kind != "object":
            for suffix in (".parquet", ".csv"):  # in the csv file floats are written 1.0
                assert read_pairs(write(frame, tmp_path / f"p{suffix}"), ids, COLUMNS).rows.tolist() == [0, 1]


def test_an_id_as_written_comes_before_its_whole_number() -> None:
    frame = pd.DataFrame({"r": ["1.0", "1"], "c": ["x", "x"]})
    assert pairs_from_frame(frame, ["1", "1.0"], COLUMNS).rows.tolist() == [1, 0]


def test_blanks_quotes_blank_lines_and_byte_order_marks_do_not_matter(tmp_path: Path) -> None:
    text = '\ufeff\n"film", user ,stars\r\n "a b" , x , +1e1 \r\n\r\n"a b","7",TRUE\n'
    text = text.replace(' "a b" ', '" a b "')
    assert_pairs(read_pairs(csv_file(tmp_path, text), ROWS, COLUMNS), [2, 2], [0, 1], [10.0, 1.0])


def test_an_index_without_a_name_is_no_column_of_pairs(tmp_path: Path) -> None:
    file = tmp_path / "p.csv"
    FRAME.to_csv(file)
    assert_pairs(read_pairs(file, ROWS, COLUMNS), *EXPECTED)
    indexed = FRAME.set_axis([4, 9, 2, 3])
    assert_pairs(read_pairs(write(indexed[["film", "user"]], tmp_path / "p.parquet"), ROWS, COLUMNS), *EXPECTED[:2], [1.0] * 4)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ""])
def test_rows_are_counted_through_all_blocks(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name, size in ((pair_files, "_BLOCK_BYTES", 200), (pair_files, "BLOCK_ROWS", 7), (pairs, "BLOCK_ROWS", 7)):
        monkeypatch.setattr(module, name, size)
    frame = pd.DataFrame({"r": np.repeat(np.arange(20), 30), "c": np.tile(np.arange(30), 20), "v": np.arange(600) / 8})

    def read(frame: pd.DataFrame) -> Pairs:
        if not suffix:
            return pairs_from_frame(frame, range(20), range(30))
        return read_pairs(write(frame, tmp_path / f"p{suffix}"), range(20), range(30))

    found = read(frame)
    for values, column in ((found.rows, "r"), (found.columns, "c"), (found.values, "v")):
        np.testing.assert_array_equal(values, frame[column])
    assert "row 457, column 'v': expected a finite number, found" in fault(
        lambda: read(frame.assign(v=frame["v"].where(frame.index != 456, np.inf)))
    )
    assert "row 457, column 'v': the value is missing" in fault(
        lambda: read(frame.assign(v=frame["v"].where(frame.index != 456)))
    )
    assert "column 'r': 1 id is not among the row ids: '99' (row 400)" in fault(
        lambda: read(frame.assign(r=frame["r"].where(frame.index < 399, 99)))
    )
    assert "the pair '0', '3' is in rows 4 and 601" in fault(lambda: read(pd.concat([frame, frame.iloc[3:5]])))


def test_unknown_ids_of_both_sides_are_counted_and_listed(tmp_path: Path) -> None:
    lines = "".join(f"new {n},x,1\n1,{n + 100},1\n" for n in range(7))
    message = csv_fault(tmp_path, f"film,user,stars\n1,x,1\n{lines}new 3,z,1\n")
    assert "column 'film': 7 ids are not among the row ids: 'new 0' (row 2), 'new 1' (row 4)" in message
    assert "'new 4' (row 10) and 2 more; column 'user': 7 ids are not among the column ids: '100' (row 3)" in message


@pytest.mark.parametrize(
    ("cell", "found"),
    [
        ("many", "expected a finite number, found 'many'"),
        ("inf", "expected a finite number, found 'inf'"),
        ("-1e999", "expected a finite number, found '-1e999'"),
        ("0x10", "expected a finite number, found '0x10'"),
        ("", "the value is missing"),
        ("NaN", "the value is missing"),
        ("n/a", "the value is missing"),
    ],
)
def test_values_that_are_no_finite_numbers(tmp_path: Path, cell: str, found: str) -> None:
    text = f"film,user,stars\n1,x,1\n2,x,{cell}\n1,z,worse\n"
    assert csv_fault(tmp_path, text).split(".csv: ")[1].startswith(f"row 2, column 'stars': {found}; ")


def test_values_of_frames_that_are_no_numbers() -> None:
    for values, found in (
        ([1, "two", 3], "row 2, column 'v': expected a finite number, found 'two'"),
        ([1, 2, None], "row 3, column 'v': the value is missing"),
        ([1, 2, np.inf], "row 3, column 'v': expected a finite number, found inf"),
        ([b"1", 2, 3], "row 1, column 'v': expected a finite number, found b'1'"),
    ):
        frame = pd.DataFrame({"r": [1, 1, 1], "c": COLUMNS, "v": pd.Series(values, dtype=object)})
        assert f"the DataFrame: {found}" in fault(lambda frame=frame: pairs_from_frame(frame, ROWS, COLUMNS))  # type: ignore[misc]


def test_numbers_of_other_types(tmp_path: Path) -> None:
    for values in (pd.Series([True, False, True]), pd.Series(["1", "0", "1"]), pd.Series([1, 0, 1], dtype="Int8")):
        frame = pd.DataFrame({"r": [1, 1, 1], "c": COLUMNS, "v": values})
        assert pairs_from_frame(frame, ROWS, COLUMNS).values.tolist() == [1, 0, 1]
        assert read_pairs(write(frame, tmp_path / "p.parquet"), ROWS, COLUMNS).values.tolist() == [1, 0, 1]
    big = pd.DataFrame({"r": [1], "c": ["x"], "v": [2**60 + 1]})
    assert read_pairs(write(big, tmp_path / "p.parquet"), ROWS, COLUMNS).values.tolist() == [float(2**60)]


def test_ids_that_are_missing(tmp_path: Path) -> None:
    assert "row 2, column 'user': the id is missing" in csv_fault(tmp_path, "film,user,stars\n1,x,1\n2, ,1\n")
    for cells in (["x", None], ["x", float("nan")], ["x", "  "]):
        frame = pd.DataFrame({"r": [1, 2], "c": pd.Series(cells, dtype=object)})
        assert "row 2, column 'c': the id is missing" in fault(lambda frame=frame: pairs_from_frame(frame, ROWS, COLUMNS))  # type: ignore[misc]
    frame = pd.DataFrame({"r": [1.0, None], "c": ["x", "z"]})
    file = write(frame, tmp_path / "p.parquet")
    assert "row 2, column 'r': the id is missing" in fault(lambda: read_pairs(file, ROWS, COLUMNS))


def test_pairs_that_are_there_twice(tmp_path: Path) -> None:
    text = "film,user,stars\n1,x,1\n1,7,1\n2,x,2\n1,7,1\n1,x,3\n"
    assert "the pair '1', '7' is in rows 2 and 4; keep one of the two" in csv_fault(tmp_path, text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("film,user,stars\n", "there are no pairs"),
        ("film\n1\n", "expected columns of row ids, column ids and values"),
        ("film,user,stars\n1,x,1\n1,z\n2,x,1\n", "row 2 has 2 cells but the header has 3"),
        ("\nfilm,user,stars\n\n1,x,1\n\n1,z\n", "row 2 has 2 cells"),
        ("film,film,stars\n1,x,1\n", "duplicate column names (film)"),
        ("1,x,5\n1,z,2\n", "the header (1, x, 5) is itself a pair of known ids"),
        (b"film,user,stars\n1,x,1\n\xe9,x,2\n", "not UTF-8, byte 0xe9 at position 22 (line 3)"),
        (b"\xe9film,user,stars\n1,x,1\n", "not UTF-8, byte 0xe9 at position 0 (line 1)"),
    ],
)
def test_files_that_are_no_table_of_pairs(tmp_path: Path, text: str | bytes, found: str) -> None:
    assert found in csv_fault(tmp_path, text)


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    text = "film,user,stars\n1,x,1\n"
    message = csv_fault(tmp_path, text, ["film", "person", "stars"])
    assert "there is no column 'person'; its columns are film, user, stars" in message
    for names in (["film"], ["film", "film"], ["film", "user", "stars", "more"]):
        found = fault(lambda names=names: read_pairs(csv_file(tmp_path, text), ROWS, COLUMNS, names), OptionError)  # type: ignore[misc]
        assert "two or three different columns" in found


def test_paths_that_lead_nowhere(tmp_path: Path) -> None:
    assert "there is no such file" in fault(lambda: read_pairs(tmp_path / "none.csv", ROWS, COLUMNS))
    assert "there is no such file" in fault(lambda: read_pairs(tmp_path / "none.parquet", ROWS, COLUMNS))
    assert "unknown suffix '.xls'; known are .csv, .tsv, .parquet" in fault(lambda: read_pairs(tmp_path / "p.xls", ROWS, COLUMNS))
    broken = tmp_path / "p.parquet"
    broken.write_bytes(b"PAR1")
    assert "not a readable parquet file" in fault(lambda: read_pairs(broken, ROWS, COLUMNS))


def test_ids_of_other_types(tmp_path: Path) -> None:
    frame = pd.DataFrame({"r": pd.Categorical(["a b", "é"]), "c": ["x", "x"]})
    assert pairs_from_frame(frame, ROWS, COLUMNS).rows.tolist() == [2, 3]
    assert read_pairs(write(frame, tmp_path / "p.parquet"), ROWS, COLUMNS).rows.tolist() == [2, 3]
    narrow = pa.DictionaryArray.from_arrays(pa.array([1, None, 0], pa.uint8()), ["1", "2"])
    parquet.write_table(pa.table({"r": narrow, "c": ["x", "x", "x"]}), tmp_path / "n.parquet")
    assert "row 2, column 'r': the id is missing" in fault(lambda: read_pairs(tmp_path / "n.parquet", ROWS, COLUMNS))
    parquet.write_table(pa.table({"r": pa.nulls(2), "c": ["x", "x"]}), tmp_path / "0.parquet")
    assert "row 1, column 'r': the id is missing" in fault(lambda: read_pairs(tmp_path / "0.parquet", ROWS, COLUMNS))
    lists = pd.DataFrame({"r": [[1], [2]], "c": ["x", "x"]})
    assert "column 'r' holds no single values" in fault(lambda: pairs_from_frame(lists, ROWS, COLUMNS))
    fault(lambda: read_pairs(write(lists, tmp_path / "l.parquet"), ROWS, COLUMNS))


def test_braces_in_a_name_stay_what_they_are() -> None:
    frame = pd.DataFrame({"r{0}": [1], "c": ["x"], "{v}": ["?"]})
    message = fault(lambda: pairs_from_frame(frame, ROWS, COLUMNS, name="{table}"))
    assert message.startswith("{table}: row 1, column '{v}': expected a finite number")


def test_the_items_need_ids_of_their_own() -> None:
    for ids in (["1", 1], [None, "1"], []):
        assert "each once" in fault(lambda ids=ids: pairs_from_frame(FRAME, ids, COLUMNS))  # type: ignore[misc]
    assert "there are no pairs" in fault(lambda: pairs_from_frame(FRAME.iloc[:0], ROWS, COLUMNS))


@given(st.data())
def test_what_is_written_is_read(data: st.DataObject) -> None:
    cells = data.draw(st.sets(st.tuples(st.integers(0, 5), st.integers(0, 4)), min_size=1))
    values = data.draw(st.lists(st.floats(-1e6, 1e6), min_size=len(cells), max_size=len(cells)))
    frame = pd.DataFrame([(f"r{row}", column, value) for (row, column), value in zip(cells, values, strict=True)])
    found = pairs_from_frame(frame, [f"r{row}" for row in range(6)], range(5))
    assert list(zip(found.rows, found.columns, found.values, strict=True)) == [
        (*cell, value) for cell, value in zip(cells, values, strict=True)
    ]
    dense = with_absent(found)
    assert len(dense) == 30
    np.testing.assert_array_equal(dense.rows * 5 + dense.columns, np.arange(30))
    np.testing.assert_array_equal(dense.values[found.rows * 5 + found.columns], found.values)
    assert np.count_nonzero(dense.values) == np.count_nonzero(found.values)


def test_too_many_cells_are_refused() -> None:
    few = np.zeros(1, dtype=np.int64)
    message = fault(lambda: with_absent(Pairs(few, few, np.ones(1), 10_001, 5_000)), OptionError)
    assert re.search(r"10001 x 5000 are 50005000 cells, more than 50000000; take fewer items", message)


def test_select_takes_masks_and_positions() -> None:
    found = pairs_from_frame(FRAME, ROWS, COLUMNS)
    assert_pairs(found.select([2, 0]), [2, 3], [0, 0], [-1.0, 5.0])
    assert_pairs(found.select(found.values > 0), [3, 0], [0, 1], [5.0, 2.5])
    assert len(found.select([])) == len(found.select(np.zeros(4, dtype=bool))) == 0
    with pytest.raises(IndexError):
        found.select([True, False])


@pytest.mark.slow
def test_ten_million_pairs_fit_in_memory(tmp_path: Path) -> None:
    import subprocess
    import sys

    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc for the most memory that a process had: rusage counts what its parent had as well")
    n_rows, n_columns = 20_000, 500
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from genz_ppl.data.pairs import read_pairs\n"
        f"found = read_pairs(sys.argv[1], [f'r{{n}}' for n in range({n_rows})], range({n_columns}))\n"
        f"assert len(found) == {n_rows * n_columns}\n"
        "print(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0])"
    )
    file = tmp_path / "p.csv"
    with file.open("w") as lines:
        lines.write("r,c,v\n")
        for row in range(n_rows):
            lines.write("".join(f"r{row},{column},{(row + column) % 7}.25\n" for column in range(n_columns)))
    done = subprocess.run([sys.executable, "-c", script, str(file)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 2_000_000  # kilobytes
