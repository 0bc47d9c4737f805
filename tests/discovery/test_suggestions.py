"""Questions from the task alone, at the start of a run: they compete like all others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Items, discover
from genz_ppl.discovery.run.progress import asked
from genz_ppl.discovery.run.service import make_settings
from genz_ppl.errors import GenzWarning, UnusableReplyError
from genz_ppl.types import Contrast, FloatArray, Item

TRUE, OTHERS = ("is sweet", "is loud", "is old"), tuple(f"is on list {number}" for number in range(9))
ALL = (*TRUE, *OTHERS)
SEARCH: dict[str, Any] = {"cycles": 2, "add": 3, "cut": 1, "proposals": 2, "seed": 1}


class Knowing:
    """Knows what may matter, and words the contrasts it sees badly. tasks: what it was asked to suggest for."""

    def __init__(self, present: pd.DataFrame, known: Sequence[str]) -> None:
        self.present, self.known = present, list(known)
        self.tasks: list[tuple[str, int, int]] = []
        self.mined = 0

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        return self.present.loc[[item.id for item in items], list(features)].to_numpy(dtype=np.float64)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self.mined += 1
        return [text for text in OTHERS if text not in contrast.existing][:n]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        self.tasks.append((task, len(items), n))
        return self.known[:n]


@pytest.fixture(scope="module")
def world() -> tuple[Items, pd.DataFrame]:
    """200 things, two numbers of each, which three of twelve questions move."""
    random = np.random.default_rng(3)
    ids = [f"t{number}" for number in range(200)]
    present = pd.DataFrame(random.random((200, len(ALL))) < 0.4, index=ids, columns=list(ALL))
    y = present[list(TRUE)].to_numpy() @ np.array([[2.0, 1.0], [-1.5, 1.0], [1.0, -2.0]]) + 0.5 * random.normal(size=(200, 2))
    frame = pd.DataFrame({"id": ids, "name": ids, "first": y[:, 0], "second": y[:, 1]})
    return Items.from_frame(frame, id="id", target=["first", "second"], name="things"), present


@pytest.mark.parametrize("screen", [0, 40])
def test_what_is_known_is_kept_where_it_is_true(world: tuple[Items, pd.DataFrame], screen: int) -> None:
    """The true questions come from one suggestion, before any contrast; the others that were suggested are not kept."""
    items, present = world
    model = Knowing(present, (OTHERS[0], *TRUE, OTHERS[1]))
    run = discover(items, model, suggestions=5, screen=screen, **SEARCH)
    kept = run.features[run.features["active"]]
    assert set(TRUE) <= set(kept["text"])
    assert not {OTHERS[0], OTHERS[1]} & set(kept["text"])
    assert model.tasks == [("Predict for each item of things: first, second.", 160, 5)]
    added = run.curve[run.curve["event"] == "add"]["feature"].tolist()
    assert set(added[:3]) == set(TRUE)
    whole = {text for text, entry in run.progress.pool.items() if asked(entry).all()}
    if screen:
        assert OTHERS[0] not in whole  # a race on 40 items was enough to see that it tells nothing


def test_only_who_asks_for_suggestions_gets_them(world: tuple[Items, pd.DataFrame]) -> None:
    items, present = world
    model = Knowing(present, TRUE)
    run = discover(items, model, **SEARCH)
    assert model.tasks == []
    assert not set(TRUE) & set(run.features["text"])


def test_they_are_a_default_of_models_that_know_something() -> None:
    assert make_settings("openai:m", {}).suggestions == 10
    assert make_settings("openai:m", {"suggestions": 0}).suggestions == 0
    assert make_settings("openai:m", {"paper": True}).suggestions == 0
    assert make_settings("rules", {}).suggestions == 0


def test_no_call_is_lost_by_a_second_run(world: tuple[Items, pd.DataFrame]) -> None:
    """Same seed, same answers: the same run."""
    items, present = world
    runs = [discover(items, Knowing(present, TRUE), suggestions=3, screen=40, **SEARCH) for _ in range(2)]
    pd.testing.assert_frame_equal(runs[0].features, runs[1].features)
    pd.testing.assert_frame_equal(runs[0].curve.drop(columns="seconds"), runs[1].curve.drop(columns="seconds"))


def test_a_model_without_any_is_no_end(world: tuple[Items, pd.DataFrame]) -> None:
    """It may know nothing of a task and still word what it is shown."""

    class Silent(Knowing):
        def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
            raise UnusableReplyError("m gave no usable reply")

    items, present = world
    with pytest.warns(GenzWarning, match="starts without suggestions: m gave no usable reply"):
        run = discover(items, Silent(present, ()), suggestions=3, **SEARCH)
    plain = discover(items, Knowing(present, ()), **SEARCH)
    assert run.status == "done"
    assert run.features["text"].tolist() == plain.features["text"].tolist()
