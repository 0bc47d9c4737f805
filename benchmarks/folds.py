"""Would folds over the answers that a run has do, in place of items held back? Questions without any effect, called at 5 %.

    python benchmarks/folds.py --seeds 200

600 items, 2 000 possible questions true of 40 %, a target that has nothing to do with any. The questions that go with it most on
all items are those that a run has answers to, as if it had mined them there. Folds: in each the three best of these are chosen
without a fifth of the items and estimated on that fifth; a question's estimates are put together. Fresh: the three best of all,
on 120 new items.
"""

from __future__ import annotations

import argparse

import numpy as np
from scipy import stats

from genz_ppl.types import FloatArray, IntArray

N_ITEMS, N_QUESTIONS, SHARE, KEPT, FOLDS, LEVEL = 600, 2000, 0.4, 3, 5, 0.05


def world(n_items: int, random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Answers, (T, N), and a target, (T,), that knows nothing of them."""
    return (random.random((n_items, N_QUESTIONS)) < SHARE).astype(np.float64), random.normal(size=n_items)


def best(answers: FloatArray, target: FloatArray, n: int) -> IntArray:
    """The n columns that go with the target most."""
    score = np.abs((answers - answers.mean(axis=0)).T @ (target - target.mean())) / answers.std(axis=0)
    order: IntArray = np.argsort(-score)[:n]
    return order


def difference(answers: FloatArray, target: FloatArray) -> tuple[float, float]:
    """Of the means of yes and no, and its variance."""
    yes, no = target[answers == 1], target[answers == 0]
    return float(yes.mean() - no.mean()), float(yes.var(ddof=1) / len(yes) + no.var(ddof=1) / len(no))


def called(seed: int, n_mined: int) -> tuple[float, float]:
    """The share of the kept questions with a p-value below 5 %: by folds, and on fresh items."""
    random = np.random.default_rng(seed)
    answers, target = world(N_ITEMS, random)
    mined = best(answers, target, n_mined)
    folds = random.permutation(N_ITEMS) % FOLDS
    found: dict[int, list[tuple[float, float]]] = {}
    for fold in range(FOLDS):
        rest, left = folds != fold, folds == fold
        for column in mined[best(answers[rest][:, mined], target[rest], KEPT)].tolist():
            found.setdefault(column, []).append(difference(answers[left, column], target[left]))
    weights = [np.array([1 / variance for _, variance in each]) for each in found.values()]
    scores = [
        float(weight @ [mean for mean, _ in each] / weight.sum() ** 0.5)
        for weight, each in zip(weights, found.values(), strict=True)
    ]
    by_folds = np.mean(2 * stats.norm.sf(np.abs(scores)) < LEVEL)
    fresh, new = world(N_ITEMS // FOLDS, random)
    groups = [(new[fresh[:, column] == 1], new[fresh[:, column] == 0]) for column in mined[:KEPT]]
    return float(by_folds), float(np.mean([stats.ttest_ind(*pair).pvalue < LEVEL for pair in groups]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=200)
    seeds = parser.parse_args().seeds
    print("| questions with answers | folds over them | fresh items |\n|---|---|---|")
    for n_mined in (16, 6, 3):
        shares = np.array([called(seed, n_mined) for seed in range(seeds)])
        error = shares.std(axis=0) / seeds**0.5
        cells = [f"{mean:.3f} ± {one:.3f}" for mean, one in zip(shares.mean(axis=0), error, strict=True)]
        print(f"| {n_mined} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
