from __future__ import annotations

import csv
import json
import os
import sqlite3
import time
from collections.abc import Iterator
from hashlib import sha256
from math import nan
from pathlib import Path

import pandas as pd
import pytest

from genz_ppl.errors import OptionError, StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store import tools as store_tools
from genz_ppl.llm.store.repair import repair
from genz_ppl.llm.store.store import AnswerStore, Pair, Question, StoredAnswer
from genz_ppl.llm.store.tools import Exported, ModelCount, StoreInfo

RED = Question("Is it red?", "small", "http://localhost/v1", "one 1-abc", "{}")
ODD = Question('Is it "odd",\nor \x00 réd \ud800?', "small", "http://localhost/v1", "many 1-def", "{}", 1)
BIG = Question("Is it big?", "large", "https://api/v1", "one 1-abc", '{"temperature":0}')
CALL = Spending(1, 10, 5, 0.5)
YES, NO = StoredAnswer(1.0), StoredAnswer(0.0)


def item(name: object) -> bytes:
    return sha256(str(name).encode()).digest()


SMALL: dict[Pair, StoredAnswer] = {
    (RED, item(1)): YES,
    (RED, item(2)): StoredAnswer(0.0, "", 0.25),
    (RED, item(3)): StoredAnswer(nan, "refusal, of course"),
    (ODD, item(1)): NO,
}
LARGE: dict[Pair, StoredAnswer] = {(BIG, item(1)): NO, (BIG, item(4)): StoredAnswer(nan, "content filter")}


def put(store: AnswerStore, model: str, answers: dict[Pair, StoredAnswer], text: str) -> None:
    attempt = store.begin(store.open_run("run", fresh=False), "extract", model, CALL)
    store.settle(attempt, "done", CALL, answers, {model.encode(): text})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with answers of two models, those of the large one 30 days old, and an attempt that was never settled."""
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as store:
        put(store, "large", LARGE, "a proposal")
        put(store, "small", SMALL, "a description")
        store.begin(store.open_run("run", fresh=False), "extract", "small", CALL)
    edit(path, f"UPDATE attempts SET begun = {time.time() - 30 * 86_400} WHERE model = 'large'")
    return path


def edit(path: Path, *statements: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0
    connection.close()


@pytest.fixture
def store(path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(path) as opened:
        yield opened


def known(path: Path) -> set[Pair]:
    with AnswerStore(path) as store:
        pairs = [*SMALL, *LARGE]
        claim = store.claim(pairs)
        return set(claim.known)


# ---- info


def test_info_counts_what_is_there(path: Path) -> None:
    found = store_tools.info(path)
    assert found.models == (
        ModelCount("small", "http://localhost/v1", "one 1-abc", 1, 1, 1, 1),
        ModelCount("large", "https://api/v1", "one 1-abc", 1, 0, 1, 1),
        ModelCount("small", "http://localhost/v1", "many 1-def", 1, 0, 1, 0),
    )
    assert (found.answers, found.items, found.texts, found.runs) == (6, 4, 2, 1)
    assert (found.attempts, found.unsettled, found.spent) == (3, 1, CALL + CALL + CALL)
    assert found.failed == {"refusal, of course": 1, "content filter": 1}
    assert (found.leases, found.orphans, found.damaged) == (0, 0, None)
    assert found.size == path.stat().st_size
    assert json.loads(json.dumps(found.to_dict()))["spent"] == {"calls": 3, "tokens_in": 30, "tokens_out": 15, "cost": 1.5}


def test_info_of_an_empty_store(tmp_path: Path) -> None:
    AnswerStore(tmp_path / "new.sqlite").close()
    found = store_tools.info(tmp_path / "new.sqlite", check=True)
    assert (found.answers, found.models, found.spent, found.damaged) == (0, (), Spending(), 0)


def test_info_tells_what_is_being_asked_from_what_ended_runs_left(path: Path, store: AnswerStore) -> None:
    store.claim([(RED, item(7)), (RED, item(8))])
    with AnswerStore(path, lease_seconds=1e-9) as hasty:
        hasty.claim([(RED, item(9))])
        found = store_tools.info(path)
    assert (found.leases, found.orphans) == (2, 1)


def test_info_finds_damaged_rows_when_asked_to(path: Path) -> None:
    edit(path, "UPDATE answers SET value = 1 - value WHERE probability IS NOT NULL", "UPDATE questions SET draw = 7 WHERE id = 1")
    assert store_tools.info(path).damaged is None
    assert store_tools.info(path, check=True).damaged == 1 + len(LARGE)  # both answers of question 1


@pytest.mark.parametrize("call", [store_tools.info, store_tools.prune, lambda path: store_tools.export(path, "out.csv")])
def test_no_store_is_made_by_looking_for_one(tmp_path: Path, call: object) -> None:
    assert callable(call)
    with pytest.raises(StoreError, match="found no store of answers there; name another one with --store FILE"):
        call(tmp_path / "none.sqlite")
    assert list(tmp_path.iterdir()) == []


# ---- export


def expected_rows() -> list[dict[str, object]]:
    """In the order of questions, then of items: as they came."""
    rows = []
    for (question, each), answer in [*LARGE.items(), *SMALL.items()]:
        value = None if answer.value != answer.value else int(answer.value)
        feature = question.feature.replace("\ud800", "\\ud800")
        parts = dict(zip(("model", "endpoint", "prompt", "sampling", "draw"), question.columns[1:], strict=True))
        kept = {"answer": value, "reason": answer.reason, "probability": answer.probability}
        rows.append({"item": each.hex(), "feature": feature, **parts, **kept, "question": question.digest.hex()})
    return rows


def test_export_to_jsonl(path: Path, tmp_path: Path) -> None:
    assert store_tools.export(path, tmp_path / "out.jsonl") == Exported(rows=6, damaged=0)
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()] == expected_rows()


def test_export_to_csv(path: Path, tmp_path: Path) -> None:
    assert store_tools.export(path, tmp_path / "out.CSV") == Exported(rows=6, damaged=0)
    with (tmp_path / "out.CSV").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    as_text = [{name: "" if value is None else str(value) for name, value in row.items()} for row in expected_rows()]
    assert rows == as_text


def test_export_to_parquet(path: Path, tmp_path: Path) -> None:
    assert store_tools.export(path, tmp_path / "out.parquet") == Exported(rows=6, damaged=0)
    table = pd.read_parquet(tmp_path / "out.parquet")
    assert table.astype(object).where(table.notna(), None).to_dict("records") == expected_rows()


def test_export_of_an_empty_store(tmp_path: Path) -> None:
    AnswerStore(tmp_path / "new.sqlite").close()
    assert store_tools.export(tmp_path / "new.sqlite", tmp_path / "out.parquet") == Exported(rows=0, damaged=0)
    assert list(pd.read_parquet(tmp_path / "out.parquet").columns) == list(expected_rows()[0])


def test_export_leaves_damaged_rows_out(path: Path, tmp_path: Path) -> None:
    edit(
        path,
        "UPDATE answers SET value = 1 - value WHERE probability IS NOT NULL",
        "UPDATE questions SET feature = 'Is it pig?' WHERE feature = 'Is it big?'",
    )
    assert store_tools.export(path, tmp_path / "out.jsonl") == Exported(rows=3, damaged=3)
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert rows == [row for row in expected_rows() if row["model"] == "small" and row["probability"] is None]


def test_export_of_a_store_with_unreadable_pages_takes_a_repair(tmp_path: Path) -> None:
    path = tmp_path / "answers.sqlite"
    with AnswerStore(path) as store:
        put(store, "small", {(RED, item(n)): YES for n in range(3000)}, "")
        put(store, "small", {(BIG, item(n)): NO for n in range(3000)}, "")
        put(store, "small", {(ODD, item(n)): YES for n in range(3000)}, "")
    connection = sqlite3.connect(path)
    (mark,) = connection.execute("SELECT checksum FROM answers WHERE question = 2 AND item = 1500").fetchone()
    connection.close()
    content = bytearray(path.read_bytes())
    broken = content.index(mark.to_bytes(8, "big", signed=True)) // 4096 * 4096  # the page that holds this answer
    content[broken : broken + 4096] = os.urandom(4096)
    path.write_bytes(content)
    with AnswerStore(path) as store:
        with pytest.raises(StoreError, match="run 'genz store repair --store"):
            store.lookup([BIG], [item(n) for n in range(3000)])
        assert store.lookup([RED, ODD], [item(n) for n in range(3000)])[1].all()
    for call in (lambda: store_tools.export(path, tmp_path / "out.jsonl"), lambda: store_tools.info(path, check=True)):
        with pytest.raises(StoreError, match=f"the store is damaged .*; run 'genz store repair --store {path}'"):
            call()
    assert not list(tmp_path.glob("out*"))
    assert repair(path) is not None
    written = store_tools.export(path, tmp_path / "out.jsonl")
    assert written.damaged == 0
    assert 9000 - 300 < written.rows < 9000
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text("utf-8").splitlines()]
    assert len({(row["item"], row["feature"]) for row in rows}) == len(rows) == written.rows
    assert all(row["answer"] == (0 if row["feature"] == BIG.feature else 1) for row in rows)


def test_export_refuses_what_it_cannot_write(path: Path, tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("precious")
    for name, expected in (
        ("out.txt", r"expected a name that ends with .csv, .parquet or .jsonl"),
        ("there.csv", "is there already and is not overwritten; name another file or move it away"),
        ("none/out.csv", r"cannot be written \(No such file or directory\); check the folder, space and permissions"),
    ):
        with pytest.raises(OptionError, match=expected):
            store_tools.export(path, tmp_path / name)
    assert (tmp_path / "there.csv").read_text() == "precious"
    assert sorted(file.name for file in tmp_path.iterdir() if "answers" not in file.name) == ["there.csv"]


# ---- prune


@pytest.mark.parametrize(
    ("options", "gone", "texts"),
    [
        ({}, set(), 0),
        ({"failed": True}, {(RED, item(3)), (BIG, item(4))}, 0),
        ({"model": "large"}, set(LARGE), 1),
        ({"model": "small", "failed": True}, {(RED, item(3))}, 0),
        ({"prompt": "one 1-abc"}, {pair for pair in [*SMALL, *LARGE] if pair[0] is not ODD}, 0),
        ({"model": "small", "prompt": "many 1-def"}, {(ODD, item(1))}, 0),
        ({"older_than": 29.0}, set(LARGE), 1),
        ({"older_than": 31.0}, set(), 0),
        ({"older_than": 0.0}, {*SMALL, *LARGE}, 2),
        ({"older_than": 29.0, "model": "small"}, set(), 0),
        ({"model": "unknown"}, set(), 0),
    ],
)
def test_prune_takes_what_meets_all_conditions(path: Path, options: dict[str, object], gone: set[Pair], texts: int) -> None:
    before = path.read_bytes()
    would = store_tools.prune(path, dry_run=True, **options)  # type: ignore[arg-type]
    assert path.read_bytes() == before
    did = store_tools.prune(path, **options)  # type: ignore[arg-type]
    assert (would.answers, would.texts) == (did.answers, did.texts) == (len(gone), texts)
    assert known(path) == {*SMALL, *LARGE} - gone
    found = store_tools.info(path, check=True)
    assert (found.damaged, found.texts, found.attempts) == (0, 2 - texts, 3)


def test_prune_takes_the_leases_of_ended_runs_and_gives_the_space_back(path: Path) -> None:
    with AnswerStore(path) as store:
        put(store, "small", {(RED, item(n)): YES for n in range(100, 20_000)}, "")
    with AnswerStore(path, lease_seconds=1e-9) as hasty:
        hasty.claim([(RED, item("a")), (RED, item("b"))])
        gone = store_tools.prune(path, model="small")
    assert (gone.answers, gone.leases) == (19_900 + len(SMALL), 2)
    assert gone.size_after == path.stat().st_size < gone.size_before - 400_000
    assert store_tools.info(path).orphans == 0


def test_prune_waits_for_no_run(path: Path, store: AnswerStore) -> None:
    store.claim([(RED, item(7)), (RED, item(8))])
    with pytest.raises(
        StoreError, match="2 questions are being asked now, by a run or a batch; prune the store when it has ended"
    ):
        store_tools.prune(path, model="small")
    assert store_tools.prune(path, model="small", dry_run=True).answers == len(SMALL)
    store.release([(RED, item(7)), (RED, item(8))])
    assert store_tools.prune(path, model="small").answers == len(SMALL)
    # A store that is open meanwhile goes on as before.
    put(store, "small", SMALL, "")
    assert set(store.claim([*SMALL]).known) == set(SMALL)
    assert store.damaged() == 0


def test_prune_checks_its_days(path: Path) -> None:
    for days in (-1.0, nan):
        with pytest.raises(OptionError, match="--older-than: expected a number of days of at least 0"):
            store_tools.prune(path, older_than=days)


def test_info_as_plain_values() -> None:
    found = StoreInfo("p", 1, 1, 0, (ModelCount("m", "e", "p", 1, 2, 3, 4),), {}, 0, 0, 0, 0, Spending(), 0, 0, None)
    assert found.to_dict()["answers"] == 9
    assert found.to_dict()["models"][0]["failed"] == 4
