from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import pytest
from liked_pairs import liked_pairs

from genz_ppl.recommend import Recommendation

SMALL = ("--at-least", 4, "--core", 3, "--seeds", 2, "--ridge", 20, "--quiet")


class Outcome(Protocol):
    code: int
    out: str
    err: str
    message: str


class Genz(Protocol):
    def __call__(self, *arguments: object) -> Outcome: ...


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """pairs.csv and items.parquet."""
    pairs, profiles = liked_pairs()
    pairs.to_csv(tmp_path / "pairs.csv", index=False)
    profiles.write(tmp_path / "items.parquet")
    return tmp_path / "pairs.csv", tmp_path / "items.parquet"


@pytest.fixture
def made(genz: Genz, files: tuple[Path, Path], tmp_path: Path) -> Path:
    done = genz("recommend", files[0], "--items", files[1], "--split", "cold", "--out", tmp_path / "r", *SMALL)
    assert done.code == 0, done.err
    return tmp_path / "r"


def test_recommender_is_proved_and_says_so(genz: Genz, files: tuple[Path, Path], tmp_path: Path) -> None:
    done = genz("recommend", files[0], "--items", files[1], "--split", "cold", "--out", tmp_path / "r", *SMALL)
    assert done.code == 0, done.err
    assert "80 users, 60 items, 960 pairs; 5 new items" in done.out
    assert "320 pairs left out: below 4" in done.out
    assert re.search("^new items: (a|no) gain over shuffled profiles, p ", done.out, re.MULTILINE)
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert set(metrics) == {"cold"}
    assert set(metrics["cold"]) == {"all", "head", "tail", "cold"}
    assert len(metrics["cold"]["cold"]["ndcg@10"]) == 2
    assert {path.suffix for path in (tmp_path / "r").iterdir()} == {".json", ".npy", ".parquet"}


def test_lists_are_written_with_reasons(genz: Genz, made: Path, tmp_path: Path) -> None:
    done = genz("predict", made, "users", "-o", tmp_path / "lists.parquet", "--top", 3, "--new", "--why", 2)
    assert done.code == 0, done.err
    assert "240 rows of lists written" in done.out
    lists = pd.read_parquet(tmp_path / "lists.parquet")
    assert list(lists.columns) == ["user", "rank", "item", "score", "new", "why"]
    assert lists["new"].all()
    assert set(lists["item"]) <= {f"i{at}" for at in range(60, 65)}
    (tmp_path / "some.csv").write_text("user\nu3\nu5\n")
    few = genz("predict", made, tmp_path / "some.csv", "--top", 2)
    assert few.code == 0, few.err
    assert [line.split(",")[0] for line in few.out.splitlines()] == ["user", "u3", "u3", "u5", "u5"]


def test_page_is_written(genz: Genz, made: Path) -> None:
    pytest.importorskip("jinja2")
    done = genz("report", made)
    assert done.code == 0, done.err
    page = (made / "report.html").read_text(encoding="utf-8")
    assert "gain over shuffled profiles, p " in page
    assert re.search(r"Is it \w+\? \((\+|&#43;)0\.", page)
    wrong = genz("report", made, made / "items.parquet")
    assert wrong.code == 2
    assert wrong.message == "genz: SOURCE: the report of a recommender does not take it; leave it out"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--seeds", 1), "--seeds: one seed gives no test against shuffled profiles"),
        (("--core", 90), "nothing is left after taking out users and items with fewer than 90 pairs"),
        (("--split", "time"), "--split: the pairs have no column 'time' or 'timestamp'"),
        (("--fuse", "l3", "--backbone", "als"), "--fuse: l3 goes with the backbone ease, not als"),
        (("--features", "vector,taste"), "--features: expected one or more of vector, answers, q"),
        (("--features", "q"), "has no q; make them with genz profile --questions"),
        (("--backbone", "knn"), "--backbone: expected one of ease, als, lightgcn, bpr, popularity, got 'knn'"),
        (("--at-least", 7), "no pair has a value of at least 7; the largest value is 5"),
    ],
)
def test_wrong_options_are_refused_in_a_line(
    genz: Genz, files: tuple[Path, Path], tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    done = genz("recommend", files[0], "--items", files[1], "--out", tmp_path / "r", *SMALL, *arguments)
    assert done.code == 2
    assert message in done.message
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("users", "--top", 66), "--top: expected a number from 1 to 65, the number of items, got 66"),
        (("users", "--top", 6, "--new"), "--top: expected a number from 1 to 5, the number of new items, got 6"),
        (("users", "--why", -1), "--why: expected a number of at least 0"),
        (("users", "--level", 0.5), "--level: only for runs of genz fit or cooccur"),
        (("users", "--vectors", "x.parquet"), "--vectors: only for runs of genz fit"),
        (("strange.csv",), "there is no user 'u99' and 1 more; did you mean 'u9'? give users of the pairs"),
    ],
)
def test_wrong_lists_are_refused_in_a_line(
    genz: Genz, made: Path, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    (tmp_path / "strange.csv").write_text("user\nu1\nu99\nu100\n")
    done = genz("predict", made, *arguments)
    assert done.code == 2
    assert message in done.message


def test_conflicting_pairs_are_refused(genz: Genz, files: tuple[Path, Path], tmp_path: Path) -> None:
    with files[0].open("a") as file:
        first = files[0].read_text().splitlines()[1]
        file.write(first.replace("5.0", "1.0") + "\n")
    done = genz("recommend", files[0], "--items", files[1], "--out", tmp_path / "r", *SMALL)
    assert done.code == 2
    assert "is in rows 1 and 1281 with two values; keep one of the two" in done.message


def test_folder_that_is_there_is_kept(genz: Genz, files: tuple[Path, Path], made: Path) -> None:
    before = {path.name: path.read_bytes() for path in made.iterdir()}
    done = genz("recommend", files[0], "--items", files[1], "--out", made, *SMALL)
    assert done.code == 2
    assert "is there already; choose another --out, or remove it" in done.message
    assert {path.name: path.read_bytes() for path in made.iterdir()} == before


def test_same_seed_same_folder(genz: Genz, files: tuple[Path, Path], made: Path, tmp_path: Path) -> None:
    assert genz("recommend", files[0], "--items", files[1], "--split", "cold", "--out", tmp_path / "b", *SMALL).code == 0
    for path in made.iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_lists_without_profiles_and_options_of_other_folders(genz: Genz, files: tuple[Path, Path], tmp_path: Path) -> None:
    assert genz("recommend", files[0], "--out", tmp_path / "plain", *SMALL).code == 0
    done = genz("predict", tmp_path / "plain", "users", "--new")
    assert done.code == 2
    assert "--new: there are no new items with a profile; leave it out" in done.message
    (tmp_path / "empty").mkdir()
    wrong = genz("predict", tmp_path / "empty", "users", "--top", 3)
    assert wrong.code == 2
    assert "--top, --why and --new: only for folders of genz recommend" in wrong.message


def test_damaged_folder_is_refused(genz: Genz, made: Path) -> None:
    np.save(made / "items.npy", np.zeros((3, 3), np.float32))
    done = genz("predict", made, "users")
    assert done.code == 2
    assert "cannot be read (its tables and arrays are of different sizes); take an intact copy" in done.message
    (made / "items.npy").write_bytes(b"")
    assert "take an intact copy" in genz("predict", made, "users").message
    about: dict[str, Any] = json.loads((made / "recommend.json").read_text())
    (made / "recommend.json").write_text(json.dumps({**about, "format": 2}))
    assert "is of form 2, this genz-ppl knows 1; upgrade genz-ppl" in genz("predict", made, "users").message


def test_loaded_folder_gives_the_same_lists(made: Path) -> None:
    one, two = Recommendation.load(made), Recommendation.load(made)
    assert one.top(["u1", "u2"], 5, 2).equals(two.top(["u1", "u2"], 5, 2))
    assert one.weights.shape == (80, 4)
