from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from genz_ppl.data import open_like, open_source
from genz_ppl.data.houses import houses_items
from genz_ppl.errors import InputError, OptionError

ROWS = ["4 4 4053 85255 869500", "3 2.5 3343 06372 865200", "4 4 4053 85255 869500", "2 1 900 92276 99900", "2 1 900 92276 89900"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inner = tmp_path / "Houses-dataset"
    inner.mkdir()
    (inner / "HousesInfo.txt").write_text("\n".join(ROWS) + "\n")
    for name in ("1_frontal.jpg", "1_kitchen.jpg", "2_bathroom.jpg", "9_kitchen.jpg", "1_garden.jpg"):
        (inner / name).write_bytes(b"jpg")
    notes = [
        {"house": 3, "pool": True, "stories": 2.0, "text": "Stucco."},
        {"house": 1, "pool": None, "stories": 1.5, "text": "Brick."},
    ]
    (tmp_path / "annotations.jsonl").write_text("\n".join(json.dumps(note) for note in notes))
    return tmp_path


def test_what_a_house_is(folder: Path) -> None:
    items = open_source(f"houses:{folder}")
    assert items.ids == ("1", "2", "3", "4", "5")
    assert items[0].fields == {
        "bedrooms": 4, "bathrooms": 4, "area": 4053, "zipcode": "85255", "pool": None, "stories": 1.5, "description": "Brick."
    }  # fmt: skip
    assert items[1].text == "bedrooms: 3\nbathrooms: 2.5\narea: 3343\nzipcode: 06372"
    assert items[2].text.endswith("pool: true\nstories: 2\ndescription: Stucco.")
    assert [path.name for path in items[0].images] == ["1_frontal.jpg", "1_kitchen.jpg"]
    assert [path.name for path in items[1].images] == ["2_bathroom.jpg"]
    assert items[3].images == ()
    assert items.target_names == ("log_price",)
    assert items.targets is not None
    np.testing.assert_allclose(items.targets[:, 0], [math.log(float(row.split()[4])) for row in ROWS])
    assert items.covariate_names == ("area", "bedrooms", "bathrooms")
    assert items.covariates[1].tolist() == [3343, 3, 2.5]


def test_the_price_and_the_listing_are_never_read(folder: Path) -> None:
    for item in open_source(f"houses:{folder}", group="listing"):
        assert not {"price", "log_price", "listing", "house"} & set(item.fields)
        assert "price" not in item.text
        assert "869500" not in item.text


def test_double_listings_are_known_and_kept_together_when_asked(folder: Path) -> None:
    items = open_source(f"houses:{folder}")
    assert items.group_labels == ("1", "2", "1", "4", "4")
    np.testing.assert_array_equal(items.split_indices(0).train, np.random.RandomState(0).permutation(5)[:4])
    grouped = open_source(f"houses:{folder}", group="listing")
    for seed in range(10):
        train = set((grouped.split_indices(seed, 0.4).train + 1).tolist())
        assert len({1, 3} & train) in (0, 2)
        assert len({4, 5} & train) in (0, 2)


def test_without_annotations(folder: Path) -> None:
    items = open_source(f"houses-metadata:{folder}")
    assert list(items[0].fields) == ["bedrooms", "bathrooms", "area", "zipcode"]
    (folder / "annotations.jsonl").unlink()
    assert open_source(f"houses:{folder}").fingerprint() == items.fingerprint()


def test_the_inner_folder_will_do(folder: Path) -> None:
    assert houses_items(folder / "Houses-dataset").fingerprint() == houses_items(folder).fingerprint()


def test_open_like_a_run_on_houses(folder: Path) -> None:
    items = open_source(f"houses:{folder}")
    assert open_like(f"houses:{folder}", items.schema).fingerprint() == items.fingerprint()
    with pytest.raises(InputError, match=r"no column 'pool' \(text\)"):
        open_like(f"houses-metadata:{folder}", items.schema)


def test_a_missing_folder_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected Houses-dataset/HousesInfo\.txt in this folder"):
        open_source(f"houses:{tmp_path}")


@pytest.mark.parametrize("line", ["1 2 3 4", "1 2 3 4 five", "1 2 3 4 0", "1 2 nan 4 5"])
def test_a_broken_row_says_its_line(folder: Path, line: str) -> None:
    (folder / "Houses-dataset" / "HousesInfo.txt").write_text(f"{ROWS[0]}\n{line}\n")
    with pytest.raises(InputError, match=f"line 2: expected five numbers .* found '{line}'"):
        houses_items(folder)


@pytest.mark.parametrize(
    ("note", "expected"),
    [
        ({"house": 6}, "row 1: expected a house from 1 to 5, each once, found 6"),
        ({"pool": 1}, "expected the key 'house'"),
        ({"house": 1, "price": 5}, "the key 'price' clashes"),
        ({"house": 1, "area": 5}, "the key 'area' clashes"),
        ({"house": 1, "text": "a", "description": "b"}, "the key 'description' clashes"),
    ],
)
def test_broken_annotations(folder: Path, note: dict[str, object], expected: str) -> None:
    (folder / "annotations.jsonl").write_text(json.dumps(note))
    with pytest.raises(InputError, match=expected):
        houses_items(folder)


def test_the_real_houses(data_folder: Path) -> None:
    folder = data_folder / "houses"
    if not folder.is_dir():
        pytest.skip(f"needs the house data, and there are none at {folder}")
    items = open_source(f"houses:{folder}")
    assert len(items) == 535
    assert all(len(item.images) == 4 for item in items)
    assert items.targets is not None
    assert items.targets[0, 0] == pytest.approx(math.log(869500))
    assert len(items.split_indices(0).train) == 428
    assert items.group_labels is not None
    assert items.group_labels[71] == items.group_labels[58] == "59"


def test_effects_may_vary_by_the_zip_code_only(folder: Path) -> None:
    items = open_source(f"houses:{folder}", varying="zipcode")
    assert items.varying_labels == ("85255", "06372", "85255", "92276", "92276")
    assert items.schema.varying == "zipcode"
    assert open_like(f"houses:{folder}", items.schema).varying_labels == items.varying_labels
    with pytest.raises(OptionError, match="houses vary by 'zipcode' only, not by 'area'"):
        open_source(f"houses:{folder}", varying="area")
    with pytest.raises(OptionError, match="'binary' has no groups: drop --varying"):
        open_source("binary", varying="value")
