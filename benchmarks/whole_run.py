"""A whole discovery run whose foundation model costs nothing: what do the statistics and the bookkeeping take?

    python benchmarks/whole_run.py                # 17 770 items, 32 targets, five cycles of five additions and two cuts
    python benchmarks/whole_run.py --profile      # and the ten functions that take most of the time
    python benchmarks/whole_run.py --items 2000 --targets 4 --set screen=80

Items have attributes, some of which move the targets. The model answers from a table, wrong for 5 % of its entries, and names the
attributes that differ most between the two groups it is shown. The run is written to a temporary folder, as by default.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from genz_ppl import Discovery, Items, discover
from genz_ppl.types import Contrast, FloatArray, Item

WRONG = 0.05
PREVALENCE = (0.1, 0.5)
# Standard deviation of the noise of a target over that of its signal.
NOISE = 1.0


@dataclass(frozen=True)
class Table:
    """A foundation model that looks its answers up. answers: (T, A) of 1 and 0, items by attributes; item t has the id "t"."""

    answers: NDArray[np.int8]

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """The entries of the table."""
        rows, columns = [int(item.id) for item in items], [number_of(text) for text in features]
        return self.answers[np.ix_(rows, columns)].astype(np.float64)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """The attributes with the largest difference of shares between the positive and the negative items."""
        sides = [self.answers[[int(item.id) for item in side]] for side in (contrast.positive, contrast.negative)]
        difference = sides[0].mean(0) - sides[1].mean(0)
        known = {number_of(text) for text in contrast.existing}
        order = [k for k in np.argsort(-difference, kind="stable").tolist() if k not in known and difference[k] > 0]
        return [text_of(k) for k in order[:n]]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """The first attributes."""
        return [text_of(k) for k in range(min(n, self.answers.shape[1]))]


@dataclass(frozen=True)
class Outcome:
    """Of one run: wall seconds, the most MB the process has held, features, how many of them move the targets."""

    seconds: float
    memory: float
    features: int
    right: int
    found: Discovery


def text_of(number: int) -> str:
    """The wording of an attribute."""
    return f"has attribute {number}"


def number_of(text: str) -> int:
    """The attribute of a wording."""
    return int(text.rsplit(" ", 1)[1])


def make(n_items: int, n_attributes: int, n_true: int, n_targets: int, seed: int) -> tuple[Items, Table, list[int]]:
    """Items with their targets, the model that answers, and the attributes that move the targets."""
    random = np.random.default_rng(seed)
    present = random.random((n_items, n_attributes)) < random.uniform(*PREVALENCE, n_attributes)
    true = sorted(random.choice(n_attributes, n_true, replace=False).tolist())
    signal = present[:, true] @ random.normal(size=(n_true, n_targets))
    targets = signal + NOISE * signal.std(0) * random.normal(size=signal.shape)
    answers = present ^ (random.random(present.shape) < WRONG)
    names = [f"y{d}" for d in range(n_targets)]
    columns = {"id": [str(t) for t in range(n_items)], "text": [f"item {t}" for t in range(n_items)]}
    frame = pd.DataFrame({**columns, **dict(zip(names, targets.T, strict=True))})
    return Items.from_frame(frame, id="id", target=names), Table(answers.astype(np.int8)), true


def run(items: Items, model: Table, true: Sequence[int], settings: dict[str, Any]) -> Outcome:
    """One run, written to a folder that is thrown away."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        found = discover(items, model, out=Path(folder) / "run", **settings)
        seconds = time.perf_counter() - begun
    texts = found.features.loc[found.features["active"], "text"].tolist()
    return Outcome(seconds, peak_memory(), len(texts), len({number_of(text) for text in texts} & set(true)), found)


def peak_memory() -> float:
    """The most MB this process has held so far."""
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 1e6 if sys.platform == "darwin" else size / 1e3


def print_profile(profile: cProfile.Profile, most: int = 10) -> None:
    """The functions with most time of their own, as a markdown table."""
    print("\n| function | calls | seconds of its own |\n|---|---|---|")
    entries = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    for (file, line, name), (_, calls, own, _, _) in sorted(entries.items(), key=lambda entry: -entry[1][2])[:most]:
        place = name if file in ("~", "") else f"{Path(file).name}:{line} {name}"
        print(f"| {place} | {calls} | {own:.2f} |")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = (
        ("items", 17770),
        ("attributes", 50),
        ("true", 25),
        ("targets", 32),
        ("cycles", 5),
        ("add", 5),
        ("cut", 2),
        ("seed", 0),
    )
    for option, default in sizes:
        parser.add_argument(f"--{option}", type=int, default=default, help=f"default {default}")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE", help="other settings of the run, whole numbers")
    parser.add_argument("--profile", action="store_true", help="also print the functions that take most of the time")
    options = parser.parse_args()
    items, model, true = make(options.items, options.attributes, options.true, options.targets, options.seed)
    before = peak_memory()
    settings: dict[str, Any] = {name: getattr(options, name) for name in ("cycles", "add", "cut", "seed")}
    settings.update({name: int(value) for name, _, value in (part.partition("=") for part in options.set)})
    profile = cProfile.Profile()
    if options.profile:
        profile.enable()
    outcome = run(items, model, true, settings)
    profile.disable()
    print(f"{options.items} items, {options.targets} targets, {torch.get_num_threads()} threads, {settings}\n")
    print("| seconds | most memory held, MB | of it before the run, MB | additions and cuts | features | right ones |")
    print("|---|---|---|---|---|---|")
    changes = int(outcome.found.curve["event"].isin(["add", "prune"]).sum())
    right = f"{outcome.right} of {len(true)}"
    print(f"| {outcome.seconds:.1f} | {outcome.memory:.0f} | {before:.0f} | {changes} | {outcome.features} | {right} |")
    if options.profile:
        print_profile(profile)


if __name__ == "__main__":
    main()
