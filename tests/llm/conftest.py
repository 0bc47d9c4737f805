from __future__ import annotations

import bisect
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answerers import numbered_lines
from fault_patterns import Pattern
from fault_server import FAULTS, Request, always, contains_truth
from http_faults import Fault

from genz_ppl.llm.served import calling
from genz_ppl.llm.served.keys import item_hash
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.store.store import AnswerStore
from genz_ppl.types import FloatArray, Item

# Ten items by eight questions, so that a world of some dozen items takes several calls.
CALLS: dict[str, Any] = {"items_per_call": 10, "features_per_call": 8}
KEY = "sk-planted-0123456789"
Pairs = list[tuple[str, str]]


@dataclass(frozen=True)
class World:
    """Items, features, and the right answers: a feature applies where the text contains it."""

    items: list[Item]
    features: list[str]

    @property
    def truth(self) -> FloatArray:
        return np.array([[contains_truth(item.text, feature) for feature in self.features] for item in self.items], dtype=float)

    def wrong(self, answers: FloatArray) -> int:
        """Answers that are neither right nor NaN."""
        return int(((answers != self.truth) & ~np.isnan(answers)).sum())


@dataclass(frozen=True)
class Serving:
    """Makes models at servers, all with one store file unless told otherwise; closes them at the end of the test."""

    folder: Path
    made: list[OpenAIModel]

    @property
    def path(self) -> Path:
        return self.folder / "answers.sqlite"

    def __call__(self, base_url: str, *, run: str | None = None, fresh: bool = True, **settings: Any) -> OpenAIModel:
        given: dict[str, Any] = {"model": "m", "base_url": base_url, "timeout": 5.0, "workers": 4, **CALLS, **settings}
        model = OpenAIModel(ModelSettings(**given), self.path, run=run, fresh=fresh)
        self.made.append(model)
        return model

    def stored(self, model: OpenAIModel, world: World) -> tuple[FloatArray, FloatArray]:
        """What the store holds of a world: values and whether known."""
        questions = [model._question(feature, 0) for feature in world.features]
        hashes = [item_hash(item, model.settings.images != "none") for item in world.items]
        values, known = model.store.lookup(questions, hashes)
        return values, known.astype(float)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """Rows of the store's file, read past the package."""
        with closing(sqlite3.connect(self.path)) as connection:
            return connection.execute(query).fetchall()


@pytest.fixture
def serving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serving]:
    """Models with a planted key and short pauses."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.002)
    found = Serving(tmp_path, [])
    yield found
    for model in found.made:
        model.close()
        model.store.close()


@pytest.fixture
def world() -> World:
    """23 items and 4 features: with 5 items and 3 features a call that makes 10 calls."""
    texts = [f"house number {i} with " + "granite " * (i % 3 == 0) + "pool" * (i % 2) for i in range(23)]
    return World([Item(str(i), text) for i, text in enumerate(texts)], ["granite", "pool", "number 1", "house"])


@pytest.fixture
def make_world() -> Callable[[Sequence[str], Sequence[str]], World]:
    """A world of texts and features."""
    return lambda texts, features: World([Item(str(i), text) for i, text in enumerate(texts)], list(features))


@pytest.fixture
def asked() -> Callable[[Sequence[Request]], Pairs]:
    """The (item text, feature) pairs that requests ask, in order and as often as they ask."""

    def found(requests: Sequence[Request]) -> Pairs:
        pairs: Pairs = []
        for request in requests:
            items, features = numbered_lines(request.body)
            pairs += [(item, feature) for item in items.values() for feature in features.values()]
        return pairs

    return found


class Watch:
    """Notes when a model sends calls, and when its pauses begin and how long they are, both in the model's own loop."""

    def __call__(self, model: OpenAIModel) -> tuple[list[float], list[tuple[float, float]]]:
        sent: list[float] = []
        pauses: list[tuple[float, float]] = []
        client, gate = model.caller.client, model.caller.gate
        chat, pause = client.chat, gate.pause

        def noted_chat(body: Mapping[str, Any], most: int) -> Any:
            sent.append(time.monotonic())
            return chat(body, most)

        def noted_pause(seconds: float) -> None:
            pauses.append((time.monotonic(), seconds))
            pause(seconds)

        client.chat, gate.pause = noted_chat, noted_pause  # type: ignore[method-assign]
        return sent, pauses

    @staticmethod
    def between(times: Sequence[float], start: float, end: float) -> Sequence[float]:
        """Those of the sorted times that lie between two moments."""
        return times[bisect.bisect_right(times, start) : bisect.bisect_left(times, end)]


@pytest.fixture
def watched() -> Watch:
    """See `Watch`."""
    return Watch()


@pytest.fixture
def saying(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fault], Pattern]:
    """A pattern in which every request gets this fault."""

    def pattern(fault: Fault) -> Pattern:
        monkeypatch.setitem(FAULTS, "said", fault)
        return always("said")

    return pattern


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[AnswerStore]:
    with AnswerStore(path) as opened:
        yield opened


@pytest.fixture
def other(path: Path, store: AnswerStore) -> Iterator[AnswerStore]:
    """A second connection to the same file."""
    with AnswerStore(path) as opened:
        yield opened
