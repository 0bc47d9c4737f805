"""What each ingredient of the search contributes: all of them, all but one, and the paper's algorithms.

    python benchmarks/ablation.py                                     # worlds with 40 and 240 possible features
    python benchmarks/ablation.py --houses ../shared/data/houses      # and the houses, linear link, Student-t noise

The worlds are those of `worlds.py` with 1 and 8 targets, five seeds each; share is R2 found over that of the true features. The
houses are five random splits; error is the median absolute error of log price on test items.
"""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean
from typing import Any
from unittest.mock import patch

import numpy as np
import worlds

from genz_ppl.discovery.mine import cycle
from genz_ppl.types import FloatArray, IntArray

FEW_ANSWERS = {"screen": 80, "proposals": 4, "patience": 2}
NAMES = ("40", "40x8", "240", "240x8")


@dataclass(frozen=True)
class Variant:
    """A search that lacks something. settings: on top of the full search's; random_exemplars: not from the ends of q."""

    name: str
    settings: dict[str, Any] = field(default_factory=dict)
    random_exemplars: bool = False


VARIANTS = [
    Variant("all of them"),
    Variant("one polarity", {"polarity": "positive"}),
    Variant("one wording a polarity", {"proposals": 1}),
    Variant("no screening", {"screen": 0}),
    Variant("any gain is accepted", {"smallest_gain": -1e9, "smallest_worth": 0.0}),
    Variant("no pool", {"reconsider": False}),
    Variant("random exemplars", random_exemplars=True),
    Variant("no cuts", {"cut": 0}),
    Variant("one start of a split", {"splits": 1}),
    Variant("the paper's", {"paper": True}),
]


def random_sides(posterior: FloatArray, items: IntArray, n: int, random: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Up to n items of either side of a split, however sure."""
    positive, negative = items[posterior[items] > 0.5], items[posterior[items] < 0.5]
    return random.permutation(positive)[:n], random.permutation(negative)[:n]


def exemplars_of(variant: Variant) -> AbstractContextManager[object]:
    """With the variant's way to choose what is shown."""
    return patch.object(cycle, "exemplars", random_sides) if variant.random_exemplars else nullcontext()


def in_world(case: tuple[Variant, str, int]) -> worlds.Score:
    """One run in a world."""
    variant, name, seed = case
    settings = variant.settings if variant.settings.get("paper") else FEW_ANSWERS | variant.settings
    with exemplars_of(variant):
        return worlds.run(worlds.Case(worlds.WORLDS[name], seed, settings))


def on_houses(case: tuple[Variant, str, int, int]) -> tuple[float, int, int]:
    """Test error, answers asked and features of one run with all wordings asked about on all items, or on so many first."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    from genz_ppl import discover
    from genz_ppl.data import open_source

    torch.set_num_threads(1)
    variant, folder, seed, screen = case
    settings = {"screen": screen, **variant.settings, "likelihood": "student_t", "seed": seed}
    with exemplars_of(variant):
        run = discover(open_source(f"houses:{folder}"), **settings)
    last = run.curve.iloc[-1]
    return float(last["test_error"]), int(last["answers_asked"]), int(run.features["active"].sum())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--houses", type=Path, default=None, help="the folder of the house data; without it worlds only")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    with ProcessPoolExecutor(arguments.workers) as pool:
        if arguments.houses is None:
            print("| search | " + " | ".join(f"share, {name} | answers" for name in NAMES) + " |")
            print("|---|" + "---|---|" * len(NAMES))
            for variant in VARIANTS:
                cells = []
                for name in NAMES:
                    scores = list(pool.map(in_world, [(variant, name, seed) for seed in range(arguments.seeds)]))
                    cells += [f"{mean(s.found / s.ceiling for s in scores):.3f}", f"{mean(s.answers for s in scores):.0f}"]
                print(f"| {variant.name} | {' | '.join(cells)} |", flush=True)
            return
        print("| search | test error | answers | features |")
        print("|---|---|---|---|")
        screened = [Variant("all, screened on 80"), *(v for v in VARIANTS if v.settings.get("screen") != 0)]
        for number, variant in enumerate(screened):
            cases = [(variant, str(arguments.houses), seed, 80 if number == 0 else 0) for seed in range(arguments.seeds)]
            errors, answers, features = zip(*pool.map(on_houses, cases), strict=True)
            print(f"| {variant.name} | {mean(errors):.4f} | {mean(answers):.0f} | {mean(features):.1f} |", flush=True)


if __name__ == "__main__":
    main()
