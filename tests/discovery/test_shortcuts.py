"""The steps derived by hand are shortcuts only: without them a run finds the same, through the Pyro program alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from genz_ppl import Discovery, Items, discover
from genz_ppl.inference.engines import closed_form, exact, sums
from genz_ppl.types import Contrast, Item

NAMES = ("red", "large", "old", "loud")


class Namer:
    """Answers from the yes/no columns, and proposes their names."""

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        return np.array([[float(str(item.fields[text])) for text in features] for item in items]).reshape(len(items), -1)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        return [name for name in NAMES if name not in contrast.existing][:n]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return list(NAMES)[:n]


def items_of(likelihood: str) -> Items:
    random, n = np.random.default_rng(4), 150 if likelihood == "bernoulli" else 60
    table = pd.DataFrame({name: random.integers(0, 2, n) for name in NAMES})
    location = 3.0 * table["red"] - 2.0 * table["large"]
    noise = 0.3 * (random.standard_t(3, n) if likelihood == "student_t" else random.normal(size=n))
    chance = random.random(n) < 1 / (1 + np.exp(-2 * (location - 0.5)))
    table["y"] = chance.astype(float) if likelihood == "bernoulli" else location + noise
    return Items.from_frame(table, target="y")


@pytest.mark.slow  # the long way round
@pytest.mark.parametrize("likelihood", ["gaussian", "student_t", "bernoulli"])
def test_without_shortcuts_the_same_features_and_the_same_bound(likelihood: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def found(shortcuts: bool) -> Discovery:
        settings: dict[str, Any] = {"cycles": 1, "add": 2, "cut": 1, "inner_steps": 3, "refit_steps": 5, "final_steps": 60}
        if likelihood != "gaussian":  # by hand eq. 11 is a lower bound or at the mode there: the same where answers are facts
            settings["error_rate_prior"] = (1.0, 1e6)
        if likelihood == "bernoulli":  # EM by mode has M-steps of Adam that do not end; these end
            settings |= {"inference": "enumeration", "max_features": 3}
        return discover(items_of(likelihood), Namer(), likelihood=likelihood, shortcuts=shortcuts, **settings)

    def forbidden(*_: Any) -> None:
        raise AssertionError("a step derived by hand")

    quick = found(True)
    for owner, name in ((closed_form.ClosedForm, "__init__"), (sums.LinearGaussian, "__init__"), (exact, "_quadratic")):
        monkeypatch.setattr(owner, name, forbidden)
    through = found(False)
    assert through.features["text"].tolist() == quick.features["text"].tolist()
    assert through.features["active"].tolist() == quick.features["active"].tolist()
    assert {"red", "large"} == set(quick.features.loc[quick.features["active"], "text"])
    bounds = [run.curve["bound"].iloc[-1] for run in (quick, through)]
    assert bounds[1] == pytest.approx(bounds[0], rel=1e-5)
