from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from genz_ppl.data import Schema, open_like, open_source
from genz_ppl.data.binary import BINARY_SCHEMA, binary_items
from genz_ppl.errors import InputError, OptionError


@pytest.fixture
def table(tmp_path: Path) -> Path:
    frame = pd.DataFrame(
        {"key": ["u", "v", "w"], "title": ["Up", "Heat", "Alien"], "year": [2009, 1995, 1979], "y": [1.0, 2.0, 4.0]}
    )
    frame.to_csv(tmp_path / "films.csv", index=False)
    return tmp_path / "films.csv"


def test_binary_is_the_papers() -> None:
    items = open_source("binary")
    assert items.ids == tuple(str(number) for number in range(512))
    assert items[137].text == "137"
    assert items[137].fields == {"n": 137}
    assert type(items[137].fields["n"]) is int
    assert items.targets is not None
    np.testing.assert_array_equal(items.targets, np.arange(512.0)[:, None])
    assert items.target_names == ("value",)
    assert replace(items.schema, readings=()) == BINARY_SCHEMA
    assert len(binary_items(16)) == 16
    with pytest.raises(OptionError, match="at least 2, not 1"):
        binary_items(1)


def test_a_file_by_its_path(table: Path) -> None:
    items = open_source(str(table), id="key", target="y", text="{title} ({year})")
    assert [item.text for item in items] == ["Up (2009)", "Heat (1995)", "Alien (1979)"]
    assert items.name == "films.csv"


def test_a_file_needs_a_target(table: Path) -> None:
    with pytest.raises(OptionError, match=r"name the column to explain with --target \(numeric columns: year, y\)"):
        open_source(str(table))
    items = open_source(str(table), id="key", require_target=False)
    assert items.targets is None
    assert items.target_names == ()


@pytest.mark.parametrize(
    ("source", "options", "expected"),
    [
        ("binary", {"target": "value", "id": "n"}, "knows its own columns: drop --id, --target"),
        ("binary", {"text": "n"}, "drop --text"),
        ("binary", {"covariates": ["n"]}, "drop --covariate"),
        ("binary", {"images": "n"}, "drop --image"),
        ("binary", {"split": "n"}, "drop --split"),
        ("binary", {"group": "n"}, "'binary' has no groups: drop --group"),
        ("binary:9", {}, "'binary' takes nothing after its name"),
        ("houses", {}, "'houses' needs a folder: write houses:DIR"),
        ("houses-metadata:", {}, "write houses-metadata:DIR"),
        ("houses:nowhere", {"group": "zipcode"}, "houses are grouped by 'listing' only, not by 'zipcode'"),
        ("movielens", {}, "'movielens' needs a folder: write movielens:DIR"),
        ("movielens:,items=5", {}, "'movielens' needs a folder: write movielens:DIR"),
        ("movielens:x", {"target": "dimension_1"}, "drop --target"),
        ("movielens:x", {"group": "year"}, "'movielens' has no groups: drop --group"),
        ("netflix:x", {"group": "year"}, "'netflix' has no groups: drop --group"),
        ("things:x", {"group": "category"}, "'things' has no groups: drop --group"),
        ("things:x", {"classes": True}, "has numbers to explain, not classes"),
        ("movielens-plots:x,item=5", {}, "'movielens-plots' has no option 'item': it knows items, dimensions, alpha"),
        ("netflix:x,items=5,items=6", {}, "the option 'items' of 'netflix' is there twice"),
        ("netflix:x,items=many", {}, "the option 'items' of 'netflix' must be a whole number, not 'many'"),
        ("netflix:x,items=2.5", {}, "must be a whole number, not '2.5'"),
        ("netflix:x,alpha=", {}, "the option 'alpha' of 'netflix' must be a number, not ''"),
        ("netflix:x,alpha=-1", {}, "alpha must be from 0 to 1, not -1"),
        ("movie:x", {}, "known are binary, houses:DIR"),
        ("house:x", {}, "did you mean 'houses'? known are binary, houses:DIR"),
        ("https:/x", {}, "neither a file (.csv, .tsv, .jsonl, .json, .parquet, .xlsx) nor a named data set"),
    ],
)
def test_sources_that_cannot_be(source: str, options: dict[str, str], expected: str) -> None:
    with pytest.raises(OptionError) as error:
        open_source(source, **options)  # type: ignore[arg-type]
    assert expected in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["movielens", "netflix"])
@pytest.mark.parametrize("folder", ["films", "films, two", "a=b", "x,items=5/films", "/tmp/nowhere,alpha"])
def test_options_stand_after_the_folder_whatever_its_name(name: str, folder: str) -> None:
    for options in ("", ",items=9", ",alpha=0.5,dimensions=2,items=9"):
        with pytest.raises(InputError) as error:
            open_source(f"{name}:{folder}{options}")
        assert str(error.value).startswith(f"{folder}: expected ")


@pytest.mark.parametrize("source", ["nowhere.csv", "a:b.jsonl", "./nowhere", "C:\\data.csv", "../x.parquet"])
def test_a_path_that_is_not_there(source: str) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        open_source(source, target="y")


def test_open_like_takes_the_roles_and_needs_no_target(table: Path, tmp_path: Path) -> None:
    trained = open_source(str(table), id="key", target="y", covariates="year")
    new = tmp_path / "new.csv"
    new.write_text("extra,year,title,key\n?,2024,Dune,z\n")
    items = open_like(str(new), Schema.from_dict(trained.schema.to_dict()))
    assert items.targets is None
    assert items.ids == ("z",)
    assert items[0].text == "title: Dune\nyear: 2024"  # in the order of training, without the extra column
    assert items.covariates.tolist() == [[2024.0]]


def test_open_like_keeps_readable_targets_and_forgets_the_split(table: Path) -> None:
    schema = Schema(target=("y",), text=("title",), split="part", group=None)
    items = open_like(str(table), schema)
    assert items.targets is not None
    assert items.targets.tolist() == [[1.0], [2.0], [4.0]]
    assert items.schema.split is None


def test_open_like_names_the_missing_column(table: Path) -> None:
    with pytest.raises(InputError, match=r"no column 'Titel' \(text\); did you mean 'title'\? columns: key, title, year, y"):
        open_like(str(table), Schema(text=("Titel",)))
    with pytest.raises(InputError, match=r"no column 'area' \(covariate\)"):
        open_like("binary", Schema(covariates=("area",), text=("n",)))


def test_open_like_goes_between_named_sources_and_files(tmp_path: Path) -> None:
    assert open_like("binary", BINARY_SCHEMA).fingerprint() == open_source("binary").fingerprint()
    path = tmp_path / "numbers.csv"
    path.write_text("n\n600\n7\n")
    assert [item.text for item in open_like(str(path), BINARY_SCHEMA)] == ["600", "7"]
