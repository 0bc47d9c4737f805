"""Statements about whole columns say of each item what they say of the item alone."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genz_ppl import Items
from genz_ppl.llm.rules.choices import choices
from genz_ppl.llm.rules.columns import field_value
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.llm.rules.predicates import parse
from genz_ppl.rows import MOST_KEPT

WORDS = (
    "granite",
    "owner's",
    "rock'n'roll",
    "Über",
    "the",
    "house-boat",
    "naïve",
    "3",
    "'",
    "A",
    "café",
    "single storey",
    "\n",
    ".",
)
SENTENCES = st.lists(st.sampled_from(WORDS), max_size=7).map(" ".join)
NUMBERS = (
    st.integers(-20, 20) | st.floats(-20, 20, width=16) | st.sampled_from([2**53 + 1, 2**60, -(2**53) - 1, 0.1, -0.0, 1e300])
)
DATES = st.dates(date(1999, 1, 1), date(2002, 12, 31)) | st.datetimes(datetime(1999, 1, 1), datetime(2002, 12, 31))
CODES = st.sampled_from(["92276", "92277", "01234", "tile", "roof: tile\narea: 5", "roof: slate\narea: 7", "true", "5", "12.50"])
COLUMNS = {
    "text": SENTENCES | st.none(),
    "n": NUMBERS | st.none(),
    "whole": st.integers(0, 300),
    "day": DATES | st.none(),
    "code": CODES | st.none(),
    "mixed": CODES | NUMBERS | st.booleans() | st.none(),
}
FEATURES = [
    *("text mentions 'granite'", "text mentions 'owner'", "text mentions \"rock'n'roll\"", "text mentions 'the house boat'"),
    *("text mentions 'über'", "code mentions 'tile'", "mixed mentions '5'", "n mentions '5'", "text mentions '3'"),
    *("n is at least 0.5", "n is less than 3", "n is between -2 and 4.5", "n is 5", "n is not 5", "n is one of 1, 2, 0"),
    *(
        "n is at least 9007199254740993",
        "n is 9007199254740993",
        "n modulo 3 is 1",
        "n modulo 4 is at least 2",
        "n starts with 1",
    ),
    *(
        "whole modulo 7 is not 3",
        "whole is between 10 and 20",
        "whole is true",
        "whole is one of 12, tile",
        "whole starts with 1",
    ),
    *("day is before 1 June 2001", "day is on or after 1 June 2000 18:30", "day is in 2000", "month of day is June to August"),
    *("hour of day is at least 18", "weekday of day is Monday", "day is 2000-01-01", "whole is in 2000"),
    *("code is tile", "code is not tile", "code is one of 92276, 92277", "code starts with 92", "code is at least 90000"),
    *("mixed is true", "mixed is 5", "mixed is at least 5", "mixed starts with 9", "mixed is one of 5, tile", "mixed is not 0"),
    *("roof is tile", "area is at least 6", "roof mentions 'slate'", "nothing is 5", "code is before 1 June 2001"),
]


def items_of(rows: list[dict[str, Any]]) -> Items:
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in COLUMNS})
    return Items.from_frame(frame, text=list(COLUMNS), require_target=False, as_text=["code", "text"])


def check(items: Items, features: list[str]) -> None:
    model, alone = RulesModel(), tuple(items)
    np.testing.assert_array_equal(model.answer(items, features), model.answer(alone, features))
    wanted = [choices(one, [field_value(item, one.field) for item in alone]) for one in map(parse, features)]
    assert model.searched(items, features).tolist() == wanted
    assert model.searched_beside(items, features).tolist() == model.searched_beside(alone, features).tolist()
    part = items.take(np.arange(len(items))[::2])
    np.testing.assert_array_equal(model.answer(part, features), model.answer(alone[::2], features))
    np.testing.assert_array_equal(model.searched(part, features), model.searched(alone[::2], features))


@pytest.mark.filterwarnings("ignore::genz_ppl.errors.GenzWarning")  # of columns that are almost numbers
@settings(max_examples=40, deadline=None)
@given(st.lists(st.fixed_dictionaries(COLUMNS), min_size=2, max_size=12))
def test_whole_columns_are_answered_as_each_item_is(rows: list[dict[str, Any]]) -> None:
    check(items_of(rows), FEATURES)


@pytest.mark.filterwarnings("ignore::genz_ppl.errors.GenzWarning")
def test_many_different_values_are_answered_as_each_item_is() -> None:
    """More than are kept as objects: texts lie side by side, numbers are an array."""
    random, n_items = np.random.default_rng(0), 6_000
    words = np.array(["granite", "owner's", "pool", "Über", "the", "naïve", "3", "tile", "house-boat"])
    text = [" ".join(row) + f" no{number}" for number, row in enumerate(random.choice(words, (n_items, 6)).tolist())]
    frame = pd.DataFrame(
        {"text": text, "n": np.round(random.normal(0, 5, n_items), 3), "whole": random.integers(0, 10**6, n_items)}
    )
    frame["code"] = [f"92{number:07}" for number in random.permutation(n_items)]
    frame["day"], frame["mixed"] = pd.Timestamp("2000-01-01") + pd.to_timedelta(np.arange(n_items), "h"), frame["n"]
    frame.loc[::7, ["text", "n", "code"]] = None
    items = Items.from_frame(frame, text=list(COLUMNS), require_target=False, as_text=["code", "text"])
    more = ["text mentions 'no77'", "text mentions 'tile tile'", "text mentions 'tile pool granite'", "code starts with 920000"]
    check(items, [*FEATURES, *more])


def test_rows_beyond_those_kept_are_made_again_and_alike() -> None:
    n_items = MOST_KEPT + 10
    frame = pd.DataFrame({"n": np.arange(n_items), "name": [f"item {number}" for number in range(n_items)]})
    items = Items.from_frame(frame, text=["n", "name"], require_target=False)
    assert items[n_items - 1] == items[-1] == list(items)[-1]
    assert items[3].text == "n: 3\nname: item 3"
    assert items[3] is not items[3]
    assert items[5:8].ids == ("5", "6", "7")
    assert [item.id for item in items.take([n_items - 1, 0, 4])] == [str(n_items - 1), "0", "4"]
    with pytest.raises(IndexError):
        items[n_items]
