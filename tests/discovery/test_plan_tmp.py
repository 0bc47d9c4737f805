"""No run uses more than its plan said: random settings against a chat that counts."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from counting_chat import CountingChat

from genz_ppl.data import Items
from genz_ppl.discovery.asking import race_courses
from genz_ppl.discovery.baseline import baseline, brief_and_settings
from genz_ppl.discovery.discover import discover
from genz_ppl.discovery.mine.screening import Race
from genz_ppl.discovery.plan import Plan, plan
from genz_ppl.discovery.run.service import make_settings
from genz_ppl.llm.served.client import ChatClient
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.settings import DiscoverSettings

MODEL = "openai:m"
WORDS = ("red", "green", "old", "pine", "oak", "size: 1", "size: 3", "size: 5", "new pine", "old oak")


def made(random: np.random.Generator) -> Items:
    """A few items; in half of the tables some of them say the same as others."""
    rows = int(random.integers(12, 45))
    table = pd.DataFrame(
        {
            "key": [f"k{row}" for row in range(rows)],
            "colour": random.choice(["red", "green", "blue"], rows),
            "size": random.integers(0, 4 if random.random() < 0.5 else 1000, rows),
            "note": random.choice(["old oak", "new pine", "old pine"], rows),
        }
    )
    table["y"] = 3.0 * (table["colour"] == "red") - 1.5 * table["note"].str.contains("old") + 0.3 * random.normal(size=rows)
    return Items.from_frame(table, id="key", target="y")


def settings_of(random: np.random.Generator) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of a search and of a model, any that a plan has to reckon with."""

    def one(*values: Any) -> Any:
        return values[int(random.integers(len(values)))]

    searched = {
        **{
            "cycles": one(1, 2, 3),
            "add": one(1, 2, 3),
            "cut": one(0, 1, 2),
            "updates": one(0, 0, 1),
            "refinements": one(0, 0, 1),
        },
        **{
            "refinements": one(0, 0, 1),
            "proposals": one(1, 2, 3, 5),
            "polarity": one("both", "both", "negative"),
        },
        **{"exemplars": one(2, 5, 40), "screen": one(None, 0, 3, 10, 15, 30, 80)},
        "test_at_end": one(None, None, False),
        "suggestions": one(None, None, 0, 3),
        **{"splits": one(1, 2), "patience": one(1, 2, 4, 6)},
        **{"max_features": one(None, None, 1, 3), "reconsider": one(True, True, False)},
        **{"algorithm": one("targeted", "basic"), "smallest_gain": one(None, 0.0, -1e9), "seed": int(random.integers(99))},
        **{"inner_steps": 1, "refit_steps": 1, "final_steps": 1},
    }
    served = {
        **{"items_per_call": one(None, None, 1, 2, 5, 40), "features_per_call": one(1, 2, 5, 16), "draws": one(1, 1, 1, 3)},
        "describe_above": one(0, 40, 300),
        **{"max_output_tokens": one(None, None, 500), "log_probabilities": one(False, False, False, True)},
        **{"price": (3.0, 15.0), "base_url": "http://localhost:1/v1", "workers": 2},
    }
    return searched, served


def compared(seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Plan, CountingChat, pd.Series]:
    """A plan, what a run with the same settings asked, and the last row of its curve."""
    random = np.random.default_rng(seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the targets of so few items may follow one column
        items, (searched, served) = made(random), settings_of(random)
    chat = CountingChat(seed, WORDS, fresh=float(random.choice([0.0, 0.3, 1.0])))
    monkeypatch.setattr(ChatClient, "chat", lambda _, body, most: chat(body, most))
    given: dict[str, Any] = {"model_settings": served, "store": folder / f"{seed}.sqlite"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if random.random() < 0.15:
            kept: dict[str, Any] = {name: searched[name] for name in ("seed", "refit_steps", "final_steps")}
            asked: dict[str, Any] = {"n_questions": int(random.integers(1, 12)), "examples": 10}
            brief, chosen = brief_and_settings(items, MODEL, **asked, **kept)
            planned = plan(items, chosen, ModelSettings(model="m", **served), brief)
            run = baseline(items, MODEL, **given, **asked, **kept)
        else:
            planned = plan(items, make_settings(MODEL, searched), ModelSettings(model="m", **served))
            run = discover(items, MODEL, **given, **searched)
    return planned, chat, run.curve.iloc[-1]


def check(seed: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    planned, chat, row = compared(seed, folder, monkeypatch)
    assert chat.calls == row["calls"] <= planned.calls
    assert chat.usage.tokens_in == row["tokens_in"] <= planned.tokens_in
    assert chat.usage.tokens_out == row["tokens_out"] <= planned.tokens_out
    assert row["answers_asked"] <= planned.answers
    assert planned.dollars is not None
    assert 0 < row["cost"] <= planned.dollars
    for name, value in vars(planned.typical).items():
        assert name == "descriptions" or value <= getattr(planned, name), name
    proposals = sum(part.calls for part in planned.parts if part.name in ("proposals", "suggestions"))
    assert 0 < sum(chat.kinds[kind] for kind in ("mine", "mine_both", "suggest")) <= proposals


@pytest.mark.parametrize("seed", range(24))
def test_no_run_uses_more_than_its_plan(seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(seed, tmp_path, monkeypatch)


@pytest.mark.parametrize(("screen", "sharpness", "care"), [(80, 0.9, 0), (80, 0.1, 2), (30, 0.5, 1), (5, 1.0, 0), (1, 0.4, 3)])
def test_a_race_has_no_more_rounds_than_planned(screen: int, sharpness: float, care: int) -> None:
    settings = DiscoverSettings(screen=screen)
    race = Race({}, np.zeros(400), np.arange(400), lambda *_: np.zeros((0, 0)), screen, 0.0, (), care, sharpness)
    assert [size for size, _ in race.rounds] in race_courses(settings, 400, care)


@pytest.mark.slow
def test_no_run_of_three_hundred_uses_more_than_its_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(1171, 1300):
        check(seed, tmp_path, monkeypatch)
