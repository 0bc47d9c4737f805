"""What every fault of a server does to a run: the answers, the calls, the time, and what is in the store afterwards.

    python benchmarks/faults.py                            # all faults that the server of the tests can do
    python benchmarks/faults.py --faults 500 hang          # only these

23 items by 4 questions, 10 calls when nothing is wrong, 4 workers, pauses made short: each fault in every third reply, in every
one, in those to calls about one of the items, and in 116 in a row after the first three. Said are answers and calls; faults
with like ends share a row. The script fails if a wrong answer is stored, one that was given is lost, a question is given up where
the server was in trouble, a lease or a call is left open, or a call takes longer than its deadline.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from fault_patterns import Pattern, always, every, when
from fault_server import FAULTS, FaultServer, contains_truth, truthful_answerer

from genz_ppl.errors import GenzWarning, ModelError
from genz_ppl.llm.served import calling
from genz_ppl.llm.served.keys import item_hash
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.store.store import AnswerStore
from genz_ppl.types import Item

ITEMS = [Item(str(i), f"house number {i} with " + "granite " * (i % 3 == 0) + "pool" * (i % 2)) for i in range(23)]
FEATURES = ["granite", "pool", "number 1", "house"]
TRUTH = np.array([[float(contains_truth(item.text, feature)) for feature in FEATURES] for item in ITEMS])
TIMEOUT = 0.5
# What a deadline may be passed by on a busy machine, seconds.
SLACK = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a run ended: "done" or "stopped"; answers right, and questions without one; calls, and the longest, seconds."""

    end: str
    right: int
    missing: int
    calls: int
    longest: float

    @property
    def kind(self) -> str:
        """What faults with like ends share."""
        if self.end == "stopped":
            return "stopped"
        if self.right == TRUTH.size:
            return f"{self.right} right"
        return f"{self.right} right, the others none" if self.right else "no answer"


def run(pattern: Pattern) -> Outcome:
    """One run at a server with these faults; raises AssertionError where something is wrong, lost or left open."""
    server = FaultServer(truthful_answerer(contains_truth), pattern, retry_after=0.05, trickle_seconds=0.05)
    with server, tempfile.TemporaryDirectory() as folder:
        settings = ModelSettings(
            model="m", base_url=server.base_url, timeout=TIMEOUT, workers=4, items_per_call=5, features_per_call=3
        )
        model = OpenAIModel(settings, Path(folder) / "answers.sqlite")
        longest = timed(model)
        end, answers = "done", np.full(TRUTH.shape, np.nan)
        try:
            answers = model.answer(ITEMS, FEATURES)
        except ModelError:
            end = "stopped"
        questions = [model._question(feature, 0) for feature in FEATURES]
        values, known = model.store.lookup(questions, [item_hash(item, True) for item in ITEMS])
        right, given = values == TRUTH, ~np.isnan(values)
        assert (right | ~given).all(), "a wrong answer is stored"
        assert end == "stopped" or ((answers == values) | np.isnan(answers)).all(), "an answer is lost"
        assert end == "done" or not (known & ~given).any(), "a question is given up where the server was in trouble"
        assert isinstance(model.store, AnswerStore)
        with model.store.using() as tables:
            left = tables.connection.execute(
                "SELECT (SELECT count(*) FROM leases) + (SELECT count(*) FROM attempts WHERE settled IS NULL)"
            ).fetchone()[0]
        assert left == 0, "a lease or a call is left open"
        assert model.spent.calls >= server.total, "a call is not counted"  # more where one ran out of time on its way
        assert max(longest, default=0) < TIMEOUT + SLACK, "a call took longer than its deadline"
        model.close()
        model.store.close()
        return Outcome(end, int(right.sum()), int((~given).sum()), server.total, max(longest, default=0))


def timed(model: OpenAIModel) -> list[float]:
    """Seconds of every call that the model makes from now on."""
    seconds: list[float] = []
    send = model.caller._send

    async def noted(*arguments: Any) -> Any:
        started = time.monotonic()
        try:
            return await send(*arguments)
        finally:
            seconds.append(time.monotonic() - started)

    model.caller._send = noted  # type: ignore[method-assign, assignment]
    return seconds


def span(numbers: list[int]) -> str:
    """The least and the greatest, if they differ."""
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)}-{max(numbers)}"


def said(outcomes: list[Outcome]) -> str:
    """The ends of some runs of one kind, for a table."""
    stored = f", {span([one.right for one in outcomes])} answers stored" if outcomes[0].end == "stopped" else ""
    return f"{outcomes[0].kind}{stored} / {span([one.calls for one in outcomes])}"


def table(names: list[str]) -> list[str]:
    """A row for all faults that have the same kind of end with each pattern, after about as many calls with the first."""
    rows: dict[tuple[object, ...], list[list[Outcome]]] = {}
    found: dict[tuple[object, ...], list[str]] = {}
    for name in names:
        outcomes = [run(pattern(name)) for pattern in PATTERNS.values()]
        key = (outcomes[0].calls // 10, *(one.kind for one in outcomes))
        rows.setdefault(key, []).append(outcomes)
        found.setdefault(key, []).append(name)
        print(f"{name}: {'; '.join(said([one]) for one in outcomes)}", file=sys.stderr, flush=True)
    return [
        f"| {', '.join(found[key])} | {' | '.join(map(said, map(list, zip(*row, strict=True))))} |" for key, row in rows.items()
    ]


def in_a_row(name: str) -> Pattern:
    """After the first three calls, for 116."""
    return lambda number, body: name if 3 < number <= 119 else None


PATTERNS: dict[str, Callable[[str], Pattern]] = {
    "in every third reply": lambda name: every(3, name),
    "in every reply": always,
    "at one item": lambda name: when("number 7 ", name),
    "116 times after 3 calls": in_a_row,
}


def main() -> None:
    """Run all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", nargs="+", default=[*FAULTS], choices=[*FAULTS], metavar="NAME", help="by name; all")
    names = parser.parse_args().faults
    os.environ.setdefault("OPENAI_API_KEY", "none")
    warnings.simplefilter("ignore", GenzWarning)
    calling.FIRST_PAUSE, calling.PATIENCE = 0.002, 0.5
    print(f"| faults | {' | '.join(PATTERNS)} |\n|{'---|' * (1 + len(PATTERNS))}")
    print("\n".join(table(names)))


if __name__ == "__main__":
    main()
