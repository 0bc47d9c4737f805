"""A store with damaged pages, made anew from what can be read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from storing import ONE_CALL, edit, item, put, same

from genz_ppl.errors import StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store import repair as store_repair
from genz_ppl.llm.store import tools as store_tools
from genz_ppl.llm.store.batches import BatchJob, BatchLedger
from genz_ppl.llm.store.repair import Repaired, repair
from genz_ppl.llm.store.store import AnswerStore, BoolArray, Pair, Question, StoredAnswer

PAGE = 4096
WORDS = ("red", "big", "new", "round", "old " * 1500)  # the last is longer than a page
QUESTIONS = [Question(f"Is it {word}?", "m", "http://localhost/v1", "extract_one 1-abc", "{}") for word in WORDS]
ITEMS = [item(n) for n in range(150)]
BATCH = BatchJob(tuple(item(f"batch {n}") for n in range(150)), (QUESTIONS[0],))


@dataclass(frozen=True)
class Written:
    """A store as it was written: the bytes of the file, its answers, texts and attempts, and the page that each row is on."""

    content: bytes
    answers: dict[Pair, StoredAnswer]
    texts: dict[bytes, str]
    attempts: dict[int, tuple[object, ...]]
    page_of: dict[Pair, int]
    spent: float

    @property
    def pages(self) -> int:
        return len(self.content) // PAGE


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Two runs, a batch that is waited for and one that was collected; no page holds what was deleted."""
    path, random = tmp_path_factory.mktemp("written") / "answers.sqlite", np.random.default_rng(0)
    answers: dict[Pair, StoredAnswer] = {}
    texts: dict[bytes, str] = {}
    pairs = [(question, each) for each in ITEMS for question in QUESTIONS]
    with AnswerStore(path) as store:
        runs = [store.open_run(f"/runs/{name}", fresh=True) for name in ("one", "two")]
        ledger = BatchLedger(store)
        collected = ledger.add(runs[0], "http://localhost/v1", "m", [BatchJob((item("old"),), (QUESTIONS[1],))], ONE_CALL)
        store.settle(collected.attempt, "completed", ONE_CALL)
        ledger.close(collected)
        for number, start in enumerate(range(0, len(pairs), 6)):
            attempt = store.begin(runs[number % 2], "extract", "m", Spending(1, 900, 900, 1.0))
            portion = {pair: _random_answer(random) for pair in pairs[start : start + 6]}
            text = {item(f"text {number}"): "word " * int(random.integers(1, 2500))} if number % 10 == 0 else {}
            store.settle(attempt, "answered", Spending(1, 90, number % 50, 0.25), portion, text)
            answers |= portion
            texts |= text
        ledger.sent(ledger.add(runs[1], "http://localhost/v1", "m", [BATCH], Spending(1, 90, 90, 0.25)), "batch-7")
    edit(path, "VACUUM")
    content = path.read_bytes()
    with closing(sqlite3.connect(path)) as connection:
        attempts = {row[0]: row for row in connection.execute("SELECT * FROM attempts")}
        digests = dict(connection.execute("SELECT id, digest FROM items"))
        texts_of = {
            number: QUESTIONS[WORDS.index(text[6:-1])] for number, text in connection.execute("SELECT id, feature FROM questions")
        }
        page_of = {}
        for question, each, mark in connection.execute("SELECT question, item, checksum FROM answers"):
            place = content.find(mark.to_bytes(8, "big", signed=True))
            assert place >= 0
            page_of[texts_of[question], digests[each]] = place // PAGE
    assert len(set(page_of.values())) > 4
    return Written(content, answers, texts, attempts, page_of, sum(row[11] for row in attempts.values()))


def _random_answer(random: np.random.Generator) -> StoredAnswer:
    if random.random() < 0.1:
        return StoredAnswer(float("nan"), "refusal")
    probability = (
        None if random.random() < 0.8 else float(random.integers(0, 5)) / 4
    )  # 0 and 1 too: SQLite keeps them as integers
    return StoredAnswer(float(random.random() < 0.5), "", probability)


def damaged(written: Written, page: int, kind: str, random: np.random.Generator) -> bytes:
    """The file with one page that is not what was written."""
    start = page * PAGE
    content = bytearray(written.content)
    if kind == "noise":
        content[start : start + PAGE] = random.bytes(PAGE)
    elif kind == "zeros":
        content[start : start + PAGE] = bytes(PAGE)
    elif kind == "torn":
        content[start + PAGE // 2 : start + PAGE] = random.bytes(PAGE // 2)
    elif kind == "bits":
        for place in random.integers(0, PAGE, 60):
            content[start + place] ^= 1 << int(random.integers(8))
    else:  # another page's content, written to the wrong place
        other = int(random.integers(written.pages)) * PAGE
        content[start : start + PAGE] = written.content[other : other + PAGE]
    return bytes(content)


def kept(path: Path, written: Written) -> set[Pair]:
    """The pairs that a store knows; each answer is the right one."""
    with AnswerStore(path) as store:
        found = store.claim(list(written.answers)).known
        assert all(same(found[pair], written.answers[pair]) for pair in found)
        known = store.lookup(QUESTIONS, ITEMS)[1]
        assert {(question, each) for question, column in zip(QUESTIONS, known.T, strict=True) for each in _those(column)} == set(
            found
        )
        for key, text in written.texts.items():
            assert store.text(key) in (None, text)
        assert store.damaged() == 0
    return set(found)


def _those(known: BoolArray) -> list[bytes]:
    return [each for each, is_known in zip(ITEMS, known, strict=True) if is_known]


@pytest.mark.slow
def test_one_damaged_page_costs_what_is_on_it_and_nothing_else(written: Written, path: Path) -> None:
    """Every page of the store, its head, its schema and its indexes too, in one of five ways."""
    kinds = ("noise", "zeros", "torn", "bits", "misplaced")
    refused = 0
    for page in range(written.pages):
        random = np.random.default_rng(page)
        path.write_bytes(damaged(written, page, kinds[page % len(kinds)], random))
        done = repair(path)
        refused += done is not None
        found = kept(path, written)
        assert found >= {pair for pair, place in written.page_of.items() if place != page}
        with closing(sqlite3.connect(path)) as connection:
            for row in connection.execute("SELECT * FROM attempts WHERE kind != 'lost'"):
                assert row == written.attempts[row[0]] or kinds[page % len(kinds)] == "bits"
            (lost,) = connection.execute("SELECT count(*) FROM attempts WHERE kind = 'lost'").fetchone()
            assert connection.execute("SELECT count(*) FROM attempts").fetchone() == (len(written.attempts),)
        assert lost == (0 if done is None else done.lost_attempts)
        for left in path.parent.iterdir():
            left.unlink()
    assert refused >= 40


@pytest.mark.parametrize("seed", range(8))
def test_several_damaged_pages_cost_no_more(written: Written, path: Path, seed: int) -> None:
    """Items and questions are named on two pages, the table's and the index's: an answer is lost with its own or with both."""
    random = np.random.default_rng(seed)
    broken = {int(page) for page in random.choice(written.pages, 5, replace=False)}
    content = bytearray(written.content)
    for page in broken:
        content[page * PAGE : (page + 1) * PAGE] = random.bytes(PAGE)
    path.write_bytes(content)
    assert repair(path) is not None
    named = {name: not broken.issuperset(holding(written, name)) for name in (*ITEMS, *(each.digest for each in QUESTIONS))}
    pairs = [pair for pair, page in written.page_of.items() if page not in broken]
    assert kept(path, written) == {(question, each) for question, each in pairs if named[each] and named[question.digest]}


def spent(path: Path) -> dict[str, float]:
    with AnswerStore(path) as store:
        return {name: store.spent(store.open_run(f"/runs/{name}", fresh=False)).cost for name in ("one", "two")}


def holding(written: Written, text: bytes) -> list[int]:
    """The pages that hold these bytes."""
    return [page for page in range(written.pages) if text in written.content[page * PAGE : (page + 1) * PAGE]]


def test_the_ledger_and_the_names_of_runs_survive(written: Written, path: Path) -> None:
    """Lost attempts count with the mean of their run; the path of a run comes from the index, if need be."""
    path.write_bytes(written.content)
    before = spent(path)
    path.unlink()
    attempts = [page for page in holding(written, b"answered") if written.content[page * PAGE] == 13]
    (runs,) = (page for page in holding(written, b"/runs/two") if written.content[page * PAGE] == 13)
    for page in (*attempts, runs):
        path.write_bytes(damaged(written, page, "noise", np.random.default_rng(page)))
        done = repair(path)
        assert done is not None
        assert (done.lost_attempts > 0) == (page in attempts)
        assert spent(path) == pytest.approx(before, rel=0.05)
        with AnswerStore(path) as store:
            assert store.open_run("/runs/three", fresh=True) == 3  # and never the number of a lost one
        assert done.damaged.read_bytes() != written.content
        path.unlink()
        done.damaged.unlink()


def test_a_batch_under_way_goes_on_and_a_collected_one_does_not_come_back(written: Written, path: Path) -> None:
    path.write_bytes(written.content)
    with AnswerStore(path) as store:
        before = BatchLedger(store).open("http://localhost/v1")
    edit(path, "UPDATE answers SET value = 7 WHERE item = 3")
    done = repair(path)
    assert done is not None
    assert (done.batches, done.lost_rows, done.lost_pages) == (1, len(QUESTIONS), 0)
    with AnswerStore(path) as store:
        assert BatchLedger(store).open("http://localhost/v1") == before
        assert before[0].identifier == "batch-7"
        assert set(store.claim(BATCH.pairs).theirs) == set(BATCH.pairs)  # leased to the batch, so that nobody pays twice
        store.settle(before[0].attempt, "completed", ONE_CALL)


def test_a_batch_that_is_damaged_itself_is_dropped(written: Written, path: Path) -> None:
    path.write_bytes(written.content)
    edit(path, "UPDATE batches SET jobs = CAST('y' || substr(jobs, 2) AS BLOB)", "UPDATE answers SET value = 7 WHERE item = 3")
    done = repair(path)
    assert done is not None
    assert done.batches == 0
    with AnswerStore(path) as store:
        assert BatchLedger(store).open("http://localhost/v1") == []
        assert set(store.claim(BATCH.pairs).mine) == set(BATCH.pairs)


def in_the_log(path: Path, answers: dict[Pair, StoredAnswer]) -> None:
    """What a power cut leaves: some answers in the file, the last five in the log beside it, in pages other than the first."""
    other = path.with_name("other.sqlite")
    for portion in (dict(list(answers.items())[:-5]), dict(list(answers.items())[-5:])):
        with AnswerStore(other) as store:
            put(store, portion)
            for beside in ("", "-wal"):
                shutil.copy(f"{other}{beside}", f"{path}{beside}")
    other.unlink()
    log = Path(f"{path}-wal").read_bytes()
    assert 1 not in {int.from_bytes(log[start : start + 4], "big") for start in range(32, len(log), 24 + PAGE)}


@pytest.mark.parametrize("head", [os.urandom(PAGE), None])
def test_what_is_only_in_the_log_is_kept(path: Path, head: bytes | None) -> None:
    """With a first page that SQLite can do nothing with, and one that says another size of pages, so that the log stays."""
    answers = {(QUESTIONS[0], each): StoredAnswer(float(n % 2)) for n, each in enumerate(ITEMS[:20])}
    in_the_log(path, answers)
    content = path.read_bytes()
    head = content[:16] + b"\x20" + content[17:PAGE] if head is None else head
    path.write_bytes(head + content[PAGE:])
    done = repair(path)
    assert done is not None
    assert done.answers == len(answers)
    assert not Path(f"{path}-wal").exists()  # it would be taken for the new file's
    with AnswerStore(path) as store:
        assert store.claim(list(answers)).known == answers
        assert store.damaged() == 0


@pytest.mark.parametrize("share", [0.5, 0.71, 0.97])
def test_a_file_that_was_cut_short(written: Written, path: Path, share: float) -> None:
    length = int(len(written.content) * share)
    path.write_bytes(written.content[:length])
    assert repair(path) is not None
    assert kept(path, written) >= {pair for pair, page in written.page_of.items() if page < length // PAGE}


def test_a_sound_store_is_left_as_it_is(path: Path) -> None:
    with AnswerStore(path) as store:
        put(store, {(QUESTIONS[0], item(1)): StoredAnswer(1.0)})
    assert repair(path) is None
    assert list(path.parent.iterdir()) == [path]
    with AnswerStore(path) as store:
        assert store.lookup([QUESTIONS[0]], [item(1)])[1].all()


def test_earlier_damaged_files_are_never_overwritten(written: Written, path: Path) -> None:
    for number, name in enumerate(("", "-1", "-2")):
        content = damaged(written, 5 + number, "noise", np.random.default_rng(number))
        path.write_bytes(content)
        path.chmod(0o640)
        done = repair(path)
        assert done is not None
        assert done.damaged == Path(f"{path}.damaged{name}")
        assert done.damaged.read_bytes()[PAGE:] == content[PAGE:]  # the head says whether there is a log
        assert path.stat().st_mode & 0o777 == 0o640
    assert sorted(each.name for each in path.parent.iterdir()) == [
        path.name,
        *(f"{path.name}.damaged{n}" for n in ("", "-1", "-2")),
    ]


def test_a_link_to_a_store_stays_a_link(written: Written, path: Path, tmp_path: Path) -> None:
    path.write_bytes(damaged(written, 5, "noise", np.random.default_rng(0)))
    link = tmp_path / "link.sqlite"
    link.symlink_to(path)
    done = repair(link)
    assert done is not None
    assert link.is_symlink()
    assert done.damaged.parent == path.parent.resolve()
    kept(path, written)


@pytest.mark.parametrize("where", ["link", "replace", "write"])
def test_a_repair_that_fails_leaves_the_store_as_it_was(
    written: Written, path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = damaged(written, 5, "noise", np.random.default_rng(0))
    path.write_bytes(content)

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        *{"link": (os, "link"), "replace": (Path, "replace"), "write": (store_repair._Rescue, "into")}[where], fail
    )
    with pytest.raises(StoreError, match="the disk is full; free some space"):
        repair(path)
    assert path.read_bytes()[PAGE:] == content[PAGE:]
    assert {each.name for each in path.parent.iterdir()} <= {path.name, f"{path.name}.damaged"}
    monkeypatch.undo()
    assert repair(path) is not None
    kept(path, written)


@pytest.mark.parametrize("page", [0, 5])
def test_a_store_in_use_is_not_repaired(written: Written, path: Path, page: int) -> None:
    """By this process or another one, in whatever state its head is."""
    path.write_bytes(written.content)
    expected = f"{path}: a process has the store open; stop it, and repair the store then"
    with AnswerStore(path), pytest.raises(StoreError) as caught:
        repair(path)
    assert str(caught.value) == expected
    code = "from genz_ppl.llm.store.store import AnswerStore as A\n"
    code += f"with A({str(path)!r}) as store: store.claim_text(b'key'); print(); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with path.open("r+b") as file:
            file.seek(page * PAGE)
            file.write(os.urandom(PAGE))
        before = path.read_bytes()
        with pytest.raises(StoreError) as caught:
            repair(path)
        assert str(caught.value) == expected
        assert path.read_bytes() == before
        holder.communicate("\n")
    assert repair(path) is not None
    kept(path, written)


def foreign_text(path: Path) -> None:
    path.write_text("a text, and no store at all " * 1000)


def foreign_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE answers (a, b)")
        connection.execute("INSERT INTO answers VALUES (1, 2)")
        connection.commit()


def nothing(path: Path) -> None:
    path.write_bytes(os.urandom(20 * PAGE))


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (foreign_text, "nothing of a store of answers can be read in it; name another one with --store FILE"),
        (foreign_database, "expected a store of answers, found the database of another program"),
        (nothing, "nothing of a store of answers can be read in it"),
        (Path.mkdir, "expected a file for the store of answers, found a folder"),
        (lambda _: None, "found no store of answers there"),
    ],
)
def test_what_is_no_store_is_left_alone(path: Path, make: Callable[[Path], None], expected: str) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError, match=expected):
        repair(path)
    assert before is None or path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == path.exists()


def test_rows_that_are_damaged_go(path: Path) -> None:
    """And what is damaged besides answers: texts, a question's text, an item's name."""
    answers = {(question, each): StoredAnswer(1.0) for question in QUESTIONS for each in ITEMS[:10]}
    with AnswerStore(path) as store:
        attempt = store.begin(store.open_run("run", fresh=False), "extract", "m", ONE_CALL)
        store.settle(attempt, "done", ONE_CALL, answers, {item("a"): "one text", item("b"): "two texts"})
    edit(path, "UPDATE answers SET value = 0 WHERE item = 2 AND question = 1", "UPDATE texts SET text = x'00' WHERE key > x'80'")
    edit(path, "UPDATE questions SET feature = 'Is it rad?' WHERE id = 1")
    edit(path, "UPDATE answers SET reason = CAST(x'ff' AS TEXT) WHERE item = 3 AND question = 2")
    assert store_tools.info(path, check=True).damaged == 12
    done = repair(path)
    assert done == Repaired(48, 1, 1, 0, 3, 0, 0, Path(f"{path}.damaged"))
    with AnswerStore(path) as store:
        assert len(store.claim(list(answers)).known) == 48
        assert [store.text(item(name)) for name in "ab"].count(None) == 1
    assert store_tools.info(path, check=True).damaged == 0  # asking put the question right
