"""Noise is fitted by the best statement of a kind as often as by the best of as many independent ones as it counts for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from genz_ppl.llm.rules.choices import Amounts, amounts_chosen, choices, independent_cuts, kind_of
from genz_ppl.llm.rules.predicates import parse
from genz_ppl.types import FieldValue, FloatArray

RANDOM = np.random.default_rng(11)
COLUMNS = {
    "two": RANDOM.integers(0, 2, 300),
    "ten": RANDOM.integers(0, 10, 300),
    "counts": RANDOM.poisson(1.5, 300),
    "eighty": RANDOM.integers(0, 80, 300),
    "measured": RANDOM.normal(size=300),
}


def often(statements: FloatArray, nats: float, draws: int = 40_000) -> float:
    """As many independent statements as the best of these, (C, T), exceeds so many nats in noise."""
    share = statements.mean(1)
    columns = statements[(share >= 0.02) & (share <= 0.98)]
    columns = columns - columns.mean(1, keepdims=True)
    columns = (columns / np.linalg.norm(columns, axis=1, keepdims=True)).T.astype(np.float32)
    random, found = np.random.default_rng(5), 0
    for _ in range(draws // 2000):
        y = random.normal(size=(2000, len(columns))).astype(np.float32)
        y -= y.mean(1, keepdims=True)
        told = ((y @ columns) ** 2).max(1) / (y**2).sum(1)
        found += int((-0.5 * len(columns) * np.log1p(-told) > nats).sum())
    return found / draws / math.erfc(math.sqrt(nats))


def cuts_of(name: str, monkeypatch: pytest.MonkeyPatch, nats: float) -> tuple[FloatArray, float]:
    """The cuts of a column, (C, T), and how many independent ones they count for at so many nats."""
    monkeypatch.setattr("genz_ppl.llm.rules.choices._NATS", nats)
    values, counts = np.unique(COLUMNS[name], return_counts=True)
    number = independent_cuts(values.astype(np.float64), counts.astype(np.float64))
    return (COLUMNS[name][None, :] >= values[1:, None]).astype(np.float64), number


@pytest.mark.parametrize("name", COLUMNS)
def test_cuts_of_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cuts, number = cuts_of(name, monkeypatch, 4.0)
    # 40 000 draws: some 190 exceed 4 nats for each independent statement.
    assert number == pytest.approx(often(cuts, 4.0), rel=0.2)
    assert number <= len(cuts)


@pytest.mark.parametrize("name", ["ten", "counts"])
def test_ranges_of_noise(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, number = cuts_of(name, monkeypatch, 4.0)
    values = np.unique(COLUMNS[name])
    ends = [(values[i], values[j]) for i in range(1, len(values) - 1) for j in range(i, len(values) - 1)]
    inside = np.array([(COLUMNS[name] >= low) & (COLUMNS[name] <= high) for low, high in ends], dtype=np.float64)
    assert amounts_chosen(parse("n is between 2 and 3"), Amounts(number, 0.0, 0)) == pytest.approx(often(inside, 4.0), rel=0.33)


def test_a_cut_counts_more_the_more_there_are() -> None:
    counted = [np.unique(column, return_counts=True) for column in COLUMNS.values()]
    numbers = [independent_cuts(values.astype(np.float64), counts.astype(np.float64)) for values, counts in counted]
    assert numbers[0] == 1.0
    assert numbers[1] == pytest.approx(7.5, abs=0.5)
    assert numbers[2] < numbers[1] < numbers[3] < numbers[4] < 45
    assert independent_cuts(np.array([3.0]), np.array([9.0])) == 1.0
    assert independent_cuts(np.array([1.0, 2.0]), np.array([1.0, 199.0])) == 1.0  # one item: no question may be about it


def test_remainders_count_as_they_are() -> None:
    values: list[FieldValue] = list(range(1, 41))
    texts = ["n modulo 2 is 1", "n modulo 8 is less than 4", "n modulo 3 is at least 1", "n modulo 7 is 3"]
    halves, runs = 6 + 5, 234  # of 2, 4, 8 to 64, and 6, 10, 12, 24; 5 and the like have no halves
    found = [choices(parse(text), values) for text in texts]
    assert found[0] == found[1] <= halves
    assert found[2] == found[3] <= runs
    assert 20 * found[0] < found[2]


def test_beside_others_a_cut_counts_once() -> None:
    few: list[FieldValue] = [str(n % 10) for n in range(40)]
    many: list[FieldValue] = list(range(40))
    texts = ["n is at least 4", "n is between 3 and 5", "n modulo 3 is at least 1", "n is 4"]
    assert [choices(parse(text), few, beside=True) for text in texts] == [1, 4, 4, 10]
    assert [choices(parse(text), many, beside=True) for text in texts[:3]] == [1, 12, 12]


def test_kinds() -> None:
    same = [
        ["n is at least 3", "n is less than 7"],
        ["n is between 2 and 3"],
        ["n modulo 2 is 0", "n modulo 8 is at least 4"],
        ["n modulo 3 is 1"],
        ["n is 3", "n is not 4"],
        ["n is one of 3, 4"],
        ["n is one of 3, 4, 5"],
        ["n mentions 'red'", "n mentions 'blue'"],
        ["n mentions 'red fox'"],
        ["n is in 2020"],
        ["month of n is June"],
        ["n is before 1 June 2021", "n is on or after 1 June 2020"],
        ["m is at least 3"],
    ]
    kinds = [{kind_of(parse(text)) for text in texts} for texts in same]
    assert all(len(kind) == 1 for kind in kinds)
    assert len(set.union(*kinds)) == len(same)
