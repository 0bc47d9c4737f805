from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from liked_pairs import liked_pairs

from genz_ppl.errors import InputError, OptionError
from genz_ppl.recommend import read_interactions
from genz_ppl.recommend.splits import hidden_again, split_of

SQUARE = pd.DataFrame([(user, item, 5.0) for user in "abcdef" for item in "uvwxyz"], columns=["user", "item", "rating"])


def test_liked_pairs_are_kept_and_the_others_counted() -> None:
    pairs, _ = liked_pairs()
    known = read_interactions(pairs, at_least=4, core=3)
    assert len(known) == 80 * 12
    assert known.left_out == {"below 4": 80 * 4}
    everything = read_interactions(pairs, core=1)
    assert len(everything) == 80 * 16


def test_core_is_taken_again_and_again() -> None:
    # g has three items, of which p is only g's; without p, g has two and goes, too
    more = pd.DataFrame([("g", "u", 5.0), ("g", "v", 5.0), ("g", "p", 5.0)], columns=SQUARE.columns)
    known = read_interactions(pd.concat([SQUARE, more]), core=3)
    assert known.users == tuple("abcdef")
    assert known.items == tuple("uvwxyz")
    assert known.outside == ("p",)
    assert known.left_out == {"fewer than core": 3}


def test_files_give_what_frames_give(tmp_path: Path) -> None:
    pairs, _ = liked_pairs(20, 20, 0)
    pairs["time"] = np.arange(len(pairs))
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    pairs.to_parquet(tmp_path / "pairs.parquet", index=False)
    expected = read_interactions(pairs, 4, 2)
    for name in ("pairs.csv", "pairs.parquet"):
        found = read_interactions(tmp_path / name, 4, 2)
        assert (found.users, found.items) == (expected.users, expected.items)
        assert np.array_equal(found.matrix().toarray(), expected.matrix().toarray())
        assert found.times is not None
        assert expected.times is not None
        assert np.array_equal(found.times, expected.times)


def test_repeated_pairs_count_once_and_the_first_time_holds() -> None:
    frame = SQUARE.assign(time=10.0)
    again = frame.iloc[:2].assign(time=[3.0, 30.0])
    known = read_interactions(pd.concat([frame, again]), core=2)
    assert known.left_out == {"listed again": 2}
    assert known.times is not None
    assert sorted(known.times.tolist())[:2] == [3.0, 10.0]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "u", 1.0)], "the pair 'a', 'u' is in rows 1 and 37 with two values; keep one of the two"),
        ([("a", "q", float("inf"))], "row 37, column 'rating': expected a finite number, found inf"),
        ([("a", "q", float("nan"))], "row 37, column 'rating': the value is missing"),
        ([(None, "q", 1.0)], "row 37, column 'user': the id is missing"),
    ],
)
def test_wrong_pairs_are_refused_with_their_row(rows: list[tuple[object, ...]], message: str) -> None:
    frame = pd.concat([SQUARE, pd.DataFrame(rows, columns=SQUARE.columns)], ignore_index=True)
    with pytest.raises(InputError) as caught:
        read_interactions(frame)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_left_is_refused() -> None:
    with pytest.raises(InputError, match="nothing is left after taking out users and items with fewer than 9 pairs"):
        read_interactions(SQUARE, core=9)
    with pytest.raises(InputError, match="no pair has a value of at least 6; the largest value is 5"):
        read_interactions(SQUARE, at_least=6)


def test_random_split_tests_a_fifth_of_each_user() -> None:
    pairs, _ = liked_pairs(chosen=15)
    known = read_interactions(pairs, 4, 1)
    split = split_of(known, "random", 3)
    assert np.array_equal(np.diff(split.test.indptr), np.full(80, 3))
    assert np.array_equal((split.train + split.test).toarray(), known.matrix().toarray())
    assert split.train.multiply(split.test).nnz == 0
    again, other = split_of(known, "random", 3), split_of(known, "random", 4)
    assert np.array_equal(again.test.indices, split.test.indices)
    assert not np.array_equal(other.test.indices, split.test.indices)


def test_cold_split_hides_items_whole_and_strata_part_the_items() -> None:
    pairs, _ = liked_pairs()
    known = read_interactions(pairs, 4, 1)
    split = split_of(known, "cold", 0)
    assert split.cold.sum() == 9  # 15 % of 60
    assert split.train[:, split.cold].nnz == 0
    strata = split.strata()
    assert np.array_equal(strata["head"].astype(int) + strata["tail"] + strata["cold"], np.ones(60))
    assert split.popularity[strata["head"]].min() >= split.popularity[strata["tail"]].max()
    inner = hidden_again(known, split.train, 0)
    assert ((inner.train + inner.test) - split.train).nnz == 0, "only training pairs are tuned on"
    assert inner.cold.sum() > split.cold.sum()


def test_time_split_tests_the_last_pairs() -> None:
    frame = SQUARE.assign(timestamp=pd.date_range("2024-01-01", periods=36, freq="D").strftime("%Y-%m-%d"))
    known = read_interactions(frame, core=1)
    assert known.times is not None
    split = split_of(known, "time", 0)
    assert split.test.sum() + split.left_out == 7
    assert split.left_out == 6, "the last user has no training pair"


def test_no_tail_is_refused() -> None:
    sides = np.where((SQUARE["item"] == "u") & (SQUARE["user"] == "a"), "test", "train")
    pairs = SQUARE.assign(split=sides)[(SQUARE["item"] == "u") | (SQUARE["user"] < "e")]  # u is chosen most: the head
    with pytest.raises(InputError, match="split column: no cold or tail item is tested; give more pairs"):
        split_of(read_interactions(pairs, core=1), "column", 0)


def test_split_that_the_pairs_do_not_have_is_refused() -> None:
    known = read_interactions(SQUARE)
    with pytest.raises(OptionError, match="split: the pairs have no column 'time' or 'timestamp'"):
        split_of(known, "time", 0)
    with pytest.raises(OptionError, match="split: the pairs have no column 'split'"):
        split_of(known, "column", 0)
    with pytest.raises(OptionError, match="expected one of random, cold, time, column, got 'warm'"):
        split_of(known, "warm", 0)


def test_column_split_is_taken_as_it_is() -> None:
    sides = np.where(np.arange(36) % 6 < 4, "train", "test")
    known = read_interactions(SQUARE.assign(split=sides), core=1)
    assert split_of(known, "column", 5).test.nnz == 12
    with pytest.raises(InputError, match="row 1"):
        read_interactions(SQUARE.assign(split=["trial", *sides[1:]]), core=1)
    twice = pd.concat([SQUARE.assign(split=sides), SQUARE.iloc[:1].assign(split="test")])
    with pytest.raises(InputError, match="rows 1 and 37 with two sides of the split"):
        read_interactions(twice, core=1)


def test_no_cold_items_are_refused() -> None:
    few = SQUARE[SQUARE["item"].isin(["u", "v", "w"])]
    with pytest.raises(InputError, match="split cold: no cold item is tested; give more pairs and items"):
        split_of(read_interactions(few, core=1), "cold", 0)


def test_time_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match="row 36, column 'time': expected a number or a date, found 'soon'"):
        read_interactions(SQUARE.assign(time=[*map(str, range(35)), "soon"]))
