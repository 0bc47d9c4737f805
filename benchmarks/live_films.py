"""Discovery on 200 films whose answers a strong language model gave: the test error per answer, over splits and searches.

    python benchmarks/live_films.py ../shared/data --seeds 5 --workers 2 [--set NAME VALUE ...]

The miner is the table of the 174 wordings that live runs came up with, ranked on the items it is shown; from the task alone it
suggests what the live model did. Every line is one seed, of the split and of the search; `cosine` is of the test films, `answers`
are those on training films. All settings are the defaults of openai:NAME, with at most twelve questions, but for those that --set
gives. --pool: also what `predict_with="pool"` predicts, from all that was answered, and from how many questions; and beside it a
ridge regression on 0-shot questions for the same number of answers: those that the model suggests, then the 114 recorded ones of
ml-1m, each answered for all training films.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from replay import read_conversations, suggested_in
from setting_values import setting_value

from genz_ppl import Discovery, Items
from genz_ppl.diagnostics.measures import score
from genz_ppl.llm.table import TableModel
from genz_ppl.types import FloatArray, Item

PENALTIES = np.logspace(-1, 3, 41)


class Live(TableModel):
    """The table, with what the model suggested from the task alone."""

    suggested: list[str]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """The first n of them."""
        return self.suggested[:n]


def run(case: tuple[Path, int, dict[str, Any], bool]) -> tuple[float, ...]:
    """Cosine of the test films, answers on training films, wordings tried, questions kept, seconds; with the last part of the
    case, the cosine and the number of questions of the pool as well, and those of ridge regression on 0-shot questions."""
    folder, seed, options, pooled = case
    import torch

    from genz_ppl import discover
    from genz_ppl.data import open_source

    torch.set_num_threads(1)
    items = open_source(f"movielens:{folder / 'ml-1m'},items=200,dimensions=32,alpha=0")
    table = Live(folder / "live-films" / "answers.jsonl")
    table.suggested = suggested_in(read_conversations(folder / "live-films" / "conversations.jsonl"))
    found = discover(items, model=table, seed=seed, **{"max_features": 12, "screen": 80, "suggestions": 10, **options})
    last, pool = found.curve.iloc[-1], found.progress.pool
    answers = sum(int((entry != -2).sum()) for entry in pool.values())
    row = float(last["test_error"]), answers, len(pool), int(found.features["active"].sum()), float(last["seconds"])
    if not pooled:
        return row
    asked = round(answers / len(found.progress.train_answers))
    ridge = ridge_cosine(items, zero_shot_answers(folder, items, table)[:, :asked], seed, found.record.settings.test_fraction)
    return *row, pool_cosine(found, items), found.pool.n_questions, ridge, asked


def zero_shot_answers(folder: Path, items: Items, table: Live) -> FloatArray:
    """(T, N): of what the model suggests from the task alone, then of the recorded questions, in their order."""
    recorded = TableModel(folder / "ml-1m" / "movie_answers.jsonl")
    texts = [json.loads(line)["question"] for line in (folder / "ml-1m" / "movie_answers.jsonl").read_text().splitlines()]
    return np.concatenate([table.answer(items, table.suggested), recorded.answer(items, texts)], axis=1)


def ridge_cosine(items: Items, answers: FloatArray, seed: int, test_fraction: float) -> float:
    """Of the test films, by directions of the vectors on all answers; the penalty that leaves out one film best."""
    assert items.targets is not None
    split = items.split_indices(seed, test_fraction)
    y = items.targets / np.linalg.norm(items.targets, axis=1, keepdims=True)
    x, mean = answers[split.train], y[split.train].mean(0)
    left, sizes, right = np.linalg.svd(x - x.mean(0), full_matrices=False)
    missed = []
    for penalty in PENALTIES:
        hat = (left * (sizes**2 / (sizes**2 + penalty))) @ left.T
        errors = (y[split.train] - mean - hat @ (y[split.train] - mean)) / (1 - np.diag(hat) - 1 / len(x))[:, None]
        missed.append((errors**2).sum())
    shrunk = sizes / (sizes**2 + PENALTIES[int(np.argmin(missed))])
    weights = right.T @ (shrunk[:, None] * (left.T @ (y[split.train] - mean)))
    return score(items.targets[split.test], mean + (answers[split.test] - x.mean(0)) @ weights, "cosine")


def pool_cosine(found: Discovery, items: Items) -> float:
    """Of the test films, by all that was answered."""
    test = items.take(items.split_indices(found.record.settings.seed, found.record.settings.test_fraction).test)
    table = found.predict(test, predict_with="pool")
    predicted = table[[f"{name}_mean" for name in test.schema.target]].to_numpy()
    assert test.targets is not None
    return score(test.targets, predicted, "cosine")


def main() -> None:
    """Run the seeds and print a line for each, and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data"))
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds ml-1m and live-films")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--pool", action="store_true", help="what is predicted from all that was answered, too")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another setting")
    arguments = parser.parse_args()
    if not (arguments.directory / "live-films").is_dir():
        print(f"skipped: no films in {arguments.directory}; name the folder that holds ml-1m and live-films, or set GENZ_DATA")
        return
    options = {name: setting_value(text) for name, text in arguments.set}
    cases = [(arguments.directory, seed, options, arguments.pool) for seed in range(arguments.seeds)]
    more = ("pool: cosine", "pool: questions", "ridge: cosine", "ridge: questions") if arguments.pool else ()
    names = ("seed", "cosine", "answers", "wordings", "questions", "seconds", *more)
    print(f"| {' | '.join(names)} |\n{'|---' * len(names)}|")
    rows = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        for seed, row in enumerate(pool.map(run, cases)):
            rows.append(row)
            print(f"| {seed} | {row[0]:.3f} | {row[1]} | {row[2]} | {row[3]} | {row[4]:.0f} |{_pool(row)}", flush=True)
    mean, spread = np.mean(rows, axis=0), np.std([row[0] for row in rows])
    print(f"| mean | {mean[0]:.4f} ± {spread:.3f} | {mean[1]:.0f} | {mean[2]:.0f} | {mean[3]:.1f} | {mean[4]:.0f} |{_pool(mean)}")


def _pool(row: Sequence[float]) -> str:
    return f" {row[5]:.4f} | {row[6]:.1f} | {row[7]:.4f} | {row[8]:.1f} |" if len(row) > 5 else ""


if __name__ == "__main__":
    main()
