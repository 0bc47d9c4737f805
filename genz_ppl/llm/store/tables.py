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
        self._owners: dict[str, int] = {}

    def forget(self) -> None:
        """Forget numbers that may have been undone."""
        self._questions.clear()
        self._items.clear()
        self._owners.clear()

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

    def keys(self, pairs: Sequence[Pair], make: bool = False) -> dict[Key, Pair]:
        """The pairs by their numbers. New questions and items get theirs with `make`; else such pairs are left out."""
        digests = {item: None for _, item in pairs}
        items = self._made_items(digests) if make else self.items(digests)
        number = self._made_question if make else self.question
        questions = {question: number(question) for question in {question: None for question, _ in pairs}}
        found = ((questions[question], items.get(item), (question, item)) for question, item in pairs)
        return {(question, item): pair for question, item, pair in found if question is not None and item is not None}

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

    def made_owner(self, name: str | None = None) -> int:
        """The number of an owner, this one by default."""
        name = name or self._owner
        if name not in self._owners:
            self.connection.execute("INSERT INTO owners (name) VALUES (?) ON CONFLICT DO NOTHING", (name,))
            self._owners[name] = whole(self.connection.execute("SELECT id FROM owners WHERE name = ?", (name,)).fetchone()[0])
        return self._owners[name]

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

    def texts(self, keys: Iterable[bytes]) -> dict[bytes, str]:
        """The intact texts of those keys that have one."""
        return {key: text for key in keys if (text := self.text(key)) is not None}

    def add_text(self, key: bytes, text: str, attempt: int) -> None:
        """Write a text unless there is an intact one."""
        if self.text(key) is None:
            self.connection.execute("INSERT OR REPLACE INTO texts VALUES (?, ?, ?, ?)", text_row(key, text, attempt))

    # ---- leases

    def held(self, keys: Sequence[Key], now: float) -> set[Key]:
        """The keys that someone has a valid lease on: neither expired nor of a process that has ended."""
        held: set[Key] = set()
        alive: dict[object, bool] = {}
        owner_and_end = "(SELECT name FROM owners WHERE id = owner), expires"
        for question, item, owner, expires in self._rows("leases", owner_and_end, keys):
            if owner not in alive:
                alive[owner] = not is_dead(str(owner))
            if alive[owner] and isinstance(expires, float) and expires > now:
                held.add((question, item))
        return held

    def lease(self, keys: Iterable[Key], expires: float, name: str | None = None) -> None:
        """Lease to this owner, or to one of that name, who may outlive this process."""
        owner = self.made_owner(name)
        rows = [(*key, owner, expires) for key in keys]
        self.connection.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?, ?)", rows)

    def renew(self, keys: Iterable[Key], expires: float) -> None:
        """Let this owner's leases last until then."""
        rows = [(expires, *key, self.made_owner()) for key in keys]
        self.connection.executemany("UPDATE leases SET expires = ? WHERE question = ? AND item = ? AND owner = ?", rows)

    def release(self, keys: Iterable[Key]) -> None:
        """Drop this owner's leases."""
        rows = [(*key, self.made_owner()) for key in keys]
        self.connection.executemany("DELETE FROM leases WHERE question = ? AND item = ? AND owner = ?", rows)

    def drop(self, keys: Iterable[Key]) -> None:
        """Drop leases, whoever holds them: what they were for is there."""
        self.connection.executemany("DELETE FROM leases WHERE question = ? AND item = ?", keys)

    def release_all(self, name: str | None = None) -> None:
        """Drop every lease of this owner, or of the one of that name."""
        if name is not None or self._owner in self._owners:  # else there is none, and no writer to wait for
            self.connection.execute("DELETE FROM leases WHERE owner = ?", (self.made_owner(name),))
