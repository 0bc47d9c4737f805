"""What a store of answers holds, counted, and what was taken out of it: of a file and of a database alike."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from genz_ppl.llm.served.spending import Spending


@dataclass(frozen=True)
class ModelCount:
    """Answers of one model with one prompt: questions asked, answers yes, no and failed (no valid answer)."""

    model: str
    endpoint: str
    prompt: str
    questions: int
    yes: int
    no: int
    failed: int


@dataclass(frozen=True)
class StoreInfo:
    """What a store holds.

    size: bytes, the log beside the file included. failed: why answers are missing, and how often. texts: stored replies other
    than answers. unsettled: attempts that were begun and never settled; spent counts them with what they had reserved.
    leases: what is being asked now; orphans: leases that are void. damaged: rows with a wrong checksum, and lines of SQLite's
    own check; None where not checked.
    """

    path: str
    size: int
    schema: int
    items: int
    models: tuple[ModelCount, ...]
    failed: dict[str, int]
    texts: int
    runs: int
    attempts: int
    unsettled: int
    spent: Spending
    leases: int
    orphans: int
    damaged: int | None

    @property
    def answers(self) -> int:
        """All answers, failed ones included."""
        return sum(each.yes + each.no + each.failed for each in self.models)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "answers": self.answers}


@dataclass(frozen=True)
class Pruned:
    """How many answers, texts and void leases were taken away, or would be; bytes of the file before and after."""

    answers: int
    texts: int
    leases: int
    size_before: int
    size_after: int
