"""The ratings behind the targets of a source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_films import write_films

from genz_ppl.data import open_source
from genz_ppl.data.embeddings import item_embeddings
from genz_ppl.data.sources import open_ratings
from genz_ppl.errors import OptionError


@pytest.mark.parametrize("options", ["", ",alpha=0.5", ",items=7"])
def test_they_make_the_targets(tmp_path: Path, options: str) -> None:
    source = write_films(tmp_path, 12, 20) + options
    table, items = open_ratings(source), open_source(source)
    assert table is not None
    assert table.ratings.shape == (len(table.items), len(table.users))
    made = item_embeddings(table.ratings, table.dimensions, table.alpha)
    assert items.targets is not None
    np.testing.assert_array_equal(made[[table.items.index(name) for name in items.ids]], items.targets)


def test_who_rated_what(tmp_path: Path) -> None:
    source = write_films(tmp_path, 12, 20)
    table = open_ratings(source)
    assert table is not None
    for line in (tmp_path / "ratings.dat").read_text().splitlines():
        user, film, stars, _ = (int(cell) for cell in line.split("::"))
        assert table.ratings[table.items.index(str(film)), table.users.tolist().index(user)] == stars


def test_netflix_too(tmp_path: Path) -> None:
    (tmp_path / "combined_data_1.txt").write_text("3:\n70,5,2005-01-01\n9,2,2005-01-01\n5:\n9,4,2005-01-01\n12,1,2005-01-01\n")
    table = open_ratings(f"netflix:{tmp_path},dimensions=2")
    assert table is not None
    assert (table.items, table.users.tolist(), table.dimensions) == (("3", "5"), [9, 12, 70], 2)
    np.testing.assert_array_equal(table.ratings.toarray(), [[2, 0, 5], [4, 1, 0]])


def test_the_usual_dimensions_are_those_of_the_items(data_folder: Path) -> None:
    folder = data_folder / "ml-1m"
    if not folder.is_dir():
        pytest.skip(f"needs the MovieLens data, and there are none at {folder}")
    table = open_ratings(f"movielens:{folder}")
    assert table is not None
    assert (table.dimensions, table.alpha) == (32, 0.0)


def test_sources_without_ratings() -> None:
    assert open_ratings("binary") is None
    assert open_ratings("flats.csv") is None
    with pytest.raises(OptionError, match="neither a file"):
        open_ratings("movilens:x")
