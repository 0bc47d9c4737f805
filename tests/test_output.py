from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.output import in_one_stroke, printable, quoted, unquoted

FORMULAS = ["=1+1", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\uff1d1", "=", "-", "+a", "-5 rooms", "''=1"]


@given(st.text())
def test_what_a_terminal_obeys_is_spelled_out(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if (ord(c) < 32 and c not in "\t\n") or 127 <= ord(c) < 160 or c in "\u202e\u2066\u2028"]
    shown.encode()
    if all(c.isprintable() or c in "\t\n" for c in text):
        assert shown == text


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_json_says_the_same_when_printed(text: str) -> None:
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


def test_words_in_any_script_stay_as_they_are() -> None:
    text = "Größe, 大きさ, מספר, عربي\u200f, naïve 🏠\u200d🏡\n\ttab"
    assert printable(text) == text
    assert printable("\x1b]0;title\x07\x9b31m\u202e\r") == r"\u001b]0;title\u0007\u009b31m\u202e" + r"\u000d"


@pytest.mark.parametrize("text", FORMULAS)
def test_what_a_spreadsheet_would_reckon_gets_an_apostrophe(text: str) -> None:
    assert quoted(text) == f"'{text}"


@pytest.mark.parametrize("text", ["", "a=1", "-3.2", "+5", "-1e-3", "-inf", "12", "'quoted'", " =1", "(=1)"])
def test_numbers_and_plain_words_get_none(text: str) -> None:
    assert quoted(text) == text


@given(st.text("'=+-@\t\r1.ea ", max_size=6) | st.text() | st.sampled_from(FORMULAS))
def test_an_apostrophe_can_be_taken_away_again(text: str) -> None:
    assert unquoted(quoted(text)) == text


def test_a_file_is_replaced_in_one_stroke_and_no_link_is_followed(tmp_path: Path) -> None:
    for name in ("target", "mine"):
        (tmp_path / name).write_text("old")
    (tmp_path / "target.partial").symlink_to(tmp_path / "mine")
    with in_one_stroke(tmp_path / "target") as partial:
        partial.write_text("new")
        assert (tmp_path / "target").read_text() == "old"
    assert [(tmp_path / name).read_text() for name in ("target", "mine")] == ["new", "old"]

    def half() -> None:
        with in_one_stroke(tmp_path / "target") as partial:
            partial.write_text("half")
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        half()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "target"]
    assert (tmp_path / "target").read_text() == "new"
