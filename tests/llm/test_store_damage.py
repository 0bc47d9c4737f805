"""Rows that are not what was written, pages that cannot be read, a full disk."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from storing import BIG, NO, RED, YES, edit, item, put

from genz_ppl.errors import StoreError
from genz_ppl.llm.store import schema as store_schema
from genz_ppl.llm.store.store import AnswerStore

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
    for part in ("the store is damaged", f"run 'genz store repair --store {path}'", "'genz resume' to ask the rest again"):
        assert part in str(caught.value)


def test_an_error_that_quotes_damaged_words_is_an_error_with_the_remedy(path: Path) -> None:
    AnswerStore(path).close()
    content = path.read_bytes()
    # A table of that name, and a definition of it that cannot be read: SQLite names the table in its message.
    for words, damaged in ((b"tableitemsitems", b"tableit\xffmsitems"), (b"CREATE TABLE items (", b"CREATE TABXE items (")):
        assert content.count(words) == 1
        content = content.replace(words, damaged)
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"the store is damaged .*; run 'genz store repair"):
        AnswerStore(path)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_IOERR_READ, "the store is damaged (bad); run 'genz store repair --store "),  # a bad place on the disk
        (sqlite3.SQLITE_IOERR_WRITE, "the disk is full or cannot be written (bad)"),
        (sqlite3.SQLITE_NOTADB, "or, if it was a store, run 'genz store repair --store "),
    ],
)
def test_the_remedy_is_named(path: Path, code: int, expected: str) -> None:
    error = sqlite3.OperationalError("bad")
    error.sqlite_errorcode = code
    assert expected in store_schema.explain(path, error)


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
