from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from genz_ppl.data import open_like, open_source
from genz_ppl.data.things import things_items
from genz_ppl.errors import InputError

HEADER = (
    "Word\tuniqueID\tBottom-up Category (Human Raters)\tTop-down Category (WordNet)\tTop-down Category (manual selection)\t"
    "All Bottom-up Categories\t\"Definition (from WordNet, Google, or Wikipedia)\"\tBNC freq"
)  # fmt: skip
ROWS = [
    'bat\tbat2\t\t"equipment, club"\tsports equipment\t"bat, club"\ta club for hitting a ball\t5',
    "aardvark\taardvark\tanimal\tanimal\tanimal\tanimal\tnocturnal burrowing mammal\t",
    "bat\tbat1\tanimal\tanimal\t\tanimal\tnocturnal flying mammal\t238",
]
NUMBERS = ["0.5 1 0", "0.1 0.2 0.3", "2.5e-1 3 1 "]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "unique_id.txt").write_text("aardvark\nbat1\nbat2\n")
    (tmp_path / "spose_embedding_49d_sorted.txt").write_text("\n".join(NUMBERS) + "\n")
    (tmp_path / "things_concepts.tsv").write_bytes("\r\n".join([HEADER, *ROWS, ""]).encode())
    labels = np.empty((3, 1), dtype=object)
    labels[:, 0] = ["metal / hard", "animal-related", "round"]
    savemat(tmp_path / "labels_49.mat", {"labels": labels})
    return tmp_path


def test_what_a_concept_is(folder: Path) -> None:
    items = open_source(f"things:{folder}")
    assert items.ids == ("aardvark", "bat1", "bat2")
    assert items.target_names == ("metal / hard", "animal-related", "round")
    assert items.targets is not None
    np.testing.assert_array_equal(items.targets, [[0.5, 1, 0], [0.1, 0.2, 0.3], [0.25, 3, 1]])
    assert items[1].fields == {
        "word": "bat", "categories": "animal", "category": "animal", "category_wordnet": "animal", "category_manual": None,
        "definition": "nocturnal flying mammal",
    }  # fmt: skip
    assert items[2].text == (
        "word: bat\ncategories: bat, club\ncategory_wordnet: equipment, club\ncategory_manual: sports equipment\n"
        "definition: a club for hitting a ball"
    )


def test_the_same_source_for_prediction(folder: Path) -> None:
    items = open_source(f"things:{folder}")
    assert open_like(f"things:{folder}", items.schema).fingerprint() == items.fingerprint()


def test_without_names_the_dimensions_have_numbers(folder: Path) -> None:
    (folder / "labels_49.mat").unlink()
    assert things_items(folder).target_names == ("dimension_1", "dimension_2", "dimension_3")


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("spose_embedding_49d_sorted.txt", "1 2\n1 2 3\n1 2\n", r"line 2: expected 2 finite numbers .* found '1 2 3'"),
        ("spose_embedding_49d_sorted.txt", "1 2\n1 nan\n1 2\n", "line 2: expected 2 finite numbers"),
        ("spose_embedding_49d_sorted.txt", "1 two\n", "line 1: expected the finite numbers"),
        ("spose_embedding_49d_sorted.txt", "1 2\n", r"a line for each of the 3 lines of unique_id\.txt, found 1"),
        ("spose_embedding_49d_sorted.txt", "", "found 0"),
        ("unique_id.txt", "aardvark\nbat1\nyeti\n", r"things_concepts\.tsv: expected a row with the uniqueID 'yeti'"),
        ("unique_id.txt", "aardvark\nbat1\nbat1\n", "id 'bat1' is in rows 2 and 3"),
        (
            "things_concepts.tsv",
            "uniqueID\tWord\nbat1\tbat\n",
            "expected the column All Bottom-up Categories, found uniqueID, Word",
        ),
        ("labels_49.mat", "no matlab", "not a MATLAB file with names in 'labels'"),
    ],
)
def test_broken_files(folder: Path, name: str, content: str, expected: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(InputError, match=expected) as error:
        things_items(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "expected"), [(["a", "a", "b"], "3 different names, found 2"), (["a", "b", "word"], "the name 'word' clashes")]
)
def test_names_that_do_not_name(folder: Path, names: list[str], expected: str) -> None:
    labels = np.empty(3, dtype=object)
    labels[:] = names
    savemat(folder / "labels_49.mat", {"labels": labels})
    with pytest.raises(InputError, match=expected):
        things_items(folder)


def test_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"expected unique_id\.txt, .* in this folder, found no unique_id\.txt; name the folder"):
        things_items(tmp_path)


def test_the_real_concepts(data_folder: Path) -> None:
    folder = data_folder / "things"
    if not folder.is_dir():
        pytest.skip(f"needs the THINGS data, and there are none at {folder}")
    items = open_source(f"things:{folder}")
    assert items.targets is not None
    assert items.targets.shape == (1854, 49)
    assert items.target_names[:3] == (
        "made of metal / artificial / hard",
        "food-related / eating-related / kitchen-related",
        "animal-related / organic",
    )
    animal = np.array([item.fields["category"] == "animal" for item in items])
    assert animal.sum() == 89
    assert items.targets[animal, 2].mean() > 5 * items.targets[~animal, 2].mean()
