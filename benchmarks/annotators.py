"""Several annotators and gold labels: what a cascade costs and a label saves, and which annotator of the films matters.

    python benchmarks/annotators.py                          # made worlds
    python benchmarks/annotators.py ../shared/data/ml-1m     # with the films

Worlds: 600 training items, 1 000 test items, 8 features (35 % yes), 1 or 8 targets of which the features explain 76 %. A cheap
annotator errs in 20 % of its answers, a dear one in 5 %. R2 on test items that the dear one has answered, of fits to its answers
to all training items, and to all of the cheap one's beside some of the dear one's: drawn at random, or by `cascade`. Gold: one
annotator errs in 10 %; root mean squared error of the effects after so many labels (of 4 800), drawn at random or by
`most_telling`. Films: the 512 of `films.py`, 27 questions chosen on the training films by the recorded answers; two annotators
give these with 5 % and 20 % turned round, a third with 10 % and guesses at every fourth question; cosine similarity on test
films, split by the seed. Beside it `fit`, calibrated, on the answers that two of the three give.

    python benchmarks/annotators.py ../shared/data/ml-1m --mined 3

Runs of one round (12 additions) in which questions are mined among the recorded ones, worded by the recorded answers, while these
three answer, or one of them, or what most of them say: cosine similarity on test films, and how many questions.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any
from zlib import crc32

import films
import numpy as np
import torch

from genz_ppl import discover
from genz_ppl.data import open_source
from genz_ppl.diagnostics.measures import cosine
from genz_ppl.inference import fit
from genz_ppl.inference.annotators.fit import AnnotatedFit, fit_annotators
from genz_ppl.inference.annotators.telling import cascade, most_telling
from genz_ppl.llm.table import TableModel
from genz_ppl.settings import CALIBRATION
from genz_ppl.types import Contrast, FloatArray, Item

TRAIN, TEST, FEATURES, SHARE = 600, 1000, 8, 0.76
NAMES = ("5 % wrong", "20 % wrong", "some guessed")
# Of runs that mine: one round.
MINED: dict[str, Any] = {"cycles": 1, "add": 12, "cut": 0, "combine": 1}
SHARES, LABELS = (0.05, 0.1, 0.15), (100, 200, 400, 800)
Row = tuple[str, float]


def turned(values: FloatArray, share: float, random: np.random.Generator) -> FloatArray:
    """With this share of the answers wrong."""
    return np.where(random.random(values.shape) < share, 1 - values, values)


def world(seed: int, n_targets: int) -> tuple[FloatArray, FloatArray, FloatArray, np.random.Generator]:
    """Truth, targets and weights of training and test items."""
    random = np.random.default_rng(seed)
    weights = random.normal(size=(FEATURES, n_targets))
    weights = weights + 0.5 * np.sign(weights)
    truth = (random.random((TRAIN + TEST, FEATURES)) < 0.35).astype(float)
    location = truth @ weights
    noise = location.std(0) * np.sqrt((1 - SHARE) / SHARE)
    return truth, location + noise * random.normal(size=location.shape), weights, random


def explained(found: AnnotatedFit, answers: dict[str, FloatArray], targets: FloatArray) -> float:
    """R2 over all targets."""
    return float(1 - ((targets - found.predict(answers)) ** 2).sum() / ((targets - targets.mean(0)) ** 2).sum())


def cascade_rows(n_targets: int, seed: int) -> Iterator[Row]:
    """R2 on test items."""
    truth, targets, _, random = world(seed, n_targets)
    dear, cheap = turned(truth, 0.05, random), turned(truth, 0.2, random)
    train, test = slice(0, TRAIN), slice(TRAIN, None)
    asked = {"dear": dear[test]}
    yield "dear, all", explained(fit_annotators({"dear": dear[train]}, targets[train]), asked, targets[test])
    for share in SHARES:
        some = np.where(random.random(dear[train].shape) < share, dear[train], np.nan)
        both = fit_annotators({"cheap": cheap[train], "dear": some}, targets[train])
        yield f"cheap, and dear {share:.0%} at random", explained(both, asked, targets[test])
        found, _ = cascade(cheap[train], lambda at: dear[at[:, 0], at[:, 1]], targets[train], share, seed=seed)
        yield f"cheap, and dear {share:.0%} by cascade", explained(found, asked, targets[test])
        yield f"the same, test items by both, {share:.0%}", explained(found, {**asked, "cheap": cheap[test]}, targets[test])


def gold_rows(n_targets: int, seed: int) -> Iterator[Row]:
    """Error of the effects."""
    truth, targets, weights, random = world(seed, n_targets)
    truth, targets = truth[:TRAIN], targets[:TRAIN]
    answers = {"model": turned(truth, 0.1, random)}

    def off(gold: FloatArray | None) -> float:
        found = fit_annotators(answers, targets, gold=gold)
        return float(np.sqrt(((found.parameters["weights"] - weights) ** 2).mean()))

    yield "no label", off(None)
    first, order = fit_annotators(answers, targets), random.permutation(truth.size)
    for count in LABELS:
        for name, cells in (
            ("at random", np.stack(np.unravel_index(order[:count], truth.shape), axis=1)),
            ("most telling", most_telling(first, count)),
        ):
            gold = np.full(truth.shape, np.nan)
            gold[cells[:, 0], cells[:, 1]] = truth[cells[:, 0], cells[:, 1]]
            yield f"{count} labels {name}", off(gold)


def film_rows(folder: str, seed: int) -> Iterator[Row]:
    """Cosine similarity on test films, by who has answered."""
    items = open_source(f"movielens:{folder}")
    assert items.targets is not None
    split, columns = items.split_indices(seed, 0.2), films.known_columns(items, Path(folder), "movielens")
    shares = columns[split.train].mean(0)
    columns = columns[:, np.minimum(shares, 1 - shares) >= 1 / len(split.train)]
    targets = items.targets
    truth = columns[:, films.greedy(columns[split.train], targets[split.train], films.GREEDY)]
    random = np.random.default_rng(seed)
    third = turned(truth, 0.1, random)
    third[:, ::4] = (random.random(third[:, ::4].shape) < 0.5).astype(float)
    everyone = {"5 % wrong": turned(truth, 0.05, random), "20 % wrong": turned(truth, 0.2, random), "some guessed": third}
    votes = (np.sum(list(everyone.values()), axis=0) > 1).astype(float)
    voted = fit(votes[split.train], targets[split.train])
    yield "two of three, `fit`", cosine(targets[split.test], voted.predict(votes[split.test]))
    best = everyone["5 % wrong"]
    alone = fit(best[split.train], targets[split.train])
    yield "5 % wrong alone, `fit`", cosine(targets[split.test], alone.predict(best[split.test]))
    parties: dict[str, list[str]] = {"all three": list(everyone)}
    parties |= {f"without {name}": [other for other in everyone if other != name] for name in everyone}
    parties |= {f"{name} alone": [name] for name in everyone}
    for party, names in parties.items():
        train, test = ({name: everyone[name][side] for name in names} for side in (split.train, split.test))
        found = fit_annotators(train, targets[split.train], calibration=CALIBRATION, shrinkage=True)
        yield party, cosine(targets[split.test], found.predict(test))
        if party == "all three":
            wrong = [float((everyone[name][split.train] != truth[split.train]).mean()) for name in names]
            for name, rate, share in zip(names, found.error_rates.mean(0), wrong, strict=True):
                yield f"p_e of {name}: found", float(rate)
                yield f"p_e of {name}: turned round", share


class Errs:
    """Proposes as the recorded answers have it, and gives them with some turned round, always the same ones."""

    def __init__(self, folder: str, share: float, seed: int, guesses: bool = False) -> None:
        self.table, self.share, self.seed, self.guesses = TableModel(Path(folder) / "movie_answers.jsonl"), share, seed, guesses

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """See `FoundationModel.answer`."""
        values = self.table.answer(items, features)
        for column, text in enumerate(features):
            share = 0.5 if self.guesses and crc32(text.encode()) % 4 == 0 else self.share
            chances = [np.random.default_rng([self.seed, crc32(f"{text} {item.id}".encode())]).random() for item in items]
            values[:, column] = np.where(np.array(chances) < share, 1 - values[:, column], values[:, column])
        return values

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """See `FoundationModel.propose`."""
        return self.table.propose(contrast, n)

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """See `FoundationModel.suggest`."""
        return self.table.suggest(items, task, n)


class Most(Errs):
    """What most of some models say."""

    def __init__(self, folder: str, several: Sequence[Errs]) -> None:
        super().__init__(folder, 0.0, 0)
        self.several = several

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """See `FoundationModel.answer`."""
        shares = np.mean([one.answer(items, features) for one in self.several], axis=0)
        return np.where(shares > 0.5, 1.0, 0.0)


def mined_rows(folder: str, seed: int) -> Iterator[Row]:
    """Cosine similarity on test films and the number of questions, by who answers while they are mined."""
    three = [Errs(folder, 0.05, seed), Errs(folder, 0.2, seed + 100), Errs(folder, 0.1, seed + 200, guesses=True)]
    arms: dict[str, dict[str, Any]] = {"all three": {"annotators": three}, "what most say": {"model": Most(folder, three)}}
    arms |= {
        f"{name} alone": {"model": one} for name, one in zip(("5 % wrong", "20 % wrong", "some guessed"), three, strict=True)
    }
    for name, who in arms.items():
        run = discover(open_source(f"movielens:{folder}"), seed=seed, progress=False, **MINED, **who)
        yield f"{name}: cosine", float(run.curve["test_error"].iloc[-1])
        yield f"{name}: questions", float(len(run.progress.active))


def show(title: str, rows: Any, seeds: int) -> None:
    """A table of means over the seeds."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        for name, value in rows(seed):
            found.setdefault(name, []).append(value)
    print(f"\n{title}, {seeds} seeds\n\n| | |\n|---|---|")
    for name, several in found.items():
        print(f"| {name} | {mean(several):.4f} |", flush=True)


def main() -> None:
    """See the text at the top."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", help="of MovieLens 1M; without it no films")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--mined", type=int, default=0, help="splits of the films on which questions are mined, and nothing else")
    parser.add_argument("--splits", type=int, default=5, help="of the films")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.mined:
        show("Films, mined", lambda seed: mined_rows(options.folder, seed), options.mined)
        return
    for n_targets in (1, 8):
        show(f"Cascade, {n_targets} targets: R2", lambda seed, n=n_targets: cascade_rows(n, seed), options.seeds)
        show(f"Gold, {n_targets} targets: error of effects", lambda seed, n=n_targets: gold_rows(n, seed), options.seeds)
    if options.folder is not None:
        show("Films: cosine similarity", lambda seed: film_rows(options.folder, seed), options.splits)


if __name__ == "__main__":
    main()
