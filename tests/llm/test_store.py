"""The store's promises: what is written comes back, what is claimed is nobody else's, what is spent is counted."""

from __future__ import annotations

import gc
import itertools
import os
import threading
import time
from hashlib import sha256
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storing import BIG, FAILED, NO, ONE_CALL, RED, YES, edit, item, put, same

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.store import AnswerStore, Pair, Question, StoredAnswer

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


def test_a_run_is_known_by_its_name(store: AnswerStore) -> None:
    first = store.open_run("out", fresh=False)
    assert store.open_run("out", fresh=False) == first
    assert store.open_run("out", fresh=False, folder="anywhere") == first
    assert store.open_run("other", fresh=False) != first
    second = store.open_run("out", fresh=True)
    assert second != first
    assert store.open_run("out", fresh=False) == second
    assert store.open_run(None, fresh=False) != store.open_run(None, fresh=False)


def test_a_run_that_was_known_by_its_path_gets_a_name(
    store: AnswerStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("out", "\udcff"):
        path = os.fsencode(tmp_path / folder).decode("utf-8", "backslashreplace")
        old = store.open_run(path, fresh=True)  # as versions without names did
        assert store.open_run(None, fresh=False, folder=folder) != old
        assert store.open_run("new", fresh=True, folder=folder) != old
        assert store.open_run(f"id of {folder!r}", fresh=False, folder=folder) == old
        assert store.open_run(f"id of {folder!r}", fresh=False, folder="moved") == old
        assert store.open_run("another", fresh=False, folder=folder) != old


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


def test_texts_are_claimed_many_at_once(store: AnswerStore, other: AnswerStore) -> None:
    keys = [item(f"text {number}") for number in range(300)]
    run = store.open_run(None, fresh=True)
    store.settle(store.begin(run, "profile", "m", ONE_CALL), "answered", ONE_CALL, texts={keys[0]: "known"})
    assert store.claim_texts(keys[:10]) == keys[1:10]
    assert other.claim_texts(keys) == keys[10:]
    store.renew_texts(keys[1:10])
    assert other.claim_texts(keys[:10]) == []
    store.release_text(*keys[1:5])
    assert other.claim_texts(keys[:10]) == keys[1:5]
    store.settle(store.begin(run, "profile", "m", ONE_CALL), "answered", ONE_CALL, texts=dict.fromkeys(keys[5:], ""))
    assert other.texts(keys) == {keys[0]: "known", **dict.fromkeys(keys[5:], "")}
