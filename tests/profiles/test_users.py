"""Users are described by training pairs alone, and by those that the file names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl.errors import GenzWarning, InputError, OptionError
from genz_ppl.profiles import Refresh, histories, make_profiles, pairs_hash, read_profiles
from genz_ppl.profiles.users import open_histories
from genz_ppl.types import Item, Pairs

ROWS = [("ann", "m1", 5), ("ann", "m3", 2), ("bob", "m0", 4), ("ann", "m2", 5)]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    pd.DataFrame(ROWS, columns=["user", "film", "rating"]).to_csv(tmp_path / "pairs.csv", index=False)
    return tmp_path / "pairs.csv"


def test_history_best_first(items: list[Item], pairs: Path) -> None:
    users, _, _ = open_histories(pairs, items)
    assert [(user.id, user.text) for user in users] == [
        ("ann", "Film 1 (5), Film 2 (5), Film 3 (2)"),
        ("bob", "Film 0 (4)"),
    ]


def test_long_histories_keep_both_ends() -> None:
    items = [Item(f"m{n}", "", {"title": f"F{n}"}) for n in range(200)]
    numbers = np.arange(200)
    pairs = Pairs(np.zeros(200, np.int64), numbers, numbers.astype(float), 1, 200)
    (user,) = histories(pairs, ["u"], items)
    named = user.text.split(", ")
    assert len(named) == 50
    assert (named[0], named[39], named[40], named[-1]) == ("F199 (199)", "F160 (160)", "F9 (9)", "F0 (0)")


def test_presence_has_no_numbers(items: list[Item], tmp_path: Path) -> None:
    pd.DataFrame([("a", "m1"), ("a", "m0")], columns=["user", "film"]).to_csv(tmp_path / "p.csv", index=False)
    assert open_histories(tmp_path / "p.csv", items)[0][0].text == "Film 0, Film 1"


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_test_pairs_are_not_looked_at(items: list[Item], tmp_path: Path, suffix: str, own_encoder: str) -> None:
    rows = [(*row, "train") for row in ROWS] + [("ann", "m9", 1, "test"), ("zoe", "m8", 5, "test")]
    frame = pd.DataFrame(rows, columns=["user", "film", "rating", "split"])
    path = tmp_path / f"pairs{suffix}"
    frame.to_csv(path, index=False) if suffix == ".csv" else frame.to_parquet(path)
    users, name, left_out = open_histories(path, items)
    assert left_out == 2
    assert all("Film 9" not in user.text and "Film 8" not in user.text for user in users)
    plain = tmp_path / "plain.csv"
    pd.DataFrame(ROWS, columns=["user", "film", "rating"]).to_csv(plain, index=False)
    assert open_histories(plain, items)[1] == name  # the hash is of the training pairs
    with pytest.warns(GenzWarning, match="1 of 3 users have no profile: zoe"):
        found = make_profiles(items, tmp_path / "u.parquet", users=path, encoder=own_encoder)
    assert found.ids == ("ann", "bob", "zoe")
    assert found.missing == ("zoe",)


def test_other_pairs_are_refused(items: list[Item], pairs: Path, tmp_path: Path, own_encoder: str) -> None:
    made = make_profiles(items, tmp_path / "u.parquet", users=pairs, encoder=own_encoder)
    assert read_profiles(tmp_path / "u.parquet").about.pairs == open_histories(pairs, items)[1]
    make_profiles(items, tmp_path / "u.parquet", users=pairs, encoder=own_encoder)
    content = (tmp_path / "u.parquet").read_bytes()
    more = pd.DataFrame([*ROWS, ("bob", "m5", 1)], columns=["user", "film", "rating"])
    more.to_csv(tmp_path / "more.csv", index=False)
    with pytest.raises(InputError, match="users were described by other pairs"):
        make_profiles(items, tmp_path / "u.parquet", users=tmp_path / "more.csv", encoder=own_encoder)
    with pytest.raises(InputError, match="users were described by other pairs"):
        made.check_pairs(open_histories(tmp_path / "more.csv", items)[1])
    assert (tmp_path / "u.parquet").read_bytes() == content


def test_hash_is_of_the_set(items: list[Item]) -> None:
    names = [item.id for item in items]

    def hashed(*rows: tuple[int, int, float]) -> str:
        users, films, values = (np.array(part) for part in zip(*rows, strict=True))
        return pairs_hash(Pairs(users, films, values.astype(float), 2, 12), ["u", "v"], names)

    first = hashed((0, 1, 5.0), (1, 2, 3.0))
    assert hashed((1, 2, 3.0), (0, 1, 5.0)) == first
    assert len({first, hashed((0, 1, 5.0), (1, 2, 4.0)), hashed((0, 1, 5.0)), hashed((1, 1, 5.0), (1, 2, 3.0))}) == 4


def test_items_and_users_do_not_mix(items: list[Item], pairs: Path, tmp_path: Path, own_encoder: str) -> None:
    make_profiles(items, tmp_path / "out.parquet", encoder=own_encoder)
    with pytest.raises(OptionError, match="holds profiles of items, and these are of users; choose another file"):
        Refresh(items, tmp_path / "out.parquet", users=pairs, encoder=own_encoder)
    with pytest.raises(OptionError, match="questions: are about items"):
        Refresh(items, tmp_path / "u.parquet", users=pairs, questions="table:x.csv")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("a", "m99", 1)], "1 id is not among the column ids: 'm99'"),
        ([("a", "m1", 1), ("a", "m1", 2)], "is in rows 1 and 2; keep one of the two"),
        ([("a", "m1", "much")], "expected a finite number, found 'much'"),
    ],
)
def test_faulty_pairs(items: list[Item], tmp_path: Path, rows: list[Any], message: str) -> None:
    pd.DataFrame(rows, columns=["user", "film", "rating"]).to_csv(tmp_path / "p.csv", index=False)
    with pytest.raises(InputError, match=message):
        Refresh(items, tmp_path / "u.parquet", users=tmp_path / "p.csv")
