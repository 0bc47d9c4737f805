"""The store's promises: what is written comes back, what is claimed is nobody else's, what is spent is counted."""

from __future__ import annotations

import gc
import itertools
import os
import time
from hashlib import sha256
from math import nan
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from storing import BIG, NO, ONE_CALL, RED, YES, edit, item, put

from genz_ppl.llm.store.store import AnswerStore, Question, StoredAnswer

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


# ---- leases


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


# ---- texts


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
