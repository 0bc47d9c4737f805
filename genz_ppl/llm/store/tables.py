"""The tables of the store of answers, seen through one connection: numbers of questions and items, rows, leases."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from genz_ppl.llm.store.owner import is_dead
from genz_ppl.llm.store.rows import (
    Key,
    Pair,
    Question,
    StoredAnswer,
    answer_row,
    damage,
    portions,
    read_answer,
    read_text,
    text_row,
    whole,
    writable,
)

TEXTS = 0  # the question under which the leases of texts are kept
_MOST_REMEMBERED = 100_000


class Tables:
    """Reads and writes rows inside the transactions of others; remembers numbers and meets damaged rows.

    The methods named `made_…` and all that write need a transaction; `forget` must follow one that was undone.
    """

    def __init__(self, connection: sqlite3.Connection, owner: str) -> None:
        self.connection = connection
        self.damaged: set[Key] = set()
        self._owner = owner
        self._questions: dict[Question, int] = {}
        self._items: dict[bytes, int] = {}
        self._owner_number: int | None = None
        self._owner_names: dict[int, str] = {}

    def forget(self) -> None:
        """Forget numbers that may have been undone."""
        self._questions.clear()
        self._items.clear()
        self._owner_number = None

    # ---- numbers

    def question(self, question: Question) -> int | None:
        """The number of a question; None if nobody asked it yet."""
        known = self._questions.get(question)
        if known is None:
            row = self.connection.execute("SELECT id FROM questions WHERE digest = ?", (question.digest,)).fetchone()
            if row is not None:
                known = self._questions[question] = whole(row[0])
        return known

    def items(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        """The numbers of those items that the store has met."""
        numbers: dict[bytes, int] = {}
        unknown: list[bytes] = []
        for digest in digests:
            number = self._items.get(digest)
            if number is None:
                unknown.append(digest)
            else:
                numbers[digest] = number
        if unknown:
            rows: dict[Any, Any] = {}
            for portion in portions(unknown):
                marks = ",".join("?" * len(portion))
                rows.update(self.connection.execute(f"SELECT digest, id FROM items WHERE digest IN ({marks})", portion))
            found = {digest: whole(rows[digest]) for digest in unknown if digest in rows}
            self._remember(found)
            numbers.update(found)
            if len(set(numbers.values())) < len(numbers):
                raise damage("two items have one number")
        return numbers

    def keys(self, pairs: Sequence[Pair]) -> dict[Key, Pair]:
        """The pairs by their numbers, without those that the store has not met."""
        items = self.items({item: None for _, item in pairs})
        questions = {question: self.question(question) for question in {question: None for question, _ in pairs}}
        keys: dict[Key, Pair] = {}
        for pair in pairs:
            question, item = questions[pair[0]], items.get(pair[1])
            if question is not None and item is not None:
                keys[question, item] = pair
        return keys

    def made_keys(self, pairs: Sequence[Pair]) -> dict[Key, Pair]:
        """The pairs by their numbers; new questions and items get theirs."""
        items = self._made_items({item: None for _, item in pairs})
        questions = {question: self._made_question(question) for question in {question: None for question, _ in pairs}}
        return {(questions[pair[0]], items[pair[1]]): pair for pair in pairs}

    def _made_question(self, question: Question) -> int:
        known = self._questions.get(question)
        if known is None:
            # The digest was found right; whatever else of the row was damaged is put right.
            texts = [writable(part) for part in question.columns[:5]]
            self.connection.execute(
                "INSERT INTO questions (digest, feature, model, endpoint, prompt, sampling, draw) VALUES (?, ?, ?, ?, ?, ?, ?) "
                "ON CONFLICT (digest) DO UPDATE SET feature = excluded.feature, model = excluded.model, "
                "endpoint = excluded.endpoint, prompt = excluded.prompt, sampling = excluded.sampling, draw = excluded.draw",
                (question.digest, *texts, question.draw),
            )
            known = self.question(question)
            assert known is not None
        return known

    def _made_items(self, digests: Iterable[bytes]) -> dict[bytes, int]:
        numbers = self.items(digests)
        new = [digest for digest in digests if digest not in numbers]
        if new:
            last = self.connection.execute("SELECT coalesce(max(id), 0) FROM items").fetchone()[0]
            rows = list(enumerate(new, whole(last) + 1))
            self.connection.executemany("INSERT INTO items (id, digest) VALUES (?, ?)", rows)
            found = {digest: number for number, digest in rows}
            self._remember(found)
            numbers.update(found)
        return numbers

    def _remember(self, items: Mapping[bytes, int]) -> None:
        if len(self._items) + len(items) > _MOST_REMEMBERED:
            self._items.clear()
        if len(items) <= _MOST_REMEMBERED:
            self._items.update(items)

    def made_owner(self) -> int:
        """The number of this owner."""
        if self._owner_number is None:
            self._owner_number = self._made_owner_named(self._owner)
        return self._owner_number

    def _made_owner_named(self, name: str) -> int:
        self.connection.execute("INSERT INTO owners (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
        return whole(self.connection.execute("SELECT id FROM owners WHERE name = ?", (name,)).fetchone()[0])

    # ---- answers

    def answers(self, keys: Mapping[Key, Pair]) -> Iterator[tuple[Key, StoredAnswer | None]]:
        """The answers that are there; None for a damaged one."""
        for question, item, value, reason, probability, mark in self._rows(
            "answers", "value, reason, probability, checksum", list(keys)
        ):
            answer = read_answer(keys[question, item], value, reason, probability, mark)
            if answer is None:
                self.damaged.add((question, item))
            yield (question, item), answer

    def add_answers(self, keys: Mapping[Key, Pair], answers: Mapping[Pair, StoredAnswer], attempt: int) -> None:
        """Write answers; intact ones that are there stay, damaged ones are replaced."""
        rows = {key: answer_row(key, pair, answers[pair], attempt) for key, pair in keys.items()}
        before = self.connection.total_changes
        self.connection.executemany("INSERT INTO answers VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING", rows.values())
        if self.connection.total_changes - before < len(rows):
            again = [rows[key] for key, answer in self.answers(keys) if answer is None]
            self.connection.executemany("INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?)", again)

    def _rows(self, table: str, columns: str, keys: Sequence[Key]) -> Iterator[tuple[Any, ...]]:
        """The keys, as asked for, and those columns of the rows that are there; a few hundred keys a statement."""
        for portion in portions(keys):
            marks = ",".join(["(?,?)"] * len(portion))
            query = (
                f"WITH wanted (q, i) AS (VALUES {marks}) SELECT q, i, {columns} "
                f"FROM wanted CROSS JOIN {table} ON question = q AND item = i"
            )
            yield from self.connection.execute(query, [part for key in portion for part in key])

    # ---- texts

    def text(self, key: bytes) -> str | None:
        """The intact text of that key."""
        row = self.connection.execute("SELECT text, checksum FROM texts WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        found = read_text(key, *row)
        if found is None:
            self.damaged.add((TEXTS, key))
        return found

    def add_text(self, key: bytes, text: str, attempt: int) -> None:
        """Write a text unless there is an intact one."""
        if self.text(key) is None:
            self.connection.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)", text_row(key, text, attempt))

    # ---- leases

    def held(self, keys: Sequence[Key], now: float) -> set[Key]:
        """The keys that someone has a valid lease on: neither expired nor of a process that has ended."""
        held: set[Key] = set()
        alive: dict[int, bool] = {}
        for question, item, owner, expires in self._rows("leases", "owner, expires", keys):
            if owner not in alive:
                alive[owner] = not is_dead(self._owner_name(owner))
            if alive[owner] and isinstance(expires, float) and expires > now:
                held.add((question, item))
        return held

    def lease(self, keys: Iterable[Key], expires: float) -> None:
        """Lease to this owner."""
        me = self.made_owner()
        rows = [(*key, me, expires) for key in keys]
        self.connection.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", rows)

    def lease_to(self, name: str, keys: Iterable[Key], expires: float) -> None:
        """Lease to another owner, one that outlives this process."""
        owner = self._made_owner_named(name)
        rows = [(*key, owner, expires) for key in keys]
        self.connection.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", rows)

    def release_of(self, name: str) -> None:
        """Drop every lease of another owner."""
        self.connection.execute("DELETE FROM leases WHERE owner = ?", (self._made_owner_named(name),))

    def renew(self, keys: Iterable[Key], expires: float) -> None:
        """Let this owner's leases last until then."""
        me = self.made_owner()
        rows = [(expires, *key, me) for key in keys]
        self.connection.executemany("UPDATE leases SET expires = ? WHERE question = ? AND item = ? AND owner = ?", rows)

    def release(self, keys: Iterable[Key]) -> None:
        """Drop this owner's leases."""
        me = self.made_owner()
        rows = [(*key, me) for key in keys]
        self.connection.executemany("DELETE FROM leases WHERE question = ? AND item = ? AND owner = ?", rows)

    def drop(self, keys: Iterable[Key]) -> None:
        """Drop leases, whoever holds them: what they were for is there."""
        self.connection.executemany("DELETE FROM leases WHERE question = ? AND item = ?", keys)

    def release_all(self) -> None:
        """Drop every lease of this owner."""
        if self._owner_number is not None:
            self.connection.execute("DELETE FROM leases WHERE owner = ?", (self._owner_number,))

    def _owner_name(self, owner: int) -> str:
        if owner not in self._owner_names:
            row = self.connection.execute("SELECT name FROM owners WHERE id = ?", (owner,)).fetchone()
            self._owner_names[owner] = "" if row is None else str(row[0])
        return self._owner_names[owner]
