"""What a run on two sides found, for stdout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from genz_ppl.cli.messages import echo
from genz_ppl.cli.tables import number, print_features, print_table, readable_metric

if TYPE_CHECKING:
    import pandas as pd

    from genz_ppl.discovery.pairs.result import CoOccurrenceRun

# Pairs of features whose affinity is shown, the strongest first.
MOST_PAIRINGS = 8
_PARTS = {
    "train": "training pairs",
    "held_out": "held-out pairs",
    "new_rows": "new rows",
    "new_columns": "new columns",
    "new_both": "new rows x new columns",
}


def print_pair_features(features: pd.DataFrame, everything: bool = False) -> None:
    """The features of the rows, then those of the columns."""
    for side in ("rows", "columns"):
        chosen = features[features["side"] == side]
        echo(f"{side}:")
        print_features(chosen, everything)


def print_pairings(run: CoOccurrenceRun) -> None:
    """The strongest entries of the affinity matrix, where there is one."""
    from genz_ppl.errors import OptionError

    try:
        affinity = run.affinity
    except OptionError:
        return
    values = affinity.to_numpy()
    strongest = sorted(range(values.size), key=lambda place: -abs(values.flat[place]))[:MOST_PAIRINGS]
    rows = []
    for place in strongest:
        row, column = divmod(place, values.shape[1])
        rows.append([f"{affinity.index[row]} + {affinity.columns[column]}", number(float(values[row, column]))])
    if rows:
        print_table(["row feature + column feature", "affinity"], rows)


def print_scores(run: CoOccurrenceRun) -> None:
    """The likelihood's error of every part of the split, with the number of pairs."""
    metric = str(run.curve.iloc[-1]["metric"])
    names = [metric, *(["auc"] if metric == "log_loss" else []), "log_likelihood", "n_pairs"]
    rows = []
    for part, scores in run.scores.items():
        if scores.get("n_pairs"):
            cells = [number(float("nan") if scores.get(name) is None else float(scores[name] or 0.0)) for name in names[:-1]]
            rows.append([_PARTS[part], *cells, str(scores["n_pairs"])])
    print_table(["pairs", *(readable_metric(name) for name in names[:-1]), "number"], rows)
