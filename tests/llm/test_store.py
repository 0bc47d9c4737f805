from __future__ import annotations

import gc
import itertools
import os
import sqlite3
import stat
import threading
import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from math import isnan, nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genz_ppl.errors import StoreError
from genz_ppl.llm import store_schema
from genz_ppl.llm.spending import Spending
from genz_ppl.llm.store import AnswerStore, Pair, Question, StoredAnswer, default_path

RED = Question("Is it red?", "m", "http://localhost/v1", "extract_one 1-abc", "{}")
BIG = Question("Is it big?", "m", "http://localhost/v1", "extract_one 1-abc", "{}")
ONE_CALL = Spending(calls=1, tokens_in=10, tokens_out=5, cost=0.5)
YES, NO, FAILED = StoredAnswer(1.0), StoredAnswer(0.0), StoredAnswer(nan, "refusal")


def item(name: object) -> bytes:
    return sha256(str(name).encode()).digest()


def put(store: AnswerStore, answers: dict[Pair, StoredAnswer]) -> int:
    """Settle one attempt with these answers."""
    attempt = store.begin(store.open_run("run", fresh=False), "extract", "m", ONE_CALL)
    store.settle(attempt, "done", ONE_CALL, answers)
    return attempt


def edit(path: Path, *statements: str) -> None:
    """What a bit flipped on the disk, or a foreign hand, does."""
    connection = sqlite3.connect(path)
    with connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0
    connection.close()


def same(one: StoredAnswer, other: StoredAnswer) -> bool:
    values = one.value == other.value or (isnan(one.value) and isnan(other.value))
    return values and (one.reason, one.probability) == (other.reason, other.probability)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(path) as opened:
        yield opened


@pytest.fixture
def other(path: Path, store: AnswerStore) -> Iterator[AnswerStore]:
    """A second connection to the same file."""
    with AnswerStore(path) as opened:
        yield opened


# ---- the file


def test_default_path_is_in_the_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "genz-ppl" / "answers.sqlite"
    for not_usable in ("", "relative"):
        monkeypatch.setenv("XDG_CACHE_HOME", not_usable)
        assert default_path() == Path.home() / ".cache" / "genz-ppl" / "answers.sqlite"


def test_new_store_is_made_with_its_folders_and_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "answers.sqlite"
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["answers.sqlite", "answers.sqlite-shm", "answers.sqlite-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_many_connections_make_one_new_store(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work(path: Path, barrier: threading.Barrier) -> None:
        try:
            barrier.wait()
            with AnswerStore(path) as store:
                store.claim([(RED, item(1))])
        except BaseException as error:
            errors.append(error)

    for attempt in range(5):
        barrier = threading.Barrier(6)
        threads = [threading.Thread(target=work, args=(tmp_path / f"{attempt}.sqlite", barrier)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not errors


def test_the_switch_to_write_ahead_logging_is_tried_again_while_the_file_is_busy() -> None:
    # In the race above SQLite refuses it without waiting, about once in a hundred files.
    busy = sqlite3.OperationalError("database is locked")
    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
    outcomes: list[Exception | str] = [busy, busy, "wal"]

    class Connection:
        def execute(self, _: str) -> Connection:
            if isinstance(outcomes[0], Exception):
                raise outcomes.pop(0)  # type: ignore[misc]
            return self

        def fetchone(self) -> tuple[object]:
            return (outcomes.pop(0),)

    assert store_schema._write_ahead(Connection()) == "wal"  # type: ignore[arg-type]
    assert not outcomes


def write_text(path: Path) -> None:
    path.write_text("not a database at all " * 100)


def make_folder(path: Path) -> None:
    path.mkdir()


def make_foreign_database(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE answers (a, b)")
    connection.close()


def make_foreign_version(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA user_version = 1")
    connection.close()


def make_newer(path: Path) -> None:
    AnswerStore(path).close()
    edit(path, "PRAGMA user_version = 99")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (write_text, "expected a store of answers, found another kind of file; name another one with --store FILE"),
        (make_folder, "found a folder; name a file with --store FILE"),
        (make_foreign_database, "found the database of another program; name another with --store"),
        (make_foreign_version, "found the database of another program; name another with --store"),
        (
            make_newer,
            f"version 99, this genz-ppl knows {len(store_schema.MIGRATIONS)}: upgrade genz-ppl, or name another store",
        ),
    ],
)
def test_what_is_no_store_is_refused_and_left_as_it_is(path: Path, make: Callable[[Path], None], expected: str) -> None:
    make(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(StoreError) as caught:
        AnswerStore(path)
    assert str(path) in str(caught.value)
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert before is None or path.read_bytes() == before


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    path.touch()
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
        assert store.lookup([RED], [item(1)])[0] == [[1.0]]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be opened or used .*; check its folder, or name another one with --store FILE"):
        AnswerStore(tmp_path / "file" / "answers.sqlite")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_a_store_without_the_right_to_write(path: Path) -> None:
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
    path.chmod(0o400)
    with pytest.raises(StoreError, match="must be writable and is not"), AnswerStore(path) as store:
        store.claim([(RED, item(1))])


def test_an_older_store_is_migrated_with_what_it_holds(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = len(store_schema.MIGRATIONS)
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
    later = ("ALTER TABLE runs ADD COLUMN remark TEXT", "UPDATE runs SET remark = 'kept'")
    monkeypatch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, later))
    with AnswerStore(path) as store:
        assert store.lookup([RED], [item(1)])[0] == [[1.0]]
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA user_version").fetchone() == (known + 1,)
    assert connection.execute("SELECT remark FROM runs").fetchall() == [("kept",)]
    connection.close()
    monkeypatch.undo()
    with pytest.raises(StoreError, match=f"schema version {known + 1}, this genz-ppl knows {known}"):
        AnswerStore(path)


def test_every_earlier_version_becomes_the_present_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schemas = []
    for version in range(1, len(store_schema.MIGRATIONS) + 1):
        path = tmp_path / f"{version}.sqlite"
        with monkeypatch.context() as patch:
            patch.setattr(store_schema, "MIGRATIONS", store_schema.MIGRATIONS[:version])
            AnswerStore(path).close()
        with AnswerStore(path) as store:
            put(store, {(RED, item(1)): YES})
            assert store.lookup([RED], [item(1)])[0] == [[1.0]]
        connection = sqlite3.connect(path)
        schemas.append(connection.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall())
        connection.close()
    assert all(schema == schemas[0] for schema in schemas)


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
    broken = ("DELETE FROM answers", "DELETE FROM no_such_table")
    monkeypatch.setattr(store_schema, "MIGRATIONS", (*store_schema.MIGRATIONS, broken))
    with pytest.raises(StoreError, match="no such table"):
        AnswerStore(path)
    monkeypatch.undo()
    with AnswerStore(path) as store:
        assert store.lookup([RED], [item(1)])[0] == [[1.0]]


def test_a_busy_store_is_waited_for_and_then_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_schema, "BUSY_SECONDS", 0.2)
    with AnswerStore(path) as store:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        start = time.monotonic()
        with pytest.raises(StoreError, match="another process has kept the store busy for"):
            store.claim([(RED, item(1))])
        assert time.monotonic() - start > 0.15
        assert store.lookup([RED], [item(1)])[1].sum() == 0  # readers do not wait
        blocker.execute("ROLLBACK")
        blocker.close()
        assert store.claim([(RED, item(1))]).mine == [(RED, item(1))]


def test_a_store_that_was_moved_is_not_written_to(path: Path, store: AnswerStore) -> None:
    put(store, {(RED, item(1)): YES})
    path.rename(path.with_name("elsewhere"))
    for _ in range(2):
        with pytest.raises(StoreError, match="was moved or deleted while in use"):
            store.claim([(RED, item(2))])
        path.touch()  # nor to another file of that name


def test_a_closed_store_says_so(store: AnswerStore) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreError, match="the store was closed; open it again"):
        store.lookup([RED], [item(1)])


def test_a_lease_must_last(path: Path) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        AnswerStore(path, lease_seconds=0)


# ---- questions and answers


def test_the_digest_never_changes() -> None:
    # Other digests would orphan every answer that was ever paid for.
    question = Question("Is it réd?", "gpt", "https://api.openai.com/v1", "extract_one 1-abc", '{"temperature":0}', 2)
    written = (
        '{"draw":2,"endpoint":"https://api.openai.com/v1","feature":"Is it r\\u00e9d?","model":"gpt",'
        '"prompt":"extract_one 1-abc","sampling":"{\\"temperature\\":0}"}'
    )
    assert question.digest == sha256(written.encode()).digest()


@given(
    st.tuples(*[st.text(max_size=3)] * 5, st.integers(0, 3)),
    st.tuples(*[st.text(max_size=3)] * 5, st.integers(0, 3)),
)
def test_questions_that_differ_have_other_digests(
    one: tuple[str, str, str, str, str, int], other: tuple[str, str, str, str, str, int]
) -> None:
    first, second = Question(*one), Question(*other)
    assert (first.digest == second.digest) == (one == other) == (first == second)
    assert hash(first) == hash(Question(*one))


ANYTHING = st.text(st.characters(), max_size=20)  # lone surrogates and NUL included
QUESTIONS = st.builds(Question, ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING, st.integers(0, 5))
ANSWERS = st.builds(
    StoredAnswer, st.sampled_from([1.0, 0.0, nan]), st.text(max_size=20), st.none() | st.floats(0, 1, allow_subnormal=True)
)
COUNT = itertools.count()


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(QUESTIONS, min_size=1, max_size=4, unique=True), st.data())
def test_answers_come_back_as_they_were_written(tmp_path: Path, questions: list[Question], data: st.DataObject) -> None:
    path = tmp_path / f"{next(COUNT)}.sqlite"
    pairs = [(question, item(n)) for question in questions for n in range(3)]
    answers = {pair: data.draw(ANSWERS) for pair in data.draw(st.lists(st.sampled_from(pairs), unique=True))}
    with AnswerStore(path) as store:
        put(store, answers)
    with AnswerStore(path) as store:
        values, known = store.lookup(questions, [item(n) for n in range(3)])
        claim = store.claim(pairs)
        assert store.damaged() == 0
    assert set(claim.known) == set(answers)
    assert claim.mine == [pair for pair in pairs if pair not in answers]
    assert claim.theirs == []
    for column, question in enumerate(questions):
        for row in range(3):
            pair = (question, item(row))
            assert known[row, column] == (pair in answers)
            expected = answers[pair].value if pair in answers else nan
            np.testing.assert_equal(values[row, column], expected)
            assert pair not in answers or same(claim.known[pair], answers[pair])


def test_lookup_of_repeated_and_of_no_names(store: AnswerStore) -> None:
    put(store, {(RED, item(1)): YES, (BIG, item(1)): FAILED, (BIG, item(2)): NO})
    values, known = store.lookup([BIG, RED, BIG], [item(2), item(1), item(3), item(1)])
    np.testing.assert_equal(values, [[0, nan, 0], [nan, 1, nan], [nan, nan, nan], [nan, 1, nan]])
    np.testing.assert_equal(known, [[1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1]])
    assert store.lookup([], [item(1)])[0].shape == (1, 0)
    assert store.lookup([RED], [])[1].shape == (0, 1)


def test_many_pairs_at_once(store: AnswerStore) -> None:
    """More than fit into one statement, and than are remembered."""
    items = [item(n) for n in range(3000)]
    pairs = [(question, each) for question in (RED, BIG) for each in items]
    assert store.claim(pairs).mine == pairs
    put(store, {pair: YES if pair[1][0] % 2 else NO for pair in pairs})
    values, known = store.lookup([BIG, RED], items)
    assert known.all()
    np.testing.assert_equal(values, [[each[0] % 2] * 2 for each in items])


def test_the_first_answer_counts(store: AnswerStore, other: AnswerStore) -> None:
    put(store, {(RED, item(1)): YES})
    put(other, {(RED, item(1)): NO, (RED, item(2)): NO})
    assert store.lookup([RED], [item(1), item(2)])[0].tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (StoredAnswer(0.5), "an answer is 1., 0. or nan"),
        (StoredAnswer(1.0, "", 1.5), "between 0 and 1"),
        (StoredAnswer(1.0, "", nan), "between 0 and 1"),
    ],
)
def test_what_is_no_answer_is_refused_and_nothing_is_written(store: AnswerStore, answer: StoredAnswer, expected: str) -> None:
    run = store.open_run(None, fresh=True)
    attempt = store.begin(run, "extract", "m", ONE_CALL)
    with pytest.raises(ValueError, match=expected):
        store.settle(attempt, "done", Spending(), {(RED, item(1)): YES, (RED, item(2)): answer})
    assert not store.lookup([RED], [item(1), item(2)])[1].any()
    store.settle(attempt, "done", Spending(), {(RED, item(1)): YES})  # it is still open
    assert store.lookup([RED], [item(1)])[0] == [[1.0]]


def test_numbers_given_in_a_transaction_that_was_undone_are_forgotten(path: Path, store: AnswerStore, other: AnswerStore) -> None:
    attempt = store.begin(1, "extract", "m", ONE_CALL)
    with pytest.raises(ValueError, match="an answer is"):
        store.settle(attempt, "done", ONE_CALL, {(RED, item(1)): YES, (RED, item(2)): StoredAnswer(2.0)})
    put(other, {(BIG, item(3)): NO, (BIG, item(4)): YES})  # these get the numbers that were free again
    store.settle(attempt, "done", ONE_CALL, {(RED, item(1)): YES, (RED, item(2)): NO})
    with AnswerStore(path) as third:
        values, known = third.lookup([RED, BIG], [item(n) for n in (1, 2, 3, 4)])
        np.testing.assert_equal(values, [[1, nan], [0, nan], [nan, 0], [nan, 1]])
        assert known.sum() == 4
        assert third.damaged() == 0


def test_an_item_is_named_by_its_hash(store: AnswerStore) -> None:
    with pytest.raises(ValueError, match="by the 32 bytes of its SHA-256, not by 5 bytes"):
        store.claim([(RED, b"house")])


def test_an_attempt_is_settled_once(store: AnswerStore) -> None:
    attempt = put(store, {(RED, item(1)): YES})
    for wrong in (attempt, attempt + 1):
        with pytest.raises(ValueError, match=f"attempt {wrong} is not open"):
            store.settle(wrong, "done", ONE_CALL, {(RED, item(2)): NO})
    assert not store.lookup([RED], [item(2)])[1].any()
    assert store.spent(store.open_run("run", fresh=False)) == ONE_CALL


# ---- leases


def test_what_is_claimed_is_nobody_elses(store: AnswerStore, other: AnswerStore) -> None:
    pairs = [(RED, item(1)), (BIG, item(1)), (RED, item(2))]
    put(store, {pairs[1]: NO})
    claim = store.claim([*pairs, *pairs])
    assert (claim.known, claim.mine, claim.theirs) == ({pairs[1]: NO}, [pairs[0], pairs[2]], [])
    for late in (other, store):  # another part of the same process must not ask again either
        again = late.claim(pairs)
        assert (again.known, again.mine, again.theirs) == ({pairs[1]: NO}, [], [pairs[0], pairs[2]])
    put(store, {pairs[0]: YES})
    assert store._tables.connection.execute("SELECT count(*) FROM leases").fetchone() == (1,)
    store.release([pairs[2], (BIG, item(9))])
    after = other.claim(pairs)
    assert (after.known, after.mine, after.theirs) == ({pairs[0]: YES, pairs[1]: NO}, [pairs[2]], [])


def test_only_the_owner_releases_and_renews(path: Path, other: AnswerStore) -> None:
    with AnswerStore(path, lease_seconds=0.05) as hasty:
        hasty.claim([(RED, item(1))])
        other.release([(RED, item(1))])
        assert other.claim([(RED, item(1))]).theirs
        other.renew([(RED, item(1))])  # for 900 seconds, were it its own
        time.sleep(0.06)
        assert other.claim([(RED, item(1))]).mine


def test_a_lease_expires_unless_it_is_renewed(path: Path, other: AnswerStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    pairs = [(RED, item(1)), (RED, item(2))]
    with AnswerStore(path, lease_seconds=100) as store:
        store.claim(pairs)
        now += 99
        store.renew(pairs[:1])
        assert other.claim(pairs).theirs == pairs
        now += 2
        claim = other.claim(pairs)
        assert (claim.theirs, claim.mine) == (pairs[:1], pairs[1:])
        store.release(pairs[1:])  # no longer its own
        now += 98
        again = store.claim(pairs)
        assert (again.mine, again.theirs) == (pairs[:1], pairs[1:])


def test_closing_and_dropping_a_store_gives_its_claims_up(path: Path, other: AnswerStore) -> None:
    first = AnswerStore(path)
    first.claim([(RED, item(1))])
    first.close()
    assert other.claim([(RED, item(1))]).mine
    second = AnswerStore(path)
    second.claim([(RED, item(2))])
    connection = second._tables.connection
    del second
    gc.collect()
    connection.close()
    assert other.claim([(RED, item(2))]).mine


def test_threads_share_one_store(store: AnswerStore) -> None:
    pairs = [(question, item(n)) for question in (RED, BIG) for n in range(150)]
    run = store.open_run(None, fresh=True)
    settled: list[Pair] = []

    def work(start: int) -> None:
        for place in range(0, len(pairs), 3):
            at = (place + start) % len(pairs)
            mine = store.claim(pairs[at : at + 3]).mine
            if mine:
                attempt = store.begin(run, "extract", "m", ONE_CALL)
                store.settle(attempt, "done", ONE_CALL, dict.fromkeys(mine, YES))
                settled.extend(mine)
            assert store.lookup([RED], [item(0)])[0].shape == (1, 1)

    threads = [threading.Thread(target=work, args=(37 * number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(settled, key=str) == sorted(pairs, key=str)


# ---- damage


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE answers SET value = 0 WHERE item = 1",
        "UPDATE answers SET value = NULL WHERE item = 1",
        "UPDATE answers SET value = 'yes' WHERE item = 1",
        "UPDATE answers SET value = 7 WHERE item = 1",
        "UPDATE answers SET value = 1.5 WHERE item = 1",
        "UPDATE answers SET reason = 'x' WHERE item = 1",
        "UPDATE answers SET reason = CAST(x'ff80' AS TEXT) WHERE item = 1",
        "UPDATE answers SET reason = x'00' WHERE item = 1",
        "UPDATE answers SET probability = 0.5 WHERE item = 1",
        "UPDATE answers SET checksum = checksum + 1 WHERE item = 1",
        "UPDATE answers SET checksum = 'abc' WHERE item = 1",
        "UPDATE items SET digest = CAST(x'00' || substr(digest, 2) AS BLOB) WHERE id = 1",
        "UPDATE answers SET item = item - 1",  # one item's answer under another item
        "UPDATE answers SET question = question + 1",  # and under another question
    ],
)
def test_a_damaged_row_is_found_asked_again_and_replaced(path: Path, damage: str) -> None:
    truth = {(RED, item(1)): YES, (RED, item(2)): NO}
    with AnswerStore(path) as store:
        store.claim([(RED, item(1)), (RED, item(2)), (BIG, item(1))])  # numbers 1 and 2, in this order
        put(store, truth)
    edit(path, damage)
    with AnswerStore(path) as store:
        values, known = store.lookup([RED, BIG], [item(1), item(2)])
        assert not known[0].any()
        assert not known[:, 1].any()
        assert not known[1, 0] or values[1, 0] == 0
        assert store.damaged() >= (0 if "items" in damage else 1)  # an item under another name is nobody's
        claim = store.claim(list(truth))
        assert (RED, item(1)) in claim.mine
        assert not claim.theirs
        put(store, {pair: truth[pair] for pair in claim.mine})
        assert store.claim(list(truth)).known == truth
    with AnswerStore(path) as store:
        assert store.lookup([RED], [item(1), item(2)])[0].tolist() == [[1.0], [0.0]]
        assert store.damaged() == 0


def test_a_damaged_row_is_replaced_without_a_claim_too(path: Path, store: AnswerStore) -> None:
    put(store, {(RED, item(1)): YES, (RED, item(2)): NO})
    edit(path, "UPDATE answers SET value = 0")
    put(store, {(RED, item(1)): YES, (RED, item(2)): YES})
    assert store.lookup([RED], [item(1), item(2)])[0].tolist() == [[1.0], [0.0]]
    assert store.damaged() == 1


def test_a_damaged_row_is_counted_once(path: Path, store: AnswerStore) -> None:
    put(store, {(RED, item(1)): YES})
    edit(path, "UPDATE answers SET value = 0")
    for _ in range(3):
        store.lookup([RED], [item(1)])
    assert store.damaged() == 1


def test_a_damaged_question_is_put_right(path: Path) -> None:
    with AnswerStore(path) as store:
        put(store, {(RED, item(1)): YES})
    edit(path, "UPDATE questions SET feature = 'Is it bed?', draw = 4")
    with AnswerStore(path) as store:
        assert store.claim([(RED, item(1))]).known == {(RED, item(1)): YES}
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT feature, draw FROM questions").fetchall() == [("Is it red?", 0)]
    connection.close()


def test_a_page_that_cannot_be_read_is_an_error_with_the_remedy(path: Path) -> None:
    with AnswerStore(path) as store:
        put(store, {(RED, item(n)): YES for n in range(2000)})
    content = bytearray(path.read_bytes())
    content[4096 * 8 :] = os.urandom(len(content) - 4096 * 8)
    path.write_bytes(content)
    with pytest.raises(StoreError) as caught, AnswerStore(path) as store:
        store.lookup([RED], [item(n) for n in range(2000)])
    for part in ("the store is damaged", f"'genz store export FILE --store {path}'", "move the store away", "'genz resume'"):
        assert part in str(caught.value)


def test_an_error_that_quotes_damaged_words_is_an_error_with_the_remedy(path: Path) -> None:
    AnswerStore(path).close()
    content = path.read_bytes()
    # A table of that name, and a definition of it that cannot be read: SQLite names the table in its message.
    for words, damaged in ((b"tableitemsitems", b"tableit\xffmsitems"), (b"CREATE TABLE items (", b"CREATE TABXE items (")):
        assert content.count(words) == 1
        content = content.replace(words, damaged)
    path.write_bytes(content)
    with pytest.raises(StoreError, match="the store is damaged"):
        AnswerStore(path)


@pytest.mark.parametrize("seed", range(12))
def test_flipped_bits_never_change_an_answer(path: Path, seed: int) -> None:
    """Whatever is damaged: an answer is right, unknown, or the store says that it is damaged."""
    random = np.random.default_rng(seed)
    truth = random.random((300, 2)) < 0.5
    with AnswerStore(path) as store:
        put(store, {(q, item(n)): YES if truth[n, k] else NO for k, q in enumerate((RED, BIG)) for n in range(300)})
    content = np.frombuffer(path.read_bytes(), dtype=np.uint8).copy()
    places = random.integers(100, content.size, 200)
    content[places] ^= (1 << random.integers(0, 8, 200)).astype(np.uint8)
    path.write_bytes(content.tobytes())
    try:
        with AnswerStore(path) as store:
            values, known = store.lookup([RED, BIG], [item(n) for n in range(300)])
    except StoreError:
        return
    np.testing.assert_equal(values[known], truth[known].astype(np.float64))


# ---- a full disk


def test_a_full_disk_is_a_clear_error_and_the_store_stays_usable(path: Path, store: AnswerStore) -> None:
    put(store, {(RED, item(n)): YES for n in range(10)})
    connection = store._tables.connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    many = {(BIG, item(n)): NO for n in range(5000)}
    with pytest.raises(StoreError) as caught:
        put(store, many)
    assert str(caught.value).startswith(f"{path}: the disk is full; free some space and run 'genz resume' to go on")
    known = store.lookup([RED, BIG], [item(n) for n in range(5000)])[1]
    assert known[:10, 0].all()
    assert known.sum() == 10
    connection.execute(f"PRAGMA max_page_count = {2**30}")
    put(store, many)
    assert store.lookup([BIG], [item(n) for n in range(5000)])[1].all()


# ---- texts


@given(st.text(st.characters()))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_come_back_as_they_were_written(tmp_path: Path, text: str) -> None:
    with AnswerStore(tmp_path / f"{next(COUNT)}.sqlite") as store:
        attempt = store.begin(1, "propose", "m", ONE_CALL)
        store.settle(attempt, "done", ONE_CALL, texts={b"key": text})
        assert store.text(b"key") == text
        assert store.text(b"another") is None


def test_a_text_is_made_once(store: AnswerStore, other: AnswerStore) -> None:
    assert store.claim_text(b"key")
    assert not other.claim_text(b"key")
    assert not store.claim_text(b"key")
    other.release_text(b"key")
    assert not other.claim_text(b"key")
    store.release_text(b"key")
    assert other.claim_text(b"key")
    for writer, text in ((other, "first"), (store, "second")):
        writer.settle(writer.begin(1, "propose", "m", ONE_CALL), "done", ONE_CALL, texts={b"key": text})
        assert store.text(b"key") == "first"
    assert not store.claim_text(b"key")
    connection = store._tables.connection
    assert connection.execute("SELECT count(*) FROM leases").fetchone() == (0,)


@pytest.mark.parametrize("damage", ["text = x'ff00'", "text = 'Words'", "checksum = 1", "key = x'6b6579'"])
def test_a_damaged_text_is_made_again(path: Path, store: AnswerStore, damage: str) -> None:
    key = b"KEY" if damage.startswith("key") else b"key"
    store.settle(store.begin(1, "propose", "m", ONE_CALL), "done", ONE_CALL, texts={key: "words"})
    edit(path, f"UPDATE texts SET {damage}")
    assert store.text(b"key") is None
    assert store.damaged() == 1
    assert store.claim_text(b"key")
    store.settle(store.begin(1, "propose", "m", ONE_CALL), "done", ONE_CALL, texts={b"key": "words"})
    assert store.text(b"key") == "words"


# ---- the ledger


def test_a_run_is_known_by_its_path(store: AnswerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = store.open_run("out", fresh=False)
    assert store.open_run(str(tmp_path / "out"), fresh=False) == first
    assert store.open_run("other", fresh=False) != first
    second = store.open_run("out", fresh=True)
    assert second != first
    assert store.open_run("out", fresh=False) == second
    assert store.open_run(None, fresh=False) != store.open_run(None, fresh=False)
    assert store.open_run("\udcff", fresh=False) == store.open_run("\udcff", fresh=False)


def test_what_was_never_settled_counts_with_what_it_had_reserved(store: AnswerStore, other: AnswerStore) -> None:
    run = store.open_run("out", fresh=True)
    assert store.spent(run) == Spending()
    reserved = Spending(calls=1, tokens_in=100, tokens_out=200, cost=1.0)
    first, second = store.begin(run, "extract", "m", reserved), store.begin(run, "extract", "m", reserved)
    other.begin(other.open_run("elsewhere", fresh=True), "extract", "m", reserved)
    assert store.spent(run) == reserved + reserved
    store.settle(first, "done", Spending(1, 90, 10, 0.25))
    assert other.spent(run) == Spending(2, 190, 210, 1.25)
    store.settle(second, "failed", Spending(1, 0, 0, 0.0))
    assert store.spent(run) == Spending(2, 90, 10, 0.25)
