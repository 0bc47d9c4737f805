"""Contrasts and prompts before a run are those of the run."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from answerers import kind_of
from fault_server import FaultServer, hash_truth, truthful_answerer

from genz_ppl.data import Items
from genz_ppl.discovery.discover import discover
from genz_ppl.discovery.dry import dry_contrasts
from genz_ppl.discovery.run.service import make_settings
from genz_ppl.llm.served.prompt_files import built_in
from genz_ppl.llm.served.settings import ModelSettings

SHORT: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 0, "exemplars": 5, "proposals": 3, "seed": 4, "suggestions": 0}


@pytest.mark.parametrize("more", [{}, {"polarity": "negative"}, {"algorithm": "basic"}])
def test_the_first_contrast_is_that_of_the_run(items: Items, recorder: Any, more: dict[str, Any]) -> None:
    found = dry_contrasts(items, make_settings("rules", {**SHORT, **more}), 1)
    discover(items, recorder, **SHORT, **more)
    asked = recorder.contrasts[0][0]
    (one,) = found
    assert asked in (one.contrast, one.contrast.reversed())
    (prompt,) = one.prompts
    assert prompt.name == ("mine" if "polarity" in more else "mine_both")
    assert 0 < one.sharpness <= 1


@pytest.mark.parametrize("own", [False, True], ids=["built in", "own"])
def test_its_prompts_are_sent_to_the_letter(items: Items, own: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted")
    if own:
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "mine.txt").write_text(built_in("mine", earlier=True), encoding="utf-8")
    given: dict[str, Any] = {"prompts": str(tmp_path / "own")} if own else {}
    (one,) = dry_contrasts(items, make_settings("openai:m", SHORT), 1, ModelSettings(model="m", **given))
    assert len(one.prompts) == (2 if own else 1)
    with FaultServer(truthful_answerer(hash_truth)) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of an unknown price
        settings = {"base_url": server.base_url, **given}
        discover(items, "openai:m", model_settings=settings, store=tmp_path / "store.sqlite", **SHORT)
        bodies = [request.body for request in server.requests if kind_of(request.body).startswith("mine")]
    sent = [[message["content"] for message in body["messages"]] for body in bodies[: len(one.prompts)]]
    assert sent == [[prompt.system, prompt.user] for prompt in one.prompts]


def test_each_contrast_is_of_another_split(items: Items) -> None:
    several = Items.from_frame(
        items_with_targets(items), id="key", target=["y", "z"]
    )  # two targets that have little to do with each other
    found = dry_contrasts(several, make_settings("rules", SHORT), 5)
    assert len(found) == 2
    assert {item.id for item in found[0].contrast.positive} != {item.id for item in found[1].contrast.positive}
    assert len(dry_contrasts(several, make_settings("rules", SHORT), 1)) == 1


def items_with_targets(items: Items) -> Any:
    """The items as a table with a second target: whether the size is a multiple of three."""
    table = pd.DataFrame([item.fields for item in items])
    assert items.targets is not None
    return table.assign(key=items.ids, y=items.targets[:, 0], z=(table["size"] % 3 == 0) * 2.0 + 0.1 * items.targets[:, 0])
