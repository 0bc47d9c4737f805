"""What a store of answers does, whether it is a file of this host or a database that many hosts share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.rows import Claim, Pair, Question, StoredAnswer
from genz_ppl.types import FloatArray

BoolArray = NDArray[np.bool_]


class Store(Protocol):
    """Answers by question and item, leases on what is being asked, and a journal of every attempt.

    `AnswerStore` and `PostgresStore` are such; `tests/contracts/test_stores.py` says what both do. Any thread may use one object.
    Every write is one transaction: a kill at any moment loses what was not settled and nothing else. A row whose checksum is
    wrong counts as unknown, is asked again and replaced. All methods raise StoreError, with what to do next.
    """

    def __enter__(self) -> Self: ...

    def __exit__(self, *_: object) -> None: ...

    def close(self) -> None:
        """Give up what is claimed, and the store. Never raises; a second time does nothing."""

    def lookup(self, questions: Sequence[Question], items: Sequence[bytes]) -> tuple[FloatArray, BoolArray]:
        """What is known about I items and Q questions, asking nobody and claiming nothing.

        Returns values (I, Q) of 1., 0. and nan (unknown, or known to have no valid answer) and known (I, Q).
        """

    def claim(self, pairs: Sequence[Pair]) -> Claim:
        """Divide pairs into what is known, what the caller is to ask now, and what someone else is asking; one transaction.

        What is claimed stays claimed, for other claims of this object too, until it is settled, released or expired.
        Raises ValueError for an item that is no 32-byte hash.
        """

    def renew(self, pairs: Sequence[Pair]) -> None:
        """Let what this object has claimed of these pairs last for another full lease."""

    def release(self, pairs: Sequence[Pair]) -> None:
        """Give up what this object has claimed of these pairs: anyone may claim them again."""

    def begin(self, run: int, kind: str, model: str, reserved: Spending) -> int:
        """Write down an attempt before it is made, with the most it can use up; returns its id."""

    def settle(
        self,
        attempt: int,
        outcome: str,
        spent: Spending,
        answers: Mapping[Pair, StoredAnswer] | None = None,
        texts: Mapping[bytes, str] | None = None,
    ) -> None:
        """Close an attempt: what it used up in place of what was reserved, its answers and texts, their leases dropped.

        One transaction. What is answered already stays as it is: the first answer counts. Raises ValueError for an attempt
        that is closed or unknown, an item that is no 32-byte hash, or a value that is no answer; then nothing is written.
        """

    def text(self, key: bytes) -> str | None:
        """The text stored under the key; None if there is none, or a damaged one."""

    def texts(self, keys: Sequence[bytes]) -> dict[bytes, str]:
        """The intact texts of those keys that have one."""

    def claim_text(self, key: bytes) -> bool:
        """True if the caller is to make the text of that key now; False if it is stored, or being made by someone else."""

    def claim_texts(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those of the keys whose texts the caller is to make now; the others are stored, or being made by someone else."""

    def renew_texts(self, keys: Sequence[bytes]) -> None:
        """Let the claims on these texts last for another full lease."""

    def release_text(self, *keys: bytes) -> None:
        """Give up the claims on texts."""

    def open_run(self, name: str | None, fresh: bool, folder: str | Path | None = None) -> int:
        """The ledger of a run: the newest one of that name; a new one if `fresh`, if there is none, or for no name at all.

        folder: of a run that may be older than names: the ledger that was kept under its path then goes by the name from now on.
        """

    def spent(self, run: int) -> Spending:
        """What the attempts of a run used up; one that was never settled counts with all it had reserved."""

    def damaged(self) -> int:
        """How many damaged rows this object has met so far."""
