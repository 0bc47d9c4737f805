"""Wrong data and options: exit 2, one line on stderr that names the place, nothing written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Spoil = Callable[[pd.DataFrame], pd.DataFrame]


def spoilt(column: str, row: int, value: object) -> Spoil:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        cells = frame[column].tolist()
        cells[row] = value
        return frame.assign(**{column: pd.Series(cells, dtype=object)})

    return spoil


SPOILT_TABLES: list[tuple[Spoil, list[str]]] = [
    (spoilt("y", 3, "cheap"), ["toy.csv", "'y'", "row 4", "'k3'", "'cheap'"]),
    (spoilt("y", 7, np.inf), ["'y'", "row 8", "'k7'", "inf"]),
    (lambda frame: frame.assign(y=2.0), ["'y'", "is 2 wherever", "nothing to explain"]),
    (lambda frame: frame.assign(y=np.nan), ["'y'", "no values"]),
    (spoilt("key", 5, "k1"), ["'k1'", "rows 2 and 6"]),
    (spoilt("key", 5, None), ["'key'", "row 6"]),
    (lambda frame: frame[:1], ["one row"]),
    (lambda frame: frame[:0], ["header but no row"]),
    (lambda frame: frame.drop(columns="key"), ["'key'", "(id)"]),
    (lambda frame: frame.drop(columns="y").assign(Y=1.0), ["'y'", "(target)", "did you mean 'Y'"]),
    (lambda frame: frame[["key", "y"]], ["no column is left for a model to read"]),
]


@pytest.mark.parametrize(("spoil", "expected"), SPOILT_TABLES)
def test_a_spoilt_table(fit: Any, frame: pd.DataFrame, table: Path, spoil: Spoil, expected: list[str]) -> None:
    spoil(frame).to_csv(table, index=False)
    outcome = fit("toy.csv", "deep/out")
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.message.startswith("genz: toy.csv")
    for part in expected:
        assert part in outcome.message
    assert not Path("deep").exists()


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (None, "no such file"),
        (b"", "the file is empty"),
        ("key,note,y\nä,b,1\n".encode("latin-1"), "not UTF-8, byte 0xe4 at position 11 (line 2)"),
        (b"key,note,y\n1,2\n", "line 2 has 2 cells but the header has 3"),
    ],
)
def test_a_file_that_is_no_table(fit: Any, tmp_path: Path, content: bytes | None, expected: str) -> None:
    if content is not None:
        (tmp_path / "toy.csv").write_bytes(content)
    outcome = fit("toy.csv", "out")
    assert outcome.code == 2
    assert "toy.csv" in outcome.message
    assert expected in outcome.message
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("--model nix", "unknown model 'nix'"),
        ("--model table:nowhere.csv", "nowhere.csv"),
        ("--model nowhere:Model", "'nowhere:Model' could not be made"),
        ("--link nix", "--link: expected one of linear, interaction, neural, got 'nix'"),
        ("--likelihood nix", "--likelihood: expected one of"),
        ("--inference nix", "--inference: expected one of"),
        ("--algorithm nix", "--algorithm: expected one of"),
        ("--polarity nix", "--polarity: expected one of"),
        ("--test-fraction 0.999", "leaves 0 train and 40 test items"),
        ("--test-fraction 0.001", "leaves 40 train and 0 test items"),
        ("--test-fraction 1", "--test-fraction must lie between 0 and 1"),
        ("--cycles 0", "--cycles: expected a whole number of at least 1, got 0"),
        ("--max-features 0", "--max-features: expected"),
        ("--smallest-share 0.9", "--smallest-share: expected a number from 0 to 0.5"),
        ("--seed -1", "--seed: expected"),
        ("--covariate nix", "'nix' (covariate)"),
        ("--covariate colour", "covariate 'colour', row 1"),
        ("--text y", "'y' is the target, which a model must not read"),
        ("--text {nix}", "'nix' (text)"),
        ("--split colour", "split column 'colour', row 1"),
        ("--group nix", "'nix' (group)"),
        ("--image colour", "image 'colour', row 1"),
        ("--config nowhere.toml", "--config nowhere.toml: cannot be read"),
    ],
)
def test_a_wrong_option(fit: Any, table: Path, options: str, expected: str) -> None:
    outcome = fit(table.name, "out", *options.split())
    assert outcome.code == 2
    assert expected in outcome.message
    assert not Path("out").exists()


@pytest.mark.slow
def test_a_folder_that_holds_something(fit: Any, table: Path, tmp_path: Path) -> None:
    assert fit(table.name, "out").code == 0
    before = {path.name: path.read_bytes() for path in Path("out").iterdir()}
    outcome = fit(table.name, "out")
    assert outcome.code == 2
    assert "--out out: holds another run; go on with it by 'genz resume out'" in outcome.message
    assert {path.name: path.read_bytes() for path in Path("out").iterdir()} == before
    assert "not empty" in fit(table.name, tmp_path).message
    assert "found a file" in fit(table.name, table.name).message
    assert "cannot be made" in fit(table.name, f"{table.name}/out").message


@pytest.mark.parametrize(("value", "expected"), [(1.0, "is 1 wherever"), (np.nan, "has no values")])
def test_a_target_that_varies_among_test_items_only(
    fit: Any, frame: pd.DataFrame, table: Path, value: float, expected: str
) -> None:
    frame["part"] = ["train"] * 30 + ["test"] * 10
    frame.loc[:29, "y"] = value
    frame.to_csv(table, index=False)
    outcome = fit(table.name, "out", "--split", "part")
    assert outcome.code == 2
    assert f"target 'y' {expected}" in outcome.message
    assert "among the training items" in outcome.message
    assert not Path("out").exists()


@pytest.mark.slow
def test_single_missing_targets_are_fine(fit: Any, frame: pd.DataFrame, table: Path) -> None:
    frame.loc[[1, 8, 20], "y"] = np.nan
    frame.to_csv(table, index=False)
    outcome = fit(table.name, "out")
    assert outcome.code == 0
    assert "colour is red" in outcome.out


@pytest.mark.slow
def test_a_cell_of_ten_megabytes_is_fine(fit: Any, frame: pd.DataFrame, table: Path) -> None:
    spoilt("colour", 3, "word " * 2_000_000)(frame).to_csv(table, index=False)
    outcome = fit(table.name, "out")
    assert outcome.code == 0
    assert "colour is red" in outcome.out


@pytest.mark.slow
def test_a_readable_column_that_gives_the_target_away(fit: Any, frame: pd.DataFrame, table: Path) -> None:
    frame.assign(price=np.exp(frame["y"]), linear=7 - 3 * frame["y"]).to_csv(table, index=False)
    outcome = fit(table.name, "out", "--quiet")
    assert outcome.code == 0
    warnings = outcome.err.splitlines()
    assert len(warnings) == 2
    for column, line in zip(("price", "linear"), warnings, strict=True):
        assert line.startswith(f"genz: note: toy.csv: column '{column}' tells almost all of target 'y' (R² 1.00)")
        assert "leave it out with --drop" in line
    silent = fit(table.name, "other", "--quiet", "--drop", "price", "--drop", "linear")
    assert silent.err == ""
