"""What each question adds to a prediction: exact where effects add up, said where they do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from genz_ppl import Discovery, discover

QUICK: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 0, "text": ["colour", "size"], "covariates": ["area"]}


def homes(rows: int = 80) -> pd.DataFrame:
    random = np.random.default_rng(1)
    colour, size = random.choice(["red", "green", "blue"], rows), random.choice(["small", "large"], rows)
    table = pd.DataFrame({"colour": colour, "size": size, "area": random.normal(size=rows)})
    red, large = colour == "red", size == "large"
    table["price"] = 3.0 * red + 2.0 * large + table["area"] + 0.1 * random.normal(size=rows)
    table["visits"] = random.poisson(np.exp(0.5 + 1.0 * red + 0.8 * large))
    table["kind"] = np.where(red, "house", np.where(large, "hut", "tent"))
    table["other"] = -table["price"] + 0.1 * random.normal(size=rows)
    return table


def explained(target: Any, **settings: Any) -> tuple[Discovery, pd.DataFrame]:
    run = discover(homes(), target=target, **{**QUICK, **settings})
    assert run.progress.active
    return run, run.predict(homes(), explain=True)


def texts(run: Discovery) -> list[str]:
    return [record.text for record in run.progress.active]


@pytest.mark.parametrize("link", ["linear", "interaction"])
def test_contributions_add_up_to_the_prediction(link: str) -> None:
    run, table = explained("price", link=link)
    np.testing.assert_allclose(table[["base", *texts(run)]].sum(axis=1), table["mean"], rtol=1e-9)
    assert table.attrs["explained"] == "contributions are in the target's unit, and add up with base to the prediction there"
    if link == "linear":  # a question's effect is the step between an item that says yes and one that says no
        effect = run.features.set_index("text")["effect"]
        for text in texts(run):
            assert np.ptp(table[text]) == pytest.approx(abs(effect[text]), rel=0.05)


def test_several_targets_have_a_column_each() -> None:
    run, table = explained(["price", "other"])
    for name in ("price", "other"):
        parts = table[[f"{name}: base", *(f"{name}: {text}" for text in texts(run))]]
        np.testing.assert_allclose(parts.sum(axis=1), table[f"{name}_mean"], rtol=1e-9)
    assert "the targets' units" in table.attrs["explained"]


def test_counts_and_classes_add_up_in_logarithms() -> None:
    run, table = explained("visits", likelihood="poisson", covariates=())
    np.testing.assert_allclose(np.exp(table[["base", *texts(run)]].sum(axis=1)), table["mean"], rtol=0.05)
    assert "log rate" in table.attrs["explained"]
    run, table = explained("kind", likelihood="categorical", covariates=())
    names = ["house", "hut", "tent"]
    columns = [[f"kind is {name}: base", *(f"kind is {name}: {text}" for text in texts(run))] for name in names]
    odds = np.stack([table[of].sum(axis=1) for of in columns])
    np.testing.assert_allclose(odds.sum(axis=0), 0.0, atol=1e-9)
    chances = np.exp(odds) / np.exp(odds).sum(axis=0)
    np.testing.assert_allclose(chances.T, table[[f"probability_{name}" for name in names]], atol=0.05)
    assert "log-odds" in table.attrs["explained"]


@pytest.mark.slow
def test_a_network_says_what_its_contributions_are(tmp_path: Path) -> None:
    run, table = explained("price", link="neural", out=tmp_path / "run")
    assert "taken away" in table.attrs["explained"]
    text = texts(run)[0]
    assert table.groupby(homes()["colour"] == "red")[text].mean().abs().max() > 0.3
    assert run.predict(homes()).equals(table[["mean", "sd", "lower", "upper"]])
