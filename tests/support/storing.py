"""Questions, answers and hands that the tests of the store share."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from math import isnan, nan
from pathlib import Path

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.rows import Pair, Question, StoredAnswer

RED = Question("Is it red?", "m", "http://localhost/v1", "extract_one 1-abc", "{}")
BIG = Question("Is it big?", "m", "http://localhost/v1", "extract_one 1-abc", "{}")
ONE_CALL = Spending(calls=1, tokens_in=10, tokens_out=5, cost=0.5)
YES, NO, FAILED = StoredAnswer(1.0), StoredAnswer(0.0), StoredAnswer(nan, "refusal")


def item(name: object) -> bytes:
    return sha256(str(name).encode()).digest()


def put(store: Store, answers: dict[Pair, StoredAnswer]) -> int:
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
