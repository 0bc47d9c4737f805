"""What every store of answers does, in a file or in PostgreSQL: `Store`'s promises."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storing import BIG, FAILED, NO, ONE_CALL, RED, YES, item, put, same

from genz_ppl.errors import StoreError
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.rows import Pair, Question, StoredAnswer
from genz_ppl.llm.store.store import AnswerStore


@dataclass(frozen=True)
class Place:
    """A new store: how it is opened, and how many leases there are in it."""

    open: Callable[..., Store]
    leases: Callable[[], int]


def in_a_file(folder: Path) -> Place:
    path = folder / f"{token_hex(4)}.sqlite"

    def leases() -> int:
        with AnswerStore(path) as store:
            return int(store._tables.connection.execute("SELECT count(*) FROM leases").fetchone()[0])

    return Place(lambda **options: AnswerStore(path, **options), leases)


def in_postgres(server: Any) -> Place:
    import psycopg

    from genz_ppl.llm.store.places import open_shared

    address = server.database(f"contract_{token_hex(4)}")

    def leases() -> int:
        with psycopg.connect(address) as connection:
            return int(connection.execute("SELECT count(*) FROM genz.leases").fetchone()[0])  # type: ignore[index]

    return Place(lambda **options: open_shared(address, **options), leases)


@pytest.fixture(params=["file", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    return in_a_file(tmp_path) if request.param == "file" else in_postgres(request.getfixturevalue("postgres"))


@pytest.fixture
def store(place: Place) -> Iterator[Store]:
    with place.open() as opened:
        yield opened


@pytest.fixture
def other(place: Place, store: Store) -> Iterator[Store]:
    """A second connection to the same store."""
    with place.open() as opened:
        yield opened


ANYTHING = st.text(st.characters(), max_size=20)  # lone surrogates and NUL included
QUESTIONS = st.builds(Question, ANYTHING, ANYTHING, ANYTHING, ANYTHING, ANYTHING, st.integers(0, 5))
ANSWERS = st.builds(
    StoredAnswer,
    st.sampled_from([1.0, 0.0, nan]),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
    st.none() | st.floats(0, 1, allow_subnormal=True),
)


def test_lookup_of_repeated_and_of_no_names(store: Store) -> None:
    put(store, {(RED, item(1)): YES, (BIG, item(1)): FAILED, (BIG, item(2)): NO})
    values, known = store.lookup([BIG, RED, BIG], [item(2), item(1), item(3), item(1)])
    np.testing.assert_equal(values, [[0, nan, 0], [nan, 1, nan], [nan, nan, nan], [nan, 1, nan]])
    np.testing.assert_equal(known, [[1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1]])
    assert store.lookup([], [item(1)])[0].shape == (1, 0)
    assert store.lookup([RED], [])[1].shape == (0, 1)


def test_many_pairs_at_once(store: Store) -> None:
    """More than fit into one statement, and than are remembered."""
    items = [item(n) for n in range(3000)]
    pairs = [(question, each) for question in (RED, BIG) for each in items]
    assert store.claim(pairs).mine == pairs
    put(store, {pair: YES if pair[1][0] % 2 else NO for pair in pairs})
    values, known = store.lookup([BIG, RED], items)
    assert known.all()
    np.testing.assert_equal(values, [[each[0] % 2] * 2 for each in items])


def test_the_first_answer_counts(store: Store, other: Store) -> None:
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
def test_what_is_no_answer_is_refused_and_nothing_is_written(store: Store, answer: StoredAnswer, expected: str) -> None:
    run = store.open_run(None, fresh=True)
    attempt = store.begin(run, "extract", "m", ONE_CALL)
    with pytest.raises(ValueError, match=expected):
        store.settle(attempt, "done", Spending(), {(RED, item(1)): YES, (RED, item(2)): answer})
    assert not store.lookup([RED], [item(1), item(2)])[1].any()
    store.settle(attempt, "done", Spending(), {(RED, item(1)): YES})  # it is still open
    assert store.lookup([RED], [item(1)])[0] == [[1.0]]


def test_an_item_is_named_by_its_hash(store: Store) -> None:
    with pytest.raises(ValueError, match="by the 32 bytes of its SHA-256, not by 5 bytes"):
        store.claim([(RED, b"house")])


def test_an_attempt_is_settled_once(store: Store) -> None:
    attempt = put(store, {(RED, item(1)): YES})
    for wrong in (attempt, attempt + 1):
        with pytest.raises(ValueError, match=f"attempt {wrong} is not open"):
            store.settle(wrong, "done", ONE_CALL, {(RED, item(2)): NO})
    assert not store.lookup([RED], [item(2)])[1].any()
    assert store.spent(store.open_run("run", fresh=False)) == ONE_CALL


def test_what_is_claimed_is_nobody_elses(place: Place, store: Store, other: Store) -> None:
    pairs = [(RED, item(1)), (BIG, item(1)), (RED, item(2))]
    put(store, {pairs[1]: NO})
    claim = store.claim([*pairs, *pairs])
    assert (claim.known, claim.mine, claim.theirs) == ({pairs[1]: NO}, [pairs[0], pairs[2]], [])
    for late in (other, store):  # another part of the same process must not ask again either
        again = late.claim(pairs)
        assert (again.known, again.mine, again.theirs) == ({pairs[1]: NO}, [], [pairs[0], pairs[2]])
    put(store, {pairs[0]: YES})
    assert place.leases() == 1
    store.release([pairs[2], (BIG, item(9))])
    after = other.claim(pairs)
    assert (after.known, after.mine, after.theirs) == ({pairs[0]: YES, pairs[1]: NO}, [pairs[2]], [])


def test_only_the_owner_releases_and_renews(place: Place, other: Store) -> None:
    with place.open(lease_seconds=0.05) as hasty:
        hasty.claim([(RED, item(1))])
        other.release([(RED, item(1))])
        assert other.claim([(RED, item(1))]).theirs
        other.renew([(RED, item(1))])  # for 900 seconds, were it its own
        time.sleep(0.06)
        assert other.claim([(RED, item(1))]).mine


def test_threads_share_one_store(store: Store) -> None:
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


def test_a_text_is_made_once(place: Place, store: Store, other: Store) -> None:
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
    assert place.leases() == 0


def test_a_run_is_known_by_its_name(store: Store) -> None:
    first = store.open_run("out", fresh=False)
    assert store.open_run("out", fresh=False) == first
    assert store.open_run("out", fresh=False, folder="anywhere") == first
    assert store.open_run("other", fresh=False) != first
    second = store.open_run("out", fresh=True)
    assert second != first
    assert store.open_run("out", fresh=False) == second
    assert store.open_run(None, fresh=False) != store.open_run(None, fresh=False)


def test_what_was_never_settled_counts_with_what_it_had_reserved(store: Store, other: Store) -> None:
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


def test_texts_are_claimed_many_at_once(store: Store, other: Store) -> None:
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


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(QUESTIONS, min_size=1, max_size=4, unique=True), st.data())
def test_answers_come_back_as_they_were_written(place: Place, questions: list[Question], data: st.DataObject) -> None:
    items = [item(token_hex(8)) for _ in range(3)]
    pairs = [(question, each) for question in questions for each in items]
    answers = {pair: data.draw(ANSWERS) for pair in data.draw(st.lists(st.sampled_from(pairs), unique=True))}
    with place.open() as store:
        put(store, answers)
    with place.open() as store:
        values, known = store.lookup(questions, items)
        claim = store.claim(pairs)
        assert store.damaged() == 0
    assert set(claim.known) == set(answers)
    assert claim.mine == [pair for pair in pairs if pair not in answers]
    assert claim.theirs == []
    for column, question in enumerate(questions):
        for row in range(3):
            pair = (question, items[row])
            assert known[row, column] == (pair in answers)
            expected = answers[pair].value if pair in answers else nan
            np.testing.assert_equal(values[row, column], expected)
            assert pair not in answers or same(claim.known[pair], answers[pair])


@given(st.text(st.characters()))
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_come_back_as_they_were_written(place: Place, text: str) -> None:
    key = token_hex(8).encode()
    with place.open() as store:
        attempt = store.begin(1, "propose", "m", ONE_CALL)
        store.settle(attempt, "done", ONE_CALL, texts={key: text})
        assert store.text(key) == text
        assert store.text(b"another") is None


def test_the_claims_of_a_store_that_is_closed_are_free(place: Place, store: Store) -> None:
    with place.open() as first:
        first.claim([(RED, item(1))])
        assert store.claim([(RED, item(1))]).theirs
    assert store.claim([(RED, item(1))]).mine
    first.close()  # a second time does nothing


def test_a_closed_store_says_so(place: Place) -> None:
    store = place.open()
    store.close()
    with pytest.raises(StoreError, match="the store was closed; open it again"):
        store.claim([(RED, item(1))])


def test_what_was_answered_while_a_lease_was_waited_for_is_not_asked_again(place: Place) -> None:
    """Claims race with settlements of the same pairs: whoever is told to ask must be the only one."""
    pairs = [(RED, item(n)) for n in range(60)]
    asked: list[Pair] = []

    def work() -> None:
        with place.open() as mine:
            for start in range(0, len(pairs), 6):
                claim = mine.claim(pairs[start : start + 6])
                if claim.mine:
                    asked.extend(claim.mine)
                    mine.settle(mine.begin(0, "extract", "m", ONE_CALL), "done", ONE_CALL, dict.fromkeys(claim.mine, YES))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(asked, key=str) == sorted(pairs, key=str)
    assert place.leases() == 0
