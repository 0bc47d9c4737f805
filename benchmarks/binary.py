"""The paper's binary numbers (its section 5.1) with answers that are sometimes wrong: are the nine bits still found?

    python benchmarks/binary.py                     # 20 seeds, 0 and 2 % wrong answers

The embedded rules propose and answer, nine additions as in the paper (Algorithm 1); a hash decides which answers are turned
round, always the same ones. A run counts as right if its features are the nine bits, each once, in any order and either way
round.
"""

from __future__ import annotations

import argparse
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import numpy as np

from genz_ppl import discover
from genz_ppl.data import open_source
from genz_ppl.llm.combined import answers_by_parts
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import FloatArray, Item

PAPER_RUN: dict[str, Any] = {"algorithm": "basic", "cycles": 1, "add": 9, "cut": 0}


class NoisyRules(RulesModel):
    """`rules` with a share of wrong answers."""

    def __init__(self, noise: float, seed: int) -> None:
        super().__init__()
        self.noise, self.seed = noise, seed

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """(len(items), len(features)) of 1., 0., NaN."""
        answers = super().answer(items, features)
        wrong = [[self.is_wrong(item.id, feature) for feature in features] for item in items]
        return np.where(np.array(wrong).reshape(answers.shape), 1 - answers, answers)

    def is_wrong(self, item: str, feature: str) -> bool:
        """Whether this answer is turned round."""
        digest = hashlib.blake2b(f"{self.seed}/{item}/{feature}".encode(), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self.noise * 2**64


def run(case: tuple[int, float]) -> tuple[bool, int, float]:
    """Whether the nine bits were found, the number of features, and the test R2."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    import torch

    torch.set_num_threads(1)
    seed, noise = case
    items = open_source("binary")
    found = discover(items, NoisyRules(noise, seed), seed=seed, **PAPER_RUN)
    texts = found.features.loc[found.features["active"], "text"].tolist()
    truth = answers_by_parts(texts, lambda parts: RulesModel().answer(items.items, parts))
    numbers = np.array([int(str(item.fields["n"])) for item in items])
    bits = [(numbers >> bit) % 2 for bit in range(9)]
    named = [
        bit
        for column in truth.T
        for bit, values in enumerate(bits)
        if np.array_equal(column, values) or np.array_equal(column, 1 - values)
    ]
    split = items.split_indices(seed, 0.2)
    assert items.targets is not None
    test = items.targets[split.test][:, 0]
    predicted = found.predict(items.take(split.test))["mean"].to_numpy()
    return (
        sorted(named) == list(range(9)) and len(texts) == 9,
        len(texts),
        float(1 - ((test - predicted) ** 2).mean() / test.var()),
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--noise", type=float, nargs="+", default=[0.0, 0.02], help="shares of wrong answers")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    print("| wrong answers | nine bits | features | test R2 |")
    print("|---|---|---|---|")
    with ProcessPoolExecutor(arguments.workers) as pool:
        for noise in arguments.noise:
            results = list(pool.map(run, [(seed, noise) for seed in range(arguments.seeds)]))
            right = sum(one[0] for one in results)
            averages = [float(np.mean([one[part] for one in results])) for part in (1, 2)]
            print(f"| {noise:g} | {right} of {len(results)} | {averages[0]:.1f} | {averages[1]:.4f} |", flush=True)


if __name__ == "__main__":
    main()
