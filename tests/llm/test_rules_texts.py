"""What the embedded model makes of texts: lines that are fields, and words in a row."""

from __future__ import annotations

import numpy as np
import pytest

from genz_ppl.llm.rules.lines import lines_of
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Contrast, Item


def card(number: int, text: str) -> Item:
    return Item(id=str(number), text=text, fields={"note": text})


CARDS = [card(i, f"city: {'Oslo' if i % 2 else 'Bern'}\nopening hours: all day\nage: {20 + i}") for i in range(20)]


def test_lines_of_name_and_value_are_fields() -> None:
    assert dict(lines_of("city: Oslo\n\n opening hours:  9:30 to 17:00 \n")) == {"city": "Oslo", "opening hours": "9:30 to 17:00"}


@pytest.mark.parametrize(
    "text", ["city: Oslo", "He said: come.\nThen he left.\nNobody saw him.\nIt rained.", "at 9:30\nat 10:30", ""]
)
def test_other_texts_have_none(text: str) -> None:
    assert lines_of(text) == {}


def test_a_line_is_asked_about_by_its_name() -> None:
    answers = RulesModel().answer(
        CARDS[:2], ["city is Oslo", "age is at least 21", '"opening hours" is "all day"', "country is Norway"]
    )
    assert answers[:, :3].tolist() == [[0, 0, 1], [1, 1, 1]]
    assert np.isnan(answers[:, 3]).all()


def test_lines_are_proposed_as_fields() -> None:
    odd, even = CARDS[1::2], CARDS[::2]
    assert RulesModel().propose(Contrast(tuple(odd), tuple(even)), 1) == ["city is Oslo"]


def test_a_column_comes_before_a_line_of_its_name() -> None:
    item = Item(id="1", text="", fields={"city": "Rome", "note": "city: Oslo\nage: 3"})
    assert RulesModel().answer([item], ["city is Rome"])[0, 0] == 1


def test_words_in_a_row_are_proposed_where_single_ones_do_not_tell() -> None:
    colours = ["black", "blue", "red", "green"]
    looks = [
        card(n, f"a man with {colours[n % 4]} hat, {colours[n // 4 % 4]} shirt, and a {colours[n // 16 % 4]} bag")
        for n in range(64)
    ]
    black = [item for item in looks if "black shirt" in item.text]
    others = [item for item in looks if "black shirt" not in item.text]
    proposed = RulesModel().propose(Contrast(tuple(black), tuple(others)), 3)
    assert proposed[0] == "note mentions 'black shirt'"
    assert RulesModel().answer(looks, proposed[:1])[:, 0].sum() == 16
    assert not any(
        "hat black" in text or "hat blue" in text for text in RulesModel().propose(Contrast(tuple(black), tuple(others)), 40)
    )


def test_how_many_phrases_there_were_to_choose_from() -> None:
    texts = [
        card(n, text) for n, text in enumerate(["old red house by the sea", "old red house", "big green house", "big green tree"])
    ]
    searched = RulesModel().searched(texts, ["note mentions 'red house'", "note mentions 'house'"])
    # "old red", "red house" and "big green" are there twice; of single words old, red, house, big and green.
    assert searched.tolist() == [3, 5]


def test_cuts_ranges_and_remainders_count_their_choices() -> None:
    numbers = [card(n, str(n % 10)) for n in range(40)]
    texts = ["note is at least 4", "note is between 3 and 5", "note modulo 3 is at least 1", "note modulo 4 is 3", "note is 4"]
    assert RulesModel().searched(numbers, texts) == pytest.approx([7.64, 25.4, 86, 86, 10], abs=0.1)
    many = [card(n, str(n)) for n in range(40)]
    assert RulesModel().searched(many, texts[:4]) == pytest.approx([20.2, 193.5, 234, 234], abs=0.1)
    assert RulesModel().searched(many, ["note modulo 2 is 1"]).tolist() == [10]
