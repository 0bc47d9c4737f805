"""Classes with known rules: the 20 synthetic sets of HypoBench (admission, election, shoe), `genz fit` beside boosting.

    python benchmarks/hypobench.py ../shared/data/hypobench --workers 2

Each set has its own split. Accuracy and log loss on test items; questions kept; answers asked; of the conditions of the true
rules (admission sets) that change at least 3 % of the labels, how many are among the questions (the same field, answers that
agree on 97 % of the items). Labels are read as classes, everything else is as it comes. Boosting, where scikit-learn is there,
is its histogram gradient boosting on one-hot columns, or on counts of words for texts. --inverted: every item has the label of
the next class, of two the other one, against what anybody would expect; the figures are to be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from setting_values import setting_value

from genz_ppl.llm.combined import parts_of
from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import FloatArray

# A condition counts where it changes so many labels, and a question stands for it where so many of their answers agree.
MATTERS, AGREES = 0.03, 0.97


@dataclass(frozen=True)
class Row:
    """What came of one set. conditions: those of the true rules that matter, found: of them; nan where there are no rules."""

    name: str
    accuracy: float
    log_loss: float
    questions: list[str]
    answers: int
    found: float
    conditions: float
    seconds: float


def read(name: str, folder: str, inverted: bool) -> pd.DataFrame:
    """The items of a set, with the labels as they are or with those of the next class."""
    frame = pd.read_csv(Path(folder) / name / "items.csv", dtype=str, keep_default_na=False)
    names = sorted(frame["label"].unique())
    following = dict(zip(names, [*names[1:], names[0]], strict=True))
    return frame.assign(label=frame["label"].map(following)) if inverted else frame


def run(name: str, folder: str, options: tuple[tuple[str, Any], ...], inverted: bool = False) -> Row:
    """One set by `genz_ppl.discover`."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    warnings.simplefilter("ignore")  # that a column tells all of the label is meant here
    import torch

    from genz_ppl import Items, discover

    torch.set_num_threads(1)
    frame = pd.read_csv(Path(folder) / name / "items.csv", dtype={"label": str})
    names = sorted(frame["label"].unique())
    settings: dict[str, Any] = {"likelihood": "bernoulli" if len(names) == 2 else "categorical", **dict(options)}
    with TemporaryDirectory() as place:
        path = Path(place) / "items.csv"
        read(name, folder, inverted).to_csv(path, index=False)
        items = Items.from_csv(path, id="id", target="label", split="split", classes=[names])
    found = discover(items, progress=False, **settings)
    test = np.flatnonzero((frame["split"] == "test").to_numpy())
    probability = probabilities(found.predict(items.take(test)), names)
    truth = np.array([names.index(label) for label in read(name, folder, inverted)["label"].iloc[test]])
    given = np.clip(probability[np.arange(len(test)), truth], 1e-12, 1)
    questions = found.features.loc[found.features["active"], "text"].tolist()
    last = found.curve.iloc[-1]
    conditions = _conditions(json.loads((Path(folder) / name / "truth.json").read_text(encoding="utf-8")), frame)
    parts = sorted({part for question in questions for part in parts_of(question)})
    hit = [any(_same(condition, part, items) for part in parts) for condition in conditions]
    return Row(
        name,
        float((probability.argmax(1) == truth).mean()),
        float(-np.log(given).mean()),
        questions,
        int(last["answers_asked"]),
        sum(hit) if conditions else float("nan"),
        len(conditions) if conditions else float("nan"),
        float(last["seconds"]),
    )


def probabilities(predicted: pd.DataFrame, names: list[str]) -> FloatArray:
    """(T, classes), from the table that `predict` gives."""
    columns = [f"probability_{name}" for name in names]
    if columns[0] in predicted:
        return predicted[columns].to_numpy(dtype=np.float64)
    second = predicted["mean"].to_numpy(dtype=np.float64)
    return np.stack([1 - second, second], axis=1)


def _conditions(truth: dict[str, Any], frame: pd.DataFrame) -> list[tuple[str, FloatArray]]:
    """Field and truth of each condition of the rules without which at least 3 % of the items would be labelled otherwise."""
    rules = truth.get("rules")
    if not rules:
        return []
    holds = [[_holds(condition, frame) for condition in rule] for rule in rules]
    whole = np.any([np.all(rule, axis=0) for rule in holds], axis=0)
    found: dict[bytes, tuple[str, FloatArray]] = {}
    places = [(r, c) for r, rule in enumerate(rules) for c in range(len(rule))]
    for r, c in places:
        same = holds[r][c].tobytes()
        without = np.any(
            [np.all([h for h in rule if h.tobytes() != same] or [np.zeros(len(frame), bool)], axis=0) for rule in holds], axis=0
        )
        if (without != whole).mean() >= MATTERS:
            found[same] = rules[r][c]["field"], holds[r][c].astype(np.float64)
    return list(found.values())


def _holds(condition: dict[str, Any], frame: pd.DataFrame) -> NDArray[np.bool_]:
    column = frame[condition["field"]]
    if condition["is"] is not None:
        return np.asarray(column.astype(str).isin(condition["is"]), dtype=np.bool_)
    return np.asarray(column.astype(float) > condition["above"], dtype=np.bool_)


def _same(condition: tuple[str, FloatArray], question: str, items: Any) -> bool:
    field, truth = condition
    if field not in question:
        return False
    answers = RulesModel().answer(items[:], [question])[:, 0]
    agreed = float((answers == truth).mean())
    return max(agreed, 1 - agreed) >= AGREES


def boosting(name: str, folder: str) -> float:
    """Test accuracy of gradient boosting, nan without scikit-learn."""
    try:
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.feature_extraction.text import CountVectorizer
    except ImportError:
        return float("nan")
    frame = pd.read_csv(Path(folder) / name / "items.csv", dtype={"label": str})
    train = (frame["split"] == "train").to_numpy()
    inputs = frame.drop(columns=["id", "split", "label"])
    if name.startswith(("election", "shoe")):
        counts = CountVectorizer(ngram_range=(1, 2)).fit(inputs[train].iloc[:, 0])
        values = counts.transform(inputs.iloc[:, 0]).toarray()
    else:
        values = pd.get_dummies(inputs).to_numpy(dtype=np.float64)
    model = HistGradientBoostingClassifier(random_state=0).fit(values[train], frame["label"][train])
    return float((model.predict(values[~train]) == frame["label"][~train]).mean())


def main() -> None:
    """Run the sets and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data")) / "hypobench"
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds a folder for each set")
    parser.add_argument("--sets", nargs="+", default=None, help="names of sets, or how they begin; all if not given")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--questions", action="store_true", help="print the questions of each set")
    parser.add_argument("--inverted", action="store_true", help="each item with the label of the next class")
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another setting")
    arguments = parser.parse_args()
    if not arguments.directory.is_dir():
        print(f"skipped: no sets in {arguments.directory}; name their folder, or set GENZ_DATA to the folder above it")
        return
    options = tuple((name, setting_value(value)) for name, value in arguments.set)
    wanted = tuple(arguments.sets or [""])
    names = sorted(path.name for path in arguments.directory.iterdir() if path.name.startswith(wanted))
    print("| set | boosting | accuracy | log loss | questions | conditions found | answers asked | seconds |", flush=True)
    print("|---|---|---|---|---|---|---|---|")
    rows = []
    with ProcessPoolExecutor(arguments.workers) as pool:
        folder = str(arguments.directory)
        others = pool.map(boosting, names, [folder] * len(names))
        one = partial(run, folder=folder, options=options, inverted=arguments.inverted)
        for row, other in zip(pool.map(one, names), others, strict=True):
            rows.append((row, other))
            conditions = "" if np.isnan(row.found) else f"{row.found:.0f} of {row.conditions:.0f}"
            print(
                f"| {row.name} | {other:.3f} | {row.accuracy:.3f} | {row.log_loss:.3f} | {len(row.questions)} | {conditions} "
                f"| {row.answers:,} | {row.seconds:.0f} |".replace(",", " "),
                flush=True,
            )
            for question in row.questions if arguments.questions else []:
                print(f"  - {question}")
    total, found = (
        sum(value for row, _ in rows if not np.isnan(value := getattr(row, name))) for name in ("conditions", "found")
    )
    print(
        f"| mean | {mean(other for _, other in rows):.3f} | {mean(row.accuracy for row, _ in rows):.3f} "
        f"| {mean(row.log_loss for row, _ in rows):.3f} | | {found:.0f} of {total:.0f} | | |"
    )


if __name__ == "__main__":
    main()
