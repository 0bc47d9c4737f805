"""What a report reads back from a run's tables, and how it writes numbers."""

from __future__ import annotations

import pandas as pd
import pytest

from genz_ppl.diagnostics.report.steps import steps_of
from genz_ppl.diagnostics.report.words import number, percent, shortened


def curve_of(*events: tuple[int, str, str, int]) -> pd.DataFrame:
    rows = [(step, 1, event, feature, count, 1.0, 2.0) for step, event, feature, count in events]
    return pd.DataFrame(rows, columns=["step", "cycle", "event", "feature", "n_features", "train_error", "test_error"])


def features_of(*rows: tuple[str, int | None]) -> pd.DataFrame:
    table = pd.DataFrame(rows, columns=["text", "removed_at"]).astype({"removed_at": "Int64"})
    return table.assign(active=table["removed_at"].isna())


def test_steps_follow_additions_and_prunings() -> None:
    curve = curve_of((0, "start", "", 0), (1, "discard", "z", 0), (1, "add", "a", 1), (2, "add", "b", 2), (3, "prune", "a", 1))
    found = steps_of(curve, features_of(("a", 3), ("b", None)))
    assert [step.active for step in found] == [(), ("a",), ("a", "b"), ("b",)]
    assert [step.removed for step in found] == [(), (), (), ("a",)]


def test_steps_know_that_a_run_went_back_to_its_best_model() -> None:
    # a, b, c were best; then c was pruned and d added; back to a, b, c; the end took b out.
    events = ((0, "start", "", 0), (1, "add", "a", 1), (2, "add", "b", 2), (3, "add", "c", 3), (4, "prune", "c", 2))
    curve = curve_of(*events, (5, "add", "d", 3), (6, "prune", "b", 2), (7, "final", "", 2))
    found = steps_of(curve, features_of(("a", None), ("b", 6), ("c", None), ("d", 6)))
    assert [step.active for step in found[-3:]] == [("a", "b", "d"), ("a", "c"), ("a", "c")]
    assert found[-2].added == ("c",)
    assert found[-2].removed == ("b", "d")
    assert [step.event for step in found[-3:]] == ["add", "return", "final"]


def test_what_happened_in_one_step_is_one_step() -> None:
    curve = curve_of((0, "start", "", 0), (1, "add", "a", 2), (1, "add", "b", 2), (2, "prune", "a", 2), (2, "add", "c", 2))
    found = steps_of(curve, features_of(("a", 2), ("b", None), ("c", None)))
    assert [(step.event, step.active) for step in found] == [("start", ()), ("add", ("a", "b")), ("update", ("b", "c"))]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.14825, "0.148"), (9.0, "9"), (0.52, "0.520"), (96514, "96\u202f514"), (-0.0474, "−0.0474"), (0, "0"),
        (2.7e-5, "2.7 × 10⁻⁵"), (3.2e9, "3.2 × 10⁹"), (999.7, "1000"), (float("nan"), "–"), (float("-inf"), "−∞"),
    ],
)  # fmt: skip
def test_numbers_are_rounded_sensibly(value: float, shown: str) -> None:
    assert number(value) == shown


def test_other_words_for_numbers() -> None:
    assert [percent(share) for share in (0.0004, 0.9996, 0.5, 0.034, 1.0)] == [
        "< 0.1\u202f%", "> 99.9\u202f%", "50\u202f%", "3.4\u202f%", "100\u202f%",
    ]  # fmt: skip
    assert shortened("a\n  b\x00\ud800 c", 20) == "a b c"
    assert shortened("x" * 50, 10) == "x" * 9 + "…"
