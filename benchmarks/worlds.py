"""Discovery where the truth is known: how much of what the true features explain is found, and for how many answers?

    python benchmarks/worlds.py                              # libraries of 40 and 240 features, 1 and 8 targets, five seeds
    python benchmarks/worlds.py --worlds large none --seeds 5
    python benchmarks/worlds.py --weak --noisy 0.1           # a miner who guesses, an annotator who errs more

Items list phrases; a library of possible features asks for one phrase each, and a few of them move the targets. Answers are wrong
for 5 % of item-feature pairs, fixed by a hash. The proposer sees the shown exemplars only and names the features that differ most
between their two groups. R2 is that of least squares on the answers to the features found, on test items, except with
--predictions: that of the model's own predictions; beside it that of the true features (and the product of two, where they
interact), from equally noisy answers. --weak: the proposer draws from the better half of what it could name. --noisy: so many
answers are wrong, of a true yes three times as many as of a true no, of hard items more than of easy ones.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import numpy as np
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from imperfect import Noise, better_half
from setting_values import setting_value
from world_targets import KINDS, drawn_targets, drawn_values, share_explained, share_of_true

from genz_ppl import Items, discover
from genz_ppl.llm.combined import answers_by_parts, parts_of
from genz_ppl.types import Contrast, FloatArray, Item


@dataclass(frozen=True)
class World:
    """n_items, of which a fifth test; a library of features, some true; targets; share of the variance they explain.

    form: how the true features make y: "sum" of their effects; "interaction", where two of them count only together; "xor" of
    two; "or of ands", of three pairs. even: every feature is true of half of the items, so that neither part of an xor tells
    anything alone. kind: "gaussian", or the likelihood of `world_targets`. noise: share of wrong answers.
    """

    n_items: int = 600
    library: int = 40
    true: int = 8
    targets: int = 1
    share: float = 0.76
    form: str = "sum"
    even: bool = False
    kind: str = "gaussian"
    noise: float = 0.05


WORLDS = {
    "40": World(),
    "40x8": World(targets=8),
    "240": World(library=240, share=0.62),
    "240x8": World(library=240, share=0.62, targets=8),
    "interaction": World(form="interaction"),
    "xor": World(form="xor", true=2),
    "xor even": World(form="xor", true=2, even=True),
    "or of ands": World(form="or of ands", true=6),
    **{kind: World(kind=kind) for kind in KINDS},
    "large": World(n_items=5000, library=1000, true=30, targets=8),
    "none": World(share=0.0),
}


@dataclass
class Oracle:
    """Answers and proposes for one world. present: (T, L), what each item has. erring: instead of `noise`; weak: see --weak."""

    present: FloatArray
    noise: float
    seed: int
    erring: Noise | None = None
    weak: bool = False
    asked: set[str] = field(default_factory=set)

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """What is there, wrong for some pairs: always the same ones."""
        if self.erring is not None:
            columns = self.present[:, [number_of(feature) for feature in features]]
            ids = [item.id for item in items]
            return self.erring.applied(ids, features, columns[[int(name) for name in ids]], columns.mean(0))
        return np.array([[self.one(int(item.id), feature) for feature in features] for item in items]).reshape(
            len(items), len(features)
        )

    def one(self, item: int, feature: str) -> float:
        """One answer."""
        value = float(self.present[item, number_of(feature)])
        digest = hashlib.blake2b(f"{self.seed}/{item}/{feature}".encode(), digest_size=8).digest()
        return 1 - value if int.from_bytes(digest, "big") < self.noise * 2**64 else value

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """The features whose presence is correlated most with being shown as positive."""
        shown = [*contrast.positive, *contrast.negative]
        side = np.array([1.0] * len(contrast.positive) + [0.0] * len(contrast.negative))
        columns = self.present[[int(item.id) for item in shown]]
        spread = columns.std(0) * side.std()
        covariance = ((columns - columns.mean(0)) * (side - side.mean())[:, None]).mean(0)
        correlation = np.divide(covariance, spread, out=np.full(len(covariance), -2.0), where=spread > 0)
        known = {number_of(text) for text in contrast.existing}
        order = [j for j in np.argsort(-correlation, kind="stable").tolist() if j not in known and correlation[j] > 0]
        ranked = [text_of(j) for j in order]
        return better_half(ranked, n, self.seed, *(item.id for item in shown), *contrast.existing) if self.weak else ranked[:n]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """The first of the library."""
        return [text_of(j) for j in range(n)]


def text_of(number: int) -> str:
    """The wording of a feature."""
    return f"mentions phrase {number}"


def number_of(text: str) -> int:
    """The feature of a wording."""
    return int(text.rsplit(" ", 1)[1])


def drawn_features(world: World, seed: int) -> tuple[FloatArray, list[int], FloatArray, np.random.Generator]:
    """What each item has, (T, L), the F true features, their weights, (F, D), and the generator that goes on to the targets."""
    random = np.random.default_rng([seed, world.library, world.targets])
    drawn, often = random.random((world.n_items, world.library)), random.uniform(0.15, 0.5, world.library)
    present = (drawn < (0.5 if world.even else often)).astype(np.float64)
    true = sorted(random.choice(world.library, world.true, replace=False).tolist())
    weights = random.choice([-1.0, 1.0], (world.true, world.targets)) * random.uniform(0.5, 1.5, (world.true, world.targets))
    return present, true, weights, random


def make(world: World, seed: int) -> tuple[Items, Oracle, list[int]]:
    """Items with targets, the oracle, and the numbers of the true features."""
    present, true, weights, random = drawn_features(world, seed)
    signal = present[:, true].copy()
    if world.kind != "gaussian":
        targets = drawn_targets(world.kind, drawn_values(world.kind, signal, random), random)
        return _items(present, targets), Oracle(present, world.noise, seed), true
    clean = _clean(world.form, signal, weights)
    spread = clean.std(0) * np.sqrt((1 - world.share) / world.share) if world.share > 0 else np.ones(world.targets)
    targets = (clean if world.share > 0 else 0.0 * clean) + spread * random.normal(size=clean.shape)
    return _items(present, targets), Oracle(present, world.noise, seed), true


def _items(present: FloatArray, targets: Any) -> Items:
    texts = [", ".join(f"phrase {j}" for j in np.flatnonzero(row)) or "nothing" for row in present]
    names = [f"y{d}" for d in range(targets.shape[1])]
    frame = pd.DataFrame({"id": [str(t) for t in range(len(present))], "text": texts, **dict(zip(names, targets.T, strict=True))})
    return Items.from_frame(frame, id="id", target=names, classes="auto")


def _clean(form: str, signal: FloatArray, weights: FloatArray) -> FloatArray:
    """What y is without noise, (T, D). signal: (T, F), the true features; weights: (F, D)."""
    clean: FloatArray
    if form == "interaction":
        both = 2.0 * signal[:, 0] * signal[:, 1]
        signal[:, :2] = 0.0
        clean = signal @ weights + both[:, None] * weights[0]
    elif form == "xor":
        clean = np.abs(signal[:, :1] - signal[:, 1:2])
    elif form == "or of ands":
        clean = signal.reshape(len(signal), -1, 2).prod(2).max(1, keepdims=True)
    else:
        clean = signal @ weights
    return clean


def least_squares(items: Items, oracle: Oracle, features: Sequence[str], seed: int, form: str = "sum") -> float:
    """Test R2 of least squares on the answers to these features, put together as the form says."""
    assert items.targets is not None
    split = items.split_indices(seed, 0.2)
    answers = answers_by_parts(features, lambda texts: oracle.answer(items.items, texts))
    if form == "interaction":
        answers = np.column_stack([answers, answers[:, 0] * answers[:, 1]])
    elif form != "sum":
        answers = _clean(form, answers, answers[:0].T)
    columns = np.column_stack([np.ones(len(items)), answers])
    weights = np.linalg.lstsq(columns[split.train], items.targets[split.train], rcond=None)[0]
    return r2(items, columns[split.test] @ weights, seed)


def r2(items: Items, predicted: FloatArray, seed: int) -> float:
    """Test R2 of predictions for the test items, the mean over targets."""
    assert items.targets is not None
    split = items.split_indices(seed, 0.2)
    test = items.targets[split.test]
    errors = ((predicted - test) ** 2).sum(0) / ((test - items.targets[split.train].mean(0)) ** 2).sum(0)
    return float(1 - errors.mean())


@dataclass(frozen=True)
class Score:
    """Of one run. found, ceiling: R2, of counts and classes the share of the deviance, of the found and of the true features.

    answers: asked for training items; right: how many of the true features are among the features or their parts; rates: mean
    distance of their error rates from the true one.
    """

    found: float
    ceiling: float
    answers: int
    features: int
    right: int
    rates: float
    seconds: float
    likelihood: str


@dataclass(frozen=True)
class Case:
    """One run. noisy: share of wrong answers in place of the world's; predictions, weak: as the options say."""

    world: World
    seed: int
    settings: dict[str, Any]
    predictions: bool = False
    weak: bool = False
    noisy: float | None = None


def run(case: Case) -> Score:
    """One run."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    world, seed = case.world, case.seed
    items, oracle, true = make(world, seed)
    oracle.weak, oracle.erring = case.weak, None if case.noisy is None else Noise(case.noisy, seed)
    started = time.monotonic()
    found = discover(items, oracle, seed=seed, **case.settings)
    seconds = time.monotonic() - started
    features = found.features.loc[found.features["active"], "text"].tolist()
    kept = len({part for text in found.features["text"] for part in parts_of(text)})
    test = items.take(items.split_indices(seed, 0.2).test)
    answers = int(found.curve["answers_asked"].iloc[-1]) - kept * len(test)
    right = len({number_of(part) for text in features for part in parts_of(text)} & set(true))
    numbers = [number_of(text) if len(parts_of(text)) == 1 else -1 for text in features]
    rates = found.features.loc[found.features["active"], "p_e"].to_numpy()
    off = [abs(rate - world.noise) for rate, number in zip(rates, numbers, strict=True) if number in true]
    asked = [text_of(j) for j in true]
    if world.kind != "gaussian":
        reached = share_explained(found, items)
        ceiling = share_of_true(found, items, oracle.answer(items.items, asked), world.kind)
    elif case.predictions:
        predicted = found.predict(test)
        reached = r2(items, predicted[[name for name in predicted if str(name).endswith("mean")]].to_numpy(), seed)
    else:
        reached = least_squares(items, oracle, features, seed)
    if world.kind == "gaussian":
        ceiling = least_squares(items, oracle, asked, seed, world.form)
    likelihood = str(found.settings["likelihood"])
    return Score(reached, ceiling, answers, len(features), right, mean(off) if off else math.nan, seconds, likelihood)


def main() -> None:
    """Run the worlds and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=list(WORLDS), default=["40", "40x8", "240", "240x8", "interaction"])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="settings of the runs")
    parser.add_argument("--predictions", action="store_true", help="R2 of the model's predictions, not of least squares")
    parser.add_argument("--weak", action="store_true", help="a proposer that draws from the better half of what it could name")
    parser.add_argument(
        "--noisy", type=float, metavar="SHARE", help="wrong answers, in place of 5 %%, more of yes, of hard items"
    )
    arguments = parser.parse_args()
    more = (arguments.predictions, arguments.weak, arguments.noisy)
    settings = {name: setting_value(value) for name, _, value in (part.partition("=") for part in arguments.set)}
    columns = ["world", "R2 of the true", "R2 found", "share", "sd", "training answers", "features", "true ones among them"]
    columns += ["all of them in", "off the error rate", "seconds", "likelihoods"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
    with ProcessPoolExecutor(arguments.workers) as pool:
        for name in arguments.worlds:
            scores = list(pool.map(run, [Case(WORLDS[name], seed, settings, *more) for seed in seeds]))
            shares = [score.found / score.ceiling for score in scores]
            averages = [mean(getattr(score, part) for score in scores) for part in ("answers", "features", "right", "seconds")]
            whole = sum(score.right == WORLDS[name].true for score in scores)
            rates = [score.rates for score in scores if not math.isnan(score.rates)]
            kinds = ", ".join(f"{count} {kind}" for kind, count in Counter(score.likelihood for score in scores).items())
            print(
                f"| {name} | {mean(s.ceiling for s in scores):.3f} | {mean(s.found for s in scores):.3f} | {mean(shares):.3f} "
                f"| {stdev(shares) if len(shares) > 1 else 0:.3f} | {averages[0]:.0f} | {averages[1]:.1f} "
                f"| {averages[2]:.1f} of {WORLDS[name].true} | {whole} of {len(scores)} "
                f"| {mean(rates) if rates else math.nan:.3f} | {averages[3]:.1f} | {kinds} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
