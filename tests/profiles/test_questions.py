"""A profile that is questions: answers of a table, or of a run with its posterior, beside the text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from answerers import contains_truth, schema_name, truthful_answerer
from fault_server import FaultServer
from profile_answers import profile_answerer

from genz_ppl import Items, discover
from genz_ppl.errors import BudgetError, OptionError
from genz_ppl.profiles import Refresh, make_profiles
from genz_ppl.profiles.status import explained
from genz_ppl.types import Item


@pytest.fixture
def table(tmp_path: Path) -> str:
    frame = pd.DataFrame({"id": ["m0", "m1", "m2"], "Is it long?": [1, 0, 1], "Is it sad?": [0, None, 1]})
    frame.to_csv(tmp_path / "known.csv", index=False)
    return f"table:{tmp_path / 'known.csv'}"


def test_answers_of_a_table(items: list[Item], table: str, tmp_path: Path, own_encoder: str) -> None:
    make_profiles(items, tmp_path / "out.parquet", encoder=own_encoder)
    planned = Refresh(items, tmp_path / "out.parquet", questions=table, encoder=own_encoder).plan()
    assert planned.lines()[1:] == ["answers to 2 questions, 0 before"]
    found = make_profiles(items, tmp_path / "out.parquet", questions=table, encoder=own_encoder)
    assert Refresh(items, tmp_path / "out.parquet", questions=table, encoder=own_encoder).plan().is_nothing
    assert found.questions == ("Is it long?", "Is it sad?")
    np.testing.assert_array_equal(found.answers[:4], [[1, 0], [0, np.nan], [1, 1], [np.nan, np.nan]])
    assert np.isnan(found.q).all()
    lines = list(explained(found, "m1"))
    assert lines[0] == "m1: title Film 1, genres war."
    assert lines[1:4] == ["tags: war", "no: Is it long?", "?: Is it sad?"]
    content = (tmp_path / "out.parquet").read_bytes()
    make_profiles(items, tmp_path / "out.parquet", questions=table, encoder=own_encoder)
    assert (tmp_path / "out.parquet").read_bytes() == content


def test_changed_answers_change_their_rows_only(items: list[Item], table: str, tmp_path: Path, own_encoder: str) -> None:
    first = make_profiles(items, tmp_path / "out.parquet", questions=table, encoder=own_encoder)
    frame = pd.read_csv(tmp_path / "known.csv")
    frame.loc[0, "Is it long?"] = 0
    frame.to_csv(tmp_path / "known.csv", index=False)
    second = make_profiles(items, tmp_path / "out.parquet", questions=table, encoder=own_encoder)
    assert second.find("m0").answers.tolist() == [0, 0]  # type: ignore[union-attr]
    assert [row.generated_at for row in second.rows] == [row.generated_at for row in first.rows]
    third = make_profiles(items, tmp_path / "out.parquet", encoder=own_encoder)
    assert third.questions == ()
    assert third.rows[0].answers is None


def test_questions_of_a_run(tmp_path: Path, own_encoder: str) -> None:
    chance = np.random.default_rng(0)
    red, big = chance.integers(0, 2, (2, 80))
    frame = pd.DataFrame({"id": [f"i{n}" for n in range(80)], "colour": np.where(red, "red", "blue"), "size": big})
    frame["price"] = 3.0 * red + 1.0 * big + chance.normal(0, 0.1, 80)
    run = discover(frame, target="price", id="id", cycles=1, add=2, cut=0, out=tmp_path / "run", progress=False)
    more = pd.concat([frame, pd.DataFrame({"id": ["new"], "colour": ["red"], "size": [0], "price": [0.0]})])
    items = Items.from_frame(more.drop(columns="price").reset_index(drop=True), id="id", require_target=False)
    found = make_profiles(items, tmp_path / "out.parquet", questions=str(tmp_path / "run"), encoder=own_encoder)
    texts = [text for text, active in zip(run.features["text"], run.features["active"], strict=True) if active]
    assert list(found.questions) == texts
    colour = next(k for k, text in enumerate(texts) if "colour" in text)
    said_red = found.answers[:80, colour] == float("red" in texts[colour])
    assert (said_red == red.astype(bool)).all()
    assert found.answers[80, colour] == float("red" in texts[colour])
    train = run.posterior
    np.testing.assert_allclose(found.q[[found.ids.index(f"i{n}") for n in train.index]], train.to_numpy(), atol=1e-6)
    assert not np.isnan(found.q).any()
    assert "price" not in str(found.rows[0].profile)


def test_no_run_and_no_table(items: list[Item], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"questions: expected the folder of a run, or table:FILE"):
        make_profiles(items, tmp_path / "out.parquet", questions=str(tmp_path / "nowhere"))


def test_a_served_run_is_asked_about_new_items_within_the_cap(tmp_path: Path, own_encoder: str) -> None:
    def answer(body: Any) -> str:
        return profile_answerer(body) if (schema_name(body) or "").startswith("profile") else TRUE(body)

    chance = np.random.default_rng(0)
    has = chance.integers(0, 2, 60)
    words = np.where(has, "with a pool", "plain")
    frame = pd.DataFrame({"id": [f"i{n}" for n in range(60)], "text": [f"house {n} {one}" for n, one in enumerate(words)]})
    frame["price"] = 3.0 * has + chance.normal(0, 0.1, 60)
    more = pd.DataFrame({"id": ["new1", "new2"], "text": ["house 99 with a pool", "house 98 plain"]})
    with FaultServer(answer) as server:
        served = {"base_url": server.base_url, "timeout": 5.0}
        store = tmp_path / "answers.sqlite"
        discover(
            frame, "openai:m", target="price", id="id", cycles=1, add=1, cut=0, out=tmp_path / "run", progress=False, store=store,
            model_settings=served,
        )  # fmt: skip
        items = Items.from_frame(pd.concat([frame.drop(columns="price"), more], ignore_index=True), id="id", require_target=False)
        given: dict[str, Any] = {"questions": str(tmp_path / "run"), "encoder": own_encoder, "model": "openai:m", "store": store}
        calls = server.total
        planned = Refresh(items, tmp_path / "out.parquet", model_settings=served, **given).plan()
        assert (planned.answers, server.total) == (2, calls)
        with pytest.raises(BudgetError, match="max-calls"):
            make_profiles(items, tmp_path / "out.parquet", model_settings={**served, "max_calls": 62}, **given)
        assert server.total <= calls + 63
        found = make_profiles(items, tmp_path / "out.parquet", model_settings=served, **given)
        assert server.total == calls + 63
        assert found.answers[-2:, 0].tolist() == [1, 0]
        assert found.about.spent.calls == 63
        make_profiles(items, tmp_path / "out.parquet", model_settings=served, **given)
        assert server.total == calls + 63


TRUE = truthful_answerer(contains_truth, ["pool", "garden"])
