"""`--link auto`: the run goes on with the link that held-out folds speak for, says so, and is resumed to the same end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, Items, discover
from genz_ppl.discovery.plan import plan
from genz_ppl.discovery.resume import resume
from genz_ppl.discovery.run.link_choice import may_choose_link, words_of
from genz_ppl.settings import PAPER, DiscoverSettings


def kitchens(product: float, rows: int = 300) -> pd.DataFrame:
    """An upgraded kitchen is worth so much more per standard deviation of size."""
    random = np.random.default_rng(1)
    fields = random.random((rows, 3)) < 0.5
    size = random.normal(100, 20, rows)
    y = fields.sum(1) + size / 20 + product * fields[:, 0] * (size - 100) / 20 + 0.7 * random.normal(size=rows)
    names = ("kitchen", "garden", "lift")
    columns = {name: np.where(column, "yes", "no") for name, column in zip(names, fields.T, strict=True)}
    return pd.DataFrame({"key": [f"k{row}" for row in range(rows)], **columns, "size": size, "y": y})


def items(product: float) -> Items:
    return Items.from_frame(kitchens(product), id="key", target="y", covariates=["size"], text=["kitchen", "garden", "lift"])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Discovery:
    return discover(items(1.0), cycles=2, out=tmp_path_factory.mktemp("runs") / "kitchens")


def test_a_run_goes_on_with_products_where_folds_speak_for_them(run: Discovery) -> None:
    assert run.progress.link == "interaction"
    assert run.record.settings.link == "interaction"
    assert run.progress.state.model.link.name == "interaction"
    linear = discover(items(1.0), cycles=2, link="linear")
    assert run.curve["test_error"].iloc[-1] < linear.curve["test_error"].iloc[-1]
    words = words_of(run.progress.link, run.progress.link_scores)
    assert words.startswith("link interaction, by --link auto (against linear, nats on held-out folds")
    assert words.endswith("more than two standard errors)")


def test_a_plan_has_room_for_another_link() -> None:
    few: dict[str, Any] = {"cycles": 1, "add": 1, "proposals": 4, "likelihood": "gaussian"}
    short, planned = discover(items(1.0), **few), plan(items(1.0), DiscoverSettings(**few))
    assert short.progress.link == "interaction"
    assert planned.additions == 2
    assert short.curve["proposals_asked"].max() <= 2 * planned.additions
    assert short.curve["answers_asked"].max() <= planned.answers


def test_the_folder_says_it_and_is_read_and_resumed(run: Discovery, tmp_path: Path) -> None:
    assert run.directory is not None
    folder = run.directory.path
    recorded = json.loads((folder / "run.json").read_text())
    assert recorded["settings"]["link"] == "interaction"
    assert recorded["by_folds"] is True
    assert set(run.progress.link_scores) == {"interaction", "neural"}
    assert Discovery.load(folder).progress.link_scores == run.progress.link_scores
    steps = 0

    def stop(*_: object) -> None:
        nonlocal steps
        steps += 1
        if steps == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        discover(items(1.0), cycles=2, out=tmp_path / "stopped", on_step=stop)
    resumed = resume(tmp_path / "stopped", items(1.0))
    assert resumed.features.equals(run.features)
    assert (tmp_path / "stopped" / "state.zip").exists() == (folder / "state.zip").exists()


def test_effects_that_add_up_stay_linear() -> None:
    plain = discover(items(0.0), cycles=1)
    assert plain.progress.link == "linear"
    assert set(plain.progress.link_scores) == {"interaction", "neural"}
    assert "none more" in words_of(plain.progress.link, plain.progress.link_scores)


def test_who_chooses_a_link_has_it() -> None:
    chosen = discover(items(1.0), cycles=1, link="linear")
    assert chosen.progress.link == ""
    assert words_of(chosen.progress.link, chosen.progress.link_scores) == ""


@pytest.mark.parametrize(
    ("settings", "likelihood", "is_open"),
    [
        ({}, "gaussian", True),
        ({}, "student_t", True),
        ({}, "poisson", False),
        ({}, "bernoulli", False),
        ({"inference": "svi"}, "gaussian", False),
        ({"shortcuts": False}, "gaussian", False),
        ({"direction": True}, "gaussian", False),
        ({"link": "linear"}, "gaussian", False),
        (PAPER, "gaussian", False),
    ],
)
def test_where_it_is_open(settings: dict[str, Any], likelihood: str, is_open: bool) -> None:
    assert may_choose_link(DiscoverSettings(**settings), likelihood) is is_open
