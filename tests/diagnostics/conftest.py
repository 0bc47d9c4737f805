from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

from genz_ppl.data import Items
from genz_ppl.discovery.discover import Discovery, discover
from genz_ppl.discovery.pairs.cooccur import cooccur
from genz_ppl.discovery.pairs.result import CoOccurrenceRun
from genz_ppl.inference import FitResult, fit
from genz_ppl.inference.posterior import FittedItems, PosteriorDraws, posterior_draws
from genz_ppl.types import Contrast, Item, Pairs


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Problems this small run several times faster on one thread, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@dataclass(frozen=True)
class World:
    """A fitted simulation: 150 items, 3 features, 1 covariate, 1 target; every tenth answer to the first feature wrong."""

    truth: NDArray[np.float64]
    result: FitResult
    fitted: FittedItems
    draws: PosteriorDraws


@pytest.fixture(scope="session")
def world() -> World:
    random = np.random.default_rng(0)
    # As the model has it: the answers are given, and the truth is the other one for every tenth.
    answers = (random.random((150, 3)) < 0.4).astype(float)
    truth = answers.copy()
    wrong = random.random(150) < 0.1
    truth[wrong, 0] = 1 - truth[wrong, 0]
    answers[3, 1] = np.nan
    covariates = random.normal(size=(150, 1))
    targets = truth @ np.array([3.0, -2.0, 1.0]) + covariates[:, 0] + 0.4 * random.normal(size=150)
    targets[5] = np.nan
    result = fit(answers, targets, covariates)
    ids = [f"item {row}" for row in range(150)]
    texts = ["größer als zehn", "colour is red", "colour is red"]
    fitted = result.fitted(answers, targets, covariates, ids, texts, ["price"])
    return World(truth, result, fitted, posterior_draws(fitted, n=100))


#: What an item, a question or a column may be called by someone who means harm, or by chance.
HOSTILE = (
    '</script><script>document.documentElement.dataset.hacked="1"</script>',
    '<img src=x onerror="document.documentElement.dataset.hacked=1">',
    "<!-- <b>bold</b> {{ 7 * 7 }} & \" ' \\ ${7*7}",
    "שלום עולם \u202e evil \u2066",
    "👩‍🚀 $x^2$ 🏠 " + "very long " * 2000,
    "tab\tnull\x00bell\x07\x1b[31m",
)


class Asker:
    """A foundation model that knows wordings for some columns of fields: proposes them in turn, answers by the columns.

    wordings: text -> column. wrong: share of answers turned round. interrupt: answers after which Ctrl-C comes.
    """

    def __init__(self, wordings: dict[str, str], wrong: float = 0.0, interrupt: int | None = None) -> None:
        self.wordings, self.wrong, self.interrupt, self.asked = wordings, wrong, interrupt, 0

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        self.asked += len(features)
        if self.interrupt is not None and self.asked > self.interrupt:
            raise KeyboardInterrupt
        columns = [[float(str(item.fields[self.wordings[text]] or 0)) for text in features] for item in items]
        answers = np.array(columns).reshape(len(items), len(features))
        turned = np.array([[hash_of(item.id, text) < self.wrong for text in features] for item in items]).reshape(answers.shape)
        return np.where(turned, 1 - answers, answers)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        return [text for text in self.wordings if text not in contrast.existing][:n]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        return list(self.wordings)[:n]


def hash_of(*parts: str) -> float:
    """A number from 0 to 1 that depends on the parts alone."""
    return zlib.crc32("|".join(parts).encode(errors="surrogatepass")) / 2**32


def targets_of(kind: str, location: NDArray[np.float64], random: np.random.Generator) -> dict[str, Any]:
    """Target columns for a kind of likelihood around a location, (T,)."""
    noise = 0.3 * random.normal(size=len(location))
    if kind in ("poisson", "negative_binomial"):
        return {"y": random.poisson(np.exp(0.5 * location + 0.5))}
    if kind == "bernoulli":
        return {"y": np.where(random.random(len(location)) < 1 / (1 + np.exp(-2 * location)), "yes", "no")}
    if kind == "categorical":
        return {"y": np.digitize(location + noise, [-0.5, 1.5]).astype(str)}
    if kind == "many":
        return {f"y{d}": location * (d - 1) + noise * d + 0.1 * random.normal(size=len(location)) for d in range(4)}
    return {"y": location + noise}


@pytest.fixture(scope="session")
def explained() -> Callable[..., tuple[Discovery, Items]]:
    """Makes a run on 80 items with three yes/no fields: (kind of target, model or None for Asker, settings)."""

    def make(kind: str = "gaussian", model: Any = None, hostile: bool = False, gaps: bool = False, **settings: Any) -> Any:
        random = np.random.default_rng(1)
        table = pd.DataFrame({f"c{k}": random.integers(0, 2, 80) for k in range(3)})
        location = 2.0 * table["c0"] - 1.5 * table["c1"] + 0.7 * table["c2"]
        table["weight"] = random.normal(size=80)
        targets = targets_of(kind, location.to_numpy(dtype=float), random)
        names = {name: f"{name} {HOSTILE[1]}" if hostile else name for name in targets}
        for name, values in targets.items():
            table[names[name]] = values
        if gaps:
            table.loc[[3, 7, 70], list(names.values())] = np.nan
        table["key"] = [f"k{row} {HOSTILE[row % 6] if hostile else ''}" for row in range(80)]
        table["note"] = [HOSTILE[row % 6] if hostile else f"item number {row}" for row in range(80)]
        likelihood = {"many": "isotropic"}.get(kind, kind)
        items = Items.from_frame(
            table,
            id="key",
            target=list(names.values()),
            covariates="weight",
            text=["c0", "c1", "c2", "note"],
            classes=likelihood in ("bernoulli", "categorical"),
            name=f"toy {HOSTILE[0]}" if hostile else "toy.csv",
        )
        wordings = {f"is it c{k}?{' ' + HOSTILE[k] if hostile else ''}": f"c{k}" for k in range(3)}
        options = {"cycles": 1, "add": 3, "cut": 1, "likelihood": likelihood, "algorithm": "basic", **settings}
        return discover(items, model or Asker(wordings, wrong=0.05), **options), items

    return make


@pytest.fixture(scope="session")
def crossed() -> Callable[..., tuple[CoOccurrenceRun, tuple[Items | tuple[str, ...], ...], Pairs]]:
    """Makes a run on 50 rows and 40 columns with three yes/no fields each: (likelihood, described sides, model or None, ...)."""

    def make(
        likelihood: str = "gaussian",
        described: tuple[bool, bool] = (True, True),
        model: Any = None,
        hostile: bool = False,
        **settings: Any,
    ) -> Any:
        random = np.random.default_rng(3)
        fields = [random.integers(0, 2, (n, 3)) for n in (50, 40)]
        signs = [2.0 * one - 1 for one in fields]
        location = 1.5 * signs[0][:, :1] * signs[1][:, 0] + signs[0][:, 1:2] * signs[1][:, 1] + 0.5 * signs[0][:, 2:]
        values = {
            "gaussian": location + 0.3 * random.normal(size=location.shape),
            "bernoulli": (random.random(location.shape) < 1 / (1 + np.exp(-location))).astype(float),
            "poisson": random.poisson(np.exp(0.5 * location)).astype(float),
        }[likelihood]
        sides: list[Items | tuple[str, ...]] = []
        for name, one, known in zip(("row", "column"), fields, described, strict=True):
            table = pd.DataFrame({f"c{k}": one[:, k] for k in range(3)})
            table["key"] = [f"{name} {i} {HOSTILE[i % 6] if hostile else ''}".strip() for i in range(len(one))]
            table["note"] = [HOSTILE[i % 6] if hostile else f"{name} number {i}" for i in range(len(one))]
            label = f"{name}s {HOSTILE[0]}" if hostile else f"{name}s.csv"
            items = Items.from_frame(table, id="key", text=["c0", "c1", "c2", "note"], require_target=False, name=label)
            sides.append(items if known else items.ids)
        seen = np.nonzero(random.random(values.shape) < 0.4)
        pairs = Pairs(seen[0], seen[1], values[seen], len(values), values.shape[1])
        wordings = {f"is it c{k}?{' ' + HOSTILE[k] if hostile else ''}": f"c{k}" for k in range(3)}
        options: dict[str, Any] = {
            "dimensions": 3,
            "rounds": 1,
            "epochs": 6,
            "cycles": 1,
            "add": 2,
            "cut": 0,
            "refit_steps": 3,
            "final_steps": 3,
        }
        options |= {"likelihood": likelihood, "algorithm": "basic", **settings}
        return cooccur(sides[0], sides[1], pairs, model or Asker(wordings, wrong=0.03), **options), tuple(sides), pairs

    return make


@pytest.fixture(scope="session")
def asker() -> type[Asker]:
    return Asker
