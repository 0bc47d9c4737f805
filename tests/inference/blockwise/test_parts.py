"""Tables of parquet files as blocks, and predictions for the items of blocks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference import fit
from genz_ppl.inference.blockwise.files import read_block, write_blocks
from genz_ppl.inference.blockwise.fit import fit_blocks
from genz_ppl.inference.blockwise.parts import blocks_from, column_names
from genz_ppl.inference.blockwise.predictions import predict_blocks
from genz_ppl.inference.blockwise.runners import OnDask
from tests.inference.blockwise.conftest import made


@pytest.fixture
def table() -> pd.DataFrame:
    h, y, x = made(500, 3, 2)
    frame = pd.DataFrame({"price": y[:, 0], "age": y[:, 1], "area": x[:, 0].astype(np.float32), "name": "a"})
    frame["red?"] = pd.array(h[:, 0], dtype="Float64").astype("boolean")
    frame["big?"] = h[:, 1]
    return frame.assign(**{"old?": (h[:, 2] > 0.5).astype(np.int64)})


@pytest.mark.parametrize("cuts", [[500], [70, 71, 300, 500]])
def test_parts_of_any_size_become_blocks(table: pd.DataFrame, tmp_path: Path, cuts: list[int]) -> None:
    (tmp_path / "parts").mkdir()
    for number, (start, end) in enumerate(zip([0, *cuts], cuts, strict=False)):
        table[start:end].to_parquet(tmp_path / "parts" / f"{number}.parquet", row_group_size=64)
    files = blocks_from(tmp_path / "parts", tmp_path / "blocks", ["old?", "red?", "big?"], ["price", "age"], ["area"], rows=120)
    assert [pq.read_metadata(file).num_rows for file in files] == [120, 120, 120, 120, 20]
    blocks = [read_block(str(file)) for file in files]
    for name, row in (("old?", 0), ("red?", 1), ("big?", 2)):
        expected = table[name].astype("Float64").to_numpy(dtype=float, na_value=np.nan)
        signs = np.concatenate([block.signs[row] for block in blocks])
        np.testing.assert_array_equal(signs, np.nan_to_num(2 * expected - 1))
    targets = np.concatenate([block.targets for block in blocks])
    assert targets.dtype == np.float32
    np.testing.assert_array_equal(targets, table[["price", "age"]].to_numpy(dtype=np.float32))
    assert column_names(tmp_path / "blocks") == {
        "answer": ["old?", "red?", "big?"],
        "target": ["price", "age"],
        "covariate": ["area"],
    }


def test_tables_that_are_no_blocks_are_refused(table: pd.DataFrame, tmp_path: Path) -> None:
    table.to_parquet(tmp_path / "t.parquet")
    source, out = tmp_path / "t.parquet", tmp_path / "out"
    out.mkdir()
    with pytest.raises(InputError, match="expected a column 'blue\\?', found none"):
        blocks_from(source, out, ["blue?"], ["price"])
    with pytest.raises(InputError, match="column 'name': expected answers 1 and 0, or true and false"):
        blocks_from(source, out, ["name"], ["price"])
    with pytest.raises(InputError, match="column 'name': expected numbers"):
        blocks_from(source, out, ["big?"], ["name"])
    with pytest.raises(InputError, match=r"expected a \.parquet file, or a folder of them, found none"):
        blocks_from(out, tmp_path / "other", ["big?"], ["price"])
    (tmp_path / "broken.parquet").write_text("no table")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        blocks_from(tmp_path / "broken.parquet", out, ["big?"], ["price"])
    blocks_from(source, out, ["big?"], ["price"])
    with pytest.raises(OptionError, match="holds blocks already"):
        blocks_from(source, out, ["big?"], ["price"])


@pytest.mark.parametrize(
    ("column", "wrong", "expected"),
    [
        ("big?", 2.0, "row 300, column 'big\\?': expected 1, 0 or nothing, found 2"),
        ("price", np.nan, "row 300, column 'price': expected a finite number, found nothing"),
        ("area", np.inf, "row 300, column 'area': expected a finite number, found inf"),
    ],
)
def test_a_wrong_cell_is_named_by_its_file_row_and_column(
    table: pd.DataFrame, tmp_path: Path, column: str, wrong: float, expected: str
) -> None:
    table.loc[299, column] = wrong
    table.to_parquet(tmp_path / "t.parquet", row_group_size=64)
    with pytest.raises(InputError, match=f"t.parquet: {expected}"):
        blocks_from(tmp_path / "t.parquet", tmp_path / "out", ["old?", "red?", "big?"], ["price", "age"], ["area"])


def test_predictions_are_those_in_memory(tmp_path: Path, dask: OnDask) -> None:
    h, y, x = made(1000, 4, 2)
    write_blocks(tmp_path / "train", h[:600], y[:600], x[:600], rows=250)
    write_blocks(tmp_path / "new", h[600:], y[600:], x[600:], rows=130)
    found = fit_blocks(tmp_path / "train", 8)
    usual = fit(h[:600], y[:600], x[:600], inference="coordinate", steps=8, calibration=0.0, shrinkage=False)
    files = predict_blocks(found, tmp_path / "new", tmp_path / "out")
    frame = pd.concat([pd.read_parquet(file) for file in files])
    assert list(frame) == ["mean_0", "sd_0", "mean_1", "sd_1"]
    np.testing.assert_allclose(frame[["mean_0", "mean_1"]], usual.predict(h[600:], x[600:]), rtol=1e-6)
    drawn = usual.predict_interval(h[600:], x[600:]).sd  # of 400 draws
    np.testing.assert_allclose(frame[["sd_0", "sd_1"]], drawn, rtol=0.25)
    kept = files[0].stat().st_mtime_ns
    files[1].unlink()
    predict_blocks(found, tmp_path / "new", tmp_path / "out", dask)
    assert files[0].stat().st_mtime_ns == kept
    np.testing.assert_array_equal(pd.concat([pd.read_parquet(file) for file in files]), frame)
    with pytest.raises(OptionError, match="holds the blocks themselves"):
        predict_blocks(found, tmp_path / "new", tmp_path / "new")
    write_blocks(tmp_path / "other", h, y[:, :1], x)
    with pytest.raises(InputError, match="4 or more answers, 2 targets and 2 covariates, got 4, 1 and 2"):
        predict_blocks(found, tmp_path / "other", tmp_path / "never")
