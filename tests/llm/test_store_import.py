"""Answers that were exported come back; those of another store come along."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Callable
from math import nan
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from storing import BIG, FAILED, NO, ONE_CALL, RED, YES, edit, item, put, same

from genz_ppl.errors import GenzError, GenzWarning, InputError, OptionError, StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store import tools as store_tools
from genz_ppl.llm.store.importing import Imported, import_answers
from genz_ppl.llm.store.store import AnswerStore, Pair, Question, StoredAnswer

SUFFIXES = (".csv", ".jsonl", ".parquet")
WORDS = [
    "red",
    'odd "quoted", and\nmore\r\n',
    "réd ✓",
    "",
    "\x00 and \t",
    "\\ud800",
    "\ud800 alone",
    "=1+1",
    "-",
    "null",
    "nan",
    "0",
    " x ",
]


def made(seed: int) -> dict[Pair, StoredAnswer]:
    """Answers to questions that differ in every part, in words that files have trouble with."""
    choose = random.Random(seed)
    questions = []
    for _ in range(25):
        feature, model, endpoint, prompt, sampling = choose.choices(WORDS, k=5)
        questions.append(Question(feature, model, endpoint, prompt, sampling, choose.randrange(3)))
    probabilities = [None, None, 0.0, 1.0, 0.1 + 0.2, 1 / 3, 5e-324]
    return {
        (question, item(n)): choose.choice(
            [
                YES,
                NO,
                FAILED,
                StoredAnswer(nan, choose.choice(WORDS).replace("\ud800", "")),
                StoredAnswer(1.0, "", choose.choice(probabilities)),
            ]
        )
        for question in questions
        for n in range(choose.randrange(8))
    }


def stored(path: Path, answers: dict[Pair, StoredAnswer]) -> None:
    with AnswerStore(path) as store:
        put(store, answers)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_exported_comes_back(path: Path, tmp_path: Path, suffix: str, seed: int) -> None:
    answers, file, second = made(seed), tmp_path / f"out{suffix}", tmp_path / "second.sqlite"
    stored(path, answers)
    assert store_tools.export(path, file).rows == len(answers)
    assert import_answers(file, second) == Imported(new=len(answers))
    with AnswerStore(path) as one, AnswerStore(second) as two:
        left, right = one.claim(list(answers)).known, two.claim(list(answers)).known
        assert set(left) == set(right) == set(answers)
        assert all(same(left[pair], right[pair]) for pair in answers)
        assert two.damaged() == 0
    before = second.read_bytes()
    assert import_answers(file, second) == Imported(known=len(answers))  # a second time
    assert store_tools.info(second, check=True).damaged == 0
    again = tmp_path / f"again{suffix}"
    store_tools.export(second, again)
    assert sorted(again.read_bytes()) == sorted(file.read_bytes()) or suffix == ".parquet"
    assert len(second.read_bytes()) == len(before)


def test_another_store_comes_with_its_texts_and_without_its_ledger(path: Path, tmp_path: Path) -> None:
    answers, other = made(7), tmp_path / "other.anything"
    with AnswerStore(other) as store:
        attempt = store.begin(store.open_run("run", fresh=True), "describe", "eyes", ONE_CALL)
        store.settle(attempt, "done", ONE_CALL, answers, {item("a"): "seen", item("b"): "seen too"})
    with AnswerStore(path) as store:
        store.settle(store.begin(1, "describe", "eyes", ONE_CALL), "done", ONE_CALL, {}, {item("b"): "seen before"})
    assert import_answers(other, path) == Imported(new=len(answers), texts=1)
    assert import_answers(other, path) == Imported(known=len(answers))
    with AnswerStore(path) as store:
        assert len(store.claim(list(answers)).known) == len(answers)
        assert [store.text(item(name)) for name in "ab"] == ["seen", "seen before"]
    found = store_tools.info(path, check=True)
    assert (found.spent, found.damaged) == (ONE_CALL, 0)
    assert store_tools.prune(path, model="eyes", dry_run=True).texts == 2


def test_what_is_answered_stays(path: Path, tmp_path: Path) -> None:
    theirs = {(RED, item(n)): answer for n, answer in enumerate((YES, NO, FAILED, YES, FAILED, YES))}
    ours = {(RED, item(n)): answer for n, answer in enumerate((YES, YES, YES, FAILED, FAILED))}
    stored(tmp_path / "other.sqlite", theirs)
    store_tools.export(tmp_path / "other.sqlite", tmp_path / "out.csv")
    stored(path, ours)
    assert import_answers(tmp_path / "out.csv", path) == Imported(new=1, known=2, conflicting=3)
    with AnswerStore(path) as store:
        found = store.claim(list(theirs)).known
        assert all(same(found[pair], answer) for pair, answer in (ours | {(RED, item(5)): YES}).items())


def test_a_damaged_row_is_replaced_and_what_is_being_asked_is_answered(path: Path, tmp_path: Path) -> None:
    stored(tmp_path / "other.sqlite", {(RED, item(n)): YES for n in range(3)})
    stored(path, {(RED, item(0)): YES})
    edit(path, "UPDATE answers SET value = 0")
    with AnswerStore(path) as store:
        assert len(store.claim([(RED, item(1)), (RED, item(2))]).mine) == 2
        assert import_answers(tmp_path / "other.sqlite", path) == Imported(new=3)
        put(store, {(RED, item(1)): NO})  # too late: the first answer counts
        assert set(store.claim([(RED, item(n)) for n in range(3)]).known.values()) == {YES}


def row(**changed: object) -> dict[str, object]:
    """A good row of an export, but for what is given."""
    names = ("feature", "model", "endpoint", "prompt", "sampling", "draw")
    parts = dict(zip(names, RED.columns, strict=True))
    return {
        "item": item(1).hex(),
        **parts,
        "answer": 1,
        "reason": "",
        "probability": None,
        "question": RED.digest.hex(),
        **changed,
    }


def as_csv(rows: list[dict[str, object]], file: Path) -> None:
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def as_jsonl(rows: list[dict[str, object]], file: Path) -> None:
    file.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")


def as_parquet(rows: list[dict[str, object]], file: Path) -> None:
    columns = {name: [each[name] for each in rows] for name in rows[0]}
    for name, values in columns.items():
        if len({type(value) for value in values}) > 1:  # a column has one type
            columns[name] = ["" if value is None else str(value) for value in values]
    pq.write_table(pa.table(columns), file)


WRITERS: dict[str, Callable[[list[dict[str, object]], Path], None]] = {".csv": as_csv, ".jsonl": as_jsonl, ".parquet": as_parquet}
HASH = "expected a hash of 64 hexadecimal digits"
CHANGED = "question: is not the hash of feature, model, endpoint, prompt, sampling and draw; one was changed"
BAD: list[tuple[dict[str, object], str]] = [
    ({"answer": 2}, "answer: expected 1, 0 or nothing"),
    ({"answer": -1}, "answer: expected 1, 0 or nothing"),
    ({"answer": 0.5}, "answer: expected 1, 0 or nothing"),
    ({"answer": "yes"}, "answer: expected 1, 0 or nothing"),
    ({"answer": True}, "answer: expected 1, 0 or nothing"),
    ({"answer": float("inf")}, "answer: expected 1, 0 or nothing"),
    ({"probability": 1.5}, "probability: expected a number from 0 to 1 or nothing"),
    ({"item": "house 7"}, f"item: {HASH}"),
    ({"item": item(1).hex()[:-2]}, f"item: {HASH}"),
    ({"question": "RED"}, f"question: {HASH}"),
    ({"feature": "Is it bed?"}, CHANGED),
    ({"model": "n"}, CHANGED),
    ({"endpoint": ""}, CHANGED),
    ({"prompt": "extract_one 2-abc"}, CHANGED),
    ({"sampling": '{"temperature":0}'}, CHANGED),
    ({"draw": 1}, CHANGED),
    ({"draw": -1}, CHANGED),
    ({"draw": "first"}, CHANGED),
    ({"draw": "9" * 30}, CHANGED),
    ({"answer": "1" * 400}, "answer: expected 1, 0 or nothing"),
]


@pytest.mark.parametrize(("changed", "why"), BAD)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_was_never_exported_is_refused_row_by_row(
    path: Path, tmp_path: Path, suffix: str, changed: dict[str, object], why: str
) -> None:
    file = tmp_path / f"edited{suffix}"
    rows = [row(), row(**changed), row(item=item(2).hex(), answer=0), row(item=item(3).hex()) | changed]
    WRITERS[suffix](rows, file)
    with pytest.warns(GenzWarning) as caught:
        found = import_answers(file, path)
    assert found == Imported(new=2, refused={why: (2, 2)})
    assert [str(each.message) for each in caught] == [f"{file}: 2 rows were refused, the first is row 2: {why}"]
    with AnswerStore(path) as store:
        assert store.claim([(RED, item(n)) for n in (1, 2)]).known == {(RED, item(1)): YES, (RED, item(2)): NO}
        assert store_tools.info(path, check=True).answers == 2


@pytest.mark.parametrize("answer", ["1.0", "NaN", "nan", "", "0"])
def test_numbers_as_other_programs_write_them(path: Path, tmp_path: Path, answer: str) -> None:
    as_csv([row(answer=answer)], tmp_path / "out.csv")
    assert import_answers(tmp_path / "out.csv", path) == Imported(new=1)
    with AnswerStore(path) as store:
        found = store.claim([(RED, item(1))]).known[RED, item(1)]
        assert same(found, {"1.0": YES, "0": NO}.get(answer, StoredAnswer(nan)))


def test_one_answer_twice_in_a_file(path: Path, tmp_path: Path) -> None:
    as_jsonl([row(), row(), row(answer=0)], tmp_path / "out.jsonl")
    assert import_answers(tmp_path / "out.jsonl", path) == Imported(new=1, known=1, conflicting=1)


def test_more_than_one_portion(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("genz_ppl.llm.store.importing._PORTION", 7)
    answers = {(question, item(n)): NO for question in (RED, BIG) for n in range(30)}
    stored(tmp_path / "other.sqlite", answers)
    store_tools.export(tmp_path / "other.sqlite", tmp_path / "out.parquet")
    assert import_answers(tmp_path / "out.parquet", path) == Imported(new=60)
    assert import_answers(tmp_path / "out.parquet", path) == Imported(known=60)


def test_an_export_of_nothing_is_nothing(path: Path, tmp_path: Path) -> None:
    AnswerStore(tmp_path / "empty.sqlite").close()
    for suffix in SUFFIXES:
        store_tools.export(tmp_path / "empty.sqlite", tmp_path / f"out{suffix}")
        assert import_answers(tmp_path / f"out{suffix}", path) == Imported()


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.txt", b"item", "expected a store of answers, or a name that ends with .csv, .parquet, .jsonl"),
        ("none.csv", None, r"cannot be read \(.*No such file or directory"),
        ("a.parquet", b"no parquet", "cannot be read"),
        (
            "a.csv",
            b"house,price\n1,2\n",
            "expected what 'genz store export' writes, found no answer; row 1: there is no column 'feature'",
        ),
        (
            "a.jsonl",
            b'{"item": "1"}\n',
            "expected what 'genz store export' writes, found no answer; row 1: there is no column 'feature'",
        ),
        ("a.jsonl", b"[" * 100_000, "found no answer; row 1: it is damaged, or no row of a table"),
        ("b.jsonl", b"\xff\xfe{}\n[]\n", "found no answer; row 1: it is damaged, or no row of a table"),
        ("a.sqlite", b"SQLite format 3\0" + b"x" * 5000, "found another kind of file"),
    ],
)
def test_what_is_no_export_is_refused_and_makes_no_store(
    path: Path, tmp_path: Path, name: str, content: bytes | None, expected: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(GenzError, match=expected) as caught:
        import_answers(tmp_path / name, path)
    assert isinstance(caught.value, InputError | StoreError)
    assert "\n" not in str(caught.value)
    assert not path.exists()


def test_a_store_is_not_imported_into_itself(path: Path) -> None:
    stored(path, {(RED, item(1)): YES})
    with pytest.raises(OptionError, match="is the store itself; name another file, or another store with --store"):
        import_answers(path, path)


def test_damaged_rows_of_another_store_stay_out(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.sqlite"
    stored(other, {(RED, item(n)): YES for n in range(3)})
    edit(other, "UPDATE answers SET value = 0 WHERE item = 2")
    with pytest.warns(GenzWarning, match="1 rows were refused, the first is row 2: it is damaged"):
        assert import_answers(other, path).new == 2


def test_no_money_is_booked(path: Path, tmp_path: Path) -> None:
    stored(tmp_path / "other.sqlite", {(RED, item(1)): YES})
    import_answers(tmp_path / "other.sqlite", path)
    found = store_tools.info(path)
    assert (found.spent, found.unsettled, found.runs) == (Spending(), 0, 0)
