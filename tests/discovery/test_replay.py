"""Whole runs with a served model, through the client and over the wire, at a server that replays."""

from __future__ import annotations

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fault_server import FaultServer
from imperfect import Noise, better_half
from replay import Replay, read_conversations, write_conversations

from genz_ppl import Discovery, Items, discover, resume
from genz_ppl.data import open_source
from genz_ppl.discovery.plan import plan
from genz_ppl.discovery.run.service import make_settings
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.table import TableModel

MODEL = "openai:m"
TRUE = ("is sweet", "is loud", "is old")
SETTINGS: dict[str, Any] = {"cycles": 2, "add": 3, "cut": 1, "screen": 30, "proposals": 3, "seed": 2}


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "none")


@pytest.fixture(scope="module")
def things(tmp_path_factory: pytest.TempPathFactory) -> tuple[Items, Path]:
    """120 things with a table of eighteen wordings, three of which move the two targets."""
    random = np.random.default_rng(5)
    wordings = [*TRUE, *(f"belongs to list {number}" for number in range(15))]
    present = random.random((120, len(wordings))) < random.uniform(0.25, 0.6, len(wordings))
    ids = [f"thing{number}" for number in range(120)]
    weights = np.array([[2.0, 0.5], [-1.5, 1.5], [0.5, -2.0]])
    y = present[:, :3] @ weights + 0.5 * random.normal(size=(120, 2))
    frame = pd.DataFrame({"id": ids, "name": [f"The {word}." for word in ids], "first": y[:, 0], "second": y[:, 1]})
    file = tmp_path_factory.mktemp("table") / "wordings.jsonl"
    lines = [
        {"question": text, "yes": [ids[t] for t in np.flatnonzero(column)]}
        for text, column in zip(wordings, present.T, strict=True)
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return Items.from_frame(frame, id="id", target=["first", "second"]), file


def served(server: FaultServer, **more: Any) -> dict[str, Any]:
    return {"base_url": server.base_url, "price": (3.0, 15.0), "workers": 2, **more}


def run_at(replay: Replay, items: Items, folder: Path, name: str, **more: Any) -> tuple[Discovery, FaultServer]:
    """A run with answers of its own, in `folder`/`name`, and the server as it is afterwards."""
    with FaultServer(replay) as server:
        where: dict[str, Any] = {"model_settings": served(server), "store": folder / f"{name}.sqlite", "out": folder / name}
        return discover(items, MODEL, **where, **{**SETTINGS, **more}), server


def seen(run: Discovery) -> tuple[list[Any], list[Any]]:
    """What a run found and how it went, without times."""
    curve = run.curve.drop(columns="seconds")
    return run.features.round(9).fillna(-1).values.tolist(), curve.round(9).fillna(-1).values.tolist()


@pytest.fixture(scope="module")
def first(things: tuple[Items, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Discovery, Replay, Path]:
    """A whole run, and what was said in it."""
    items, file = things
    folder = tmp_path_factory.mktemp("first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_API_KEY", "none")
        replay = Replay(items, TableModel(file))
        run, _ = run_at(replay, items, folder, "run")
    write_conversations(folder / "conversations.jsonl", replay.spoken)
    return run, replay, folder


def test_a_served_run_finds_what_the_table_itself_would(
    things: tuple[Items, Path], first: tuple[Discovery, Replay, Path], tmp_path: Path
) -> None:
    items, file = things
    run = first[0]
    assert set(TRUE) <= {text.removeprefix("not (").removesuffix(")") for text in run.posterior.columns}
    plain = discover(items, f"table:{file}", test_at_end=True, suggestions=10, **SETTINGS)
    assert run.features.text.tolist() == plain.features.text.tolist()
    np.testing.assert_allclose(run.posterior, plain.posterior, atol=1e-9)
    assert run.curve.answers_asked.tolist() == plain.curve.answers_asked.tolist()


def test_what_was_said_once_is_said_again(
    things: tuple[Items, Path], first: tuple[Discovery, Replay, Path], tmp_path: Path
) -> None:
    # Without a table, so that anything that was not asked before fails the run.
    replay = Replay(things[0], None, read_conversations(first[2] / "conversations.jsonl"))
    run, _ = run_at(replay, things[0], tmp_path, "again")
    assert seen(run) == seen(first[0])
    assert replay.new.total() == 0
    assert replay.known == first[1].new
    other = dict(first[1].spoken[0], reply=json.dumps({"description": "", "positive": ["is odd"], "negative": []}))
    body = {"messages": other["messages"]}
    assert json.loads(Replay(things[0], None, [other, first[1].spoken[0]])(body))["positive"] == ["is odd"]
    with pytest.raises(LookupError, match="mine_both: this was never asked"):
        Replay(things[0])({**body, "response_format": {"json_schema": {"name": "mine_both"}}})


def test_the_server_counts_what_the_run_does_and_the_plan_is_not_below(
    things: tuple[Items, Path], first: tuple[Discovery, Replay, Path]
) -> None:
    run, replay, _ = first
    last = run.curve.iloc[-1]
    assert last["calls"] == replay.new.total()
    settings = make_settings(MODEL, dict(SETTINGS))
    planned = plan(things[0], settings, ModelSettings(model="m", base_url="http://localhost:1/v1", price=(3.0, 15.0)))
    assert last["calls"] <= planned.calls
    assert last["tokens_in"] <= planned.tokens_in
    assert last["tokens_out"] <= planned.tokens_out
    assert last["answers_asked"] <= planned.answers
    assert planned.dollars is not None
    assert 0 < last["cost"] <= planned.dollars


@pytest.mark.parametrize("steps", [1, 4])
def test_a_run_that_was_stopped_ends_as_it_would_have(
    things: tuple[Items, Path], first: tuple[Discovery, Replay, Path], tmp_path: Path, steps: int
) -> None:
    def stop(progress: Any, settings: Any) -> None:
        if len(taken) == steps:
            raise KeyboardInterrupt
        taken.append(progress.step)

    taken: list[int] = []
    items, file = things
    replay = Replay(items, TableModel(file))
    with FaultServer(replay) as server:
        where: dict[str, Any] = {"model_settings": served(server), "store": tmp_path / "a.sqlite", "out": tmp_path / "run"}
        with pytest.raises(KeyboardInterrupt):
            discover(items, MODEL, on_step=stop, **where, **SETTINGS)
        asked = replay.new.total()
        run = resume(tmp_path / "run", items)
    assert 0 < asked < first[1].new.total()
    assert run.status == "done"
    assert seen(run) == seen(first[0])
    assert replay.new == first[1].new  # nothing is paid for twice
    assert replay.known.total() == 0


def test_a_weak_miner_draws_from_the_better_half() -> None:
    ranked = [f"wording {number}" for number in range(21)]
    drawn = {tuple(better_half(ranked, 3, seed, "occasion")) for seed in range(40)}
    assert len(drawn) > 30
    assert {text for one in drawn for text in one} == set(ranked[:11])
    assert better_half(ranked, 3, 1, "occasion") == better_half(ranked, 3, 1, "occasion") != better_half(ranked, 3, 1, "other")
    assert len(better_half(ranked[:3], 8, 0)) == 2


@pytest.mark.parametrize("share", [0.05, 0.1, 0.2])
def test_a_noisy_annotator_errs_as_often_as_told(share: float) -> None:
    random, noise = np.random.default_rng(0), Noise(share, seed=4)
    ids, wordings = [f"item{number}" for number in range(400)], [f"wording {number}" for number in range(30)]
    truth = (random.random((400, 30)) < 0.3).astype(np.float64)
    truth[0, 0] = np.nan
    answers = noise.applied(ids, wordings, truth, np.full(30, 0.3))
    np.testing.assert_array_equal(answers, noise.applied(ids, wordings, truth, np.full(30, 0.3)))
    assert math.isnan(answers[0, 0])
    known = ~np.isnan(truth)
    wrong = (answers != truth) & known
    # Items differ, so that their number and not that of answers tells how far the mean may be off; hard ones err as coins do.
    assert wrong.sum() / known.sum() == pytest.approx(share, abs=share * (3 * 0.58 / 400**0.5 + 0.05))
    missed, invented = wrong[truth == 1].mean(), wrong[truth == 0].mean()
    assert missed / invented == pytest.approx(3.0, rel=0.25)
    difficulty = np.array([noise.difficulty(item) for item in ids])
    easy, hard = wrong[difficulty < 0.5].mean(), wrong[difficulty > 1.5].mean()
    assert hard > 3 * easy
    assert (Noise(share, seed=5).applied(ids, wordings, truth, np.full(30, 0.3)) != answers)[known].any()


@pytest.mark.slow
def test_a_worse_model_still_ends_and_finds_most(things: tuple[Items, Path], tmp_path: Path) -> None:
    items, file = things
    replay = Replay(items, TableModel(file), noise=Noise(0.1, seed=1), weak=True)
    run, _ = run_at(replay, items, tmp_path, "run", screen=0, patience=8)
    # What is named beside the true ones has answers of the same kind: the strongest two are found whatever else is kept.
    assert {"is sweet", "is loud"} <= {text.removeprefix("not (").removesuffix(")") for text in run.posterior.columns}
    test = items.take(items.split_indices(SETTINGS["seed"], 0.2).test)
    said = run.answers(test)
    clean = TableModel(file).answer(test.items, list(run.posterior.columns))
    assert 0.0 < (said != clean).mean() < 0.3


@pytest.mark.slow
def test_the_films_of_a_live_model(data_folder: Path, tmp_path: Path) -> None:
    """What was asked of it is said again word for word; a run that asks other things is that of its table."""
    folder = data_folder / "live-films"
    if not folder.is_dir():
        pytest.skip(f"needs the conversations of a live model, and there are none in {folder}")
    items = open_source(f"movielens:{data_folder / 'ml-1m'},items=200,dimensions=32,alpha=0")
    conversations = read_conversations(folder / "conversations.jsonl")
    replay = Replay(items, TableModel(folder / "answers.jsonl"), conversations)
    for one in conversations:
        assert replay({"messages": one["messages"]}) in {
            other["reply"] for other in conversations if other["messages"] == one["messages"]
        }
    assert replay.new.total() == 0
    chosen: dict[str, Any] = {"max_features": 8, "add": 8, "cycles": 1, "seed": 0}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with FaultServer(replay, record=False) as server:
            run = discover(items, MODEL, model_settings=served(server), store=tmp_path / "a.sqlite", **chosen)
        plain = discover(items, f"table:{folder / 'answers.jsonl'}", screen=80, suggestions=10, test_at_end=True, **chosen)
    assert run.features.text.tolist() == plain.features.text.tolist()
    assert run.curve.test_error.iloc[-1] == pytest.approx(plain.curve.test_error.iloc[-1], abs=1e-9)
    assert replay.new["mine_both"] >= 1
