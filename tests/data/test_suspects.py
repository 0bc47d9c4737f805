"""Columns that give a target away, ids, and rows that are there twice: each is named, with what to do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl.data import Items
from genz_ppl.data.suspects import suspects
from genz_ppl.errors import GenzWarning


def suspected(frame: pd.DataFrame, **roles: Any) -> list[str]:
    with pytest.warns(GenzWarning) as notes:
        Items.from_frame(frame, **{"target": "y", **roles})
    return [str(note.message).removeprefix("the DataFrame: ") for note in notes]


def columns_of(lines: list[str]) -> list[str]:
    return [line.split("'")[1] for line in lines]


def test_copies_of_a_target() -> None:
    random = np.random.default_rng(0)
    y = random.normal(size=50)
    frame = pd.DataFrame(
        {
            "y": y,
            "reversed": 5 - 2 * y,
            "in_order": np.exp(3 * y),
            "nearly": y + 0.01 * random.normal(size=50),
            "related": y + random.normal(size=50),
            "constant": 1.0,
            "few": [float(value) if row < 5 else None for row, value in enumerate(y)],
            "gaps": [None if row < 20 else float(value) for row, value in enumerate(y)],
            "huge": 1e300 * y,
            "yes": y > 0,
            "grade": pd.cut(y, [-9, -1, 0, 1, 9], labels=["poor", "fair", "good", "best"]).astype(str),
            "word": "x",
        }
    )
    lines = suspected(frame)
    assert columns_of(lines) == ["reversed", "in_order", "nearly", "gaps", "huge"]
    assert lines[0] == (
        "column 'reversed' tells almost all of target 'y' (R² 1.00): if it is a copy of it or was made from it, "
        "leave it out with --drop (drop=)"
    )
    Items.from_frame(frame, target="y", drop=["reversed", "in_order", "nearly", "gaps", "huge"])
    items = Items.from_frame(frame, text=["word"], require_target=False)
    assert list(suspects(items.name, items.schema, items.items, items.targets, items.covariates)) == []


@pytest.mark.parametrize("classes", [False, True])
def test_copies_in_words_of_true_and_false(classes: bool) -> None:
    random = np.random.default_rng(1)
    y = random.random(60) > 0.4
    probability = np.where(y, 0.7, 0.2) + 0.05 * random.random(60)
    frame = pd.DataFrame(
        {"label": np.where(y, "yes", "no"), "probability": probability, "noise": random.random(60).round(1), "y": y}
    )
    assert columns_of(suspected(frame, classes=classes)) == ["label", "probability"]


def test_copies_of_several_classes_under_other_names() -> None:
    y = np.random.default_rng(2).permutation(np.repeat(["b", "a", "c"], 20))
    code = [{"a": 7, "b": 1, "c": 3}[label] for label in y]
    site = np.where(np.arange(60) % 30 == 0, "z", y)  # nearly
    frame = pd.DataFrame({"code": code, "site": site, "half": np.where(y == "a", "u", "v"), "y": y})
    assert columns_of(suspected(frame, classes=True)) == ["code", "site"]


def test_a_prediction_called_like_the_target() -> None:
    random = np.random.default_rng(3)
    y = random.normal(size=200)
    close = y + 0.45 * random.normal(size=200)
    frame = pd.DataFrame({"predicted log solubility": close, "weight": close, "measured log solubility": y})
    lines = suspected(frame, target="measured log solubility")
    assert columns_of(lines) == ["predicted log solubility"]
    assert "tells much of target 'measured log solubility' (R² 0.8" in lines[0]


def test_many_names_of_few_items_are_no_copy() -> None:
    random = np.random.default_rng(4)
    frame = pd.DataFrame({"street": [f"street {row // 2}" for row in range(60)], "y": random.normal(size=60)})
    Items.from_frame(frame, target="y")


def test_texts_that_few_rows_share_are_no_copy() -> None:
    """Not of a rare class, which none of those rows has; and not where the rows are the same."""
    random = np.random.default_rng(4)
    text = [f"note {row // 2}" if row < 30 else f"remark {row}" for row in range(400)]
    rare = np.isin(np.arange(400), [100, 200, 300]).astype(float)
    Items.from_frame(pd.DataFrame({"note": text, "size": random.normal(size=400), "y": rare}), target="y")
    once = pd.DataFrame({"note": [f"the card {n} of hearts" for n in range(90)], "size": 1.0, "y": random.normal(size=90)})
    lines = suspected(pd.concat([once, once.head(40)], ignore_index=True))
    assert [line.partition(" (")[0] for line in lines] == ["rows repeat the text and target of others"]


def test_ids() -> None:
    random = np.random.default_rng(5)
    frame = pd.DataFrame(
        {
            "uuid": [f"{value:08x}-{row}" for row, value in enumerate(random.integers(2**31, size=40))],
            "title": [f"a tale of {row} cities" for row in range(40)],
            "place": [f"p{row % 20}" for row in range(40)],
            "n": random.permutation(40),
            "y": random.normal(size=40),
        }
    )
    assert suspected(frame) == [
        "column 'uuid' has another value in almost every row, like an id, and can explain little; "
        "leave it out with --drop (drop=) or --id (id=)"
    ]
    Items.from_frame(frame, target="y", id="uuid")


def test_rows_that_are_there_twice() -> None:
    frame = pd.DataFrame({"a": [f"words of {row % 37}" for row in range(40)], "y": np.arange(40) % 37 * 1.5})
    assert suspected(frame) == [
        "rows repeat the text and target of others (3): they may be learned from and tested on; keep one of each"
    ]
    Items.from_frame(frame.assign(y=[row % 2 for row in range(40)]), target="y")  # few values: rows are alike by nature
