"""The words of a report on two sides."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from genz_ppl.diagnostics.report.pair_facts import PAIR_PART_NAMES, PairFeature, PairReportData, PairSideFacts
from genz_ppl.diagnostics.report.words import (
    SMALLEST_IMPROVEMENT,
    Tile,
    cost_tile,
    cost_words,
    counted,
    metric_words,
    number,
    percent,
    shortened,
)

#: What features add to, and what it is called when it is more.
_LOCATIONS = {
    "gaussian": "the value",
    "bernoulli": "the log-odds of a one",
    "poisson": "the logarithm of the expected count",
}
# Affinities that are put in words, the strongest first.
MOST_PAIRINGS = 8
NEW_PARTS = ("new_rows", "new_columns", "new_both")
STATES = {
    "undescribed": "The {name} are undescribed, or too few to tell apart: there was nothing to ask about, so they have no "
    "features. What sets one {single} apart from another is learned from its pairs alone.",
    "waiting": "The {name} have not been searched yet: the run was stopped before.",
    "stale": "New features of the {name} were found, but the run was stopped before they were fitted; resume it to see them.",
    "none": "No yes/no question about the {name} was found that explains more than chance would.",
}


def pair_title(data: PairReportData) -> str:
    """What the report is about."""
    names = [shortened(side.label, 40) or side.name for side in data.sides]
    return f"What explains the pairs of {names[0]} and {names[1]}?"


def eyebrow(data: PairReportData) -> str:
    """Sizes, in a line."""
    sizes = [f"{number(side.n_train + side.n_test)} {side.name} ({number(side.n_test)} kept aside)" for side in data.sides]
    return f"{sizes[0]} × {sizes[1]} · {number(data.n_pairs)} pairs"


def location(data: PairReportData) -> str:
    """What features add to: the value, log-odds or a logarithm."""
    return _LOCATIONS[data.likelihood]


def pair_summary(data: PairReportData) -> list[str]:
    """The result in a few sentences."""
    return [_found(data), *_quality(data), cost_words(data.curve)]


def _found(data: PairReportData) -> str:
    counts = [len(side.features) for side in data.sides]
    sizes = [number(side.n_train + side.n_test) for side in data.sides]
    between = f"{number(data.n_pairs)} pairs between {sizes[0]} rows and {sizes[1]} columns"
    if not any(counts):
        return f"No yes/no question explains the {between}."
    parts = [f"{counted(n, 'yes/no question')} about the {side.name}" for n, side in zip(counts, data.sides, strict=True) if n]
    verb = "explains" if sum(counts) == 1 else "explain"
    said = " and ".join(parts)
    return f"{said[0].upper()}{said[1:]} {verb} {between}."


def _quality(data: PairReportData) -> list[str]:
    said, known = [], [part for part in NEW_PARTS if _known(data, part)]
    if _known(data, "held_out"):
        error, guess, n = (data.score("held_out", name) for name in (data.metric, f"guess_{data.metric}", "n_pairs"))
        compared = (
            "" if math.isnan(guess) else f"; always guessing the mean gives {number(guess)}, so this is {_better(error, guess)}"
        )
        where = f"On {number(n)} {PAIR_PART_NAMES['held_out'][0]}"
        said.append(f"{where}, the {metric_words(data.metric)} of the predictions is {number(error)}{compared}.")
    if known:
        parts = [_compared(data, part) for part in known]
        listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
        new = "A new row or column is one that was not fitted: only the answers to its questions are known, none of its pairs."
        said.append(f"{'It' if said else f'The {metric_words(data.metric)} of the predictions'} is {listed}. {new}")
    return said


def _known(data: PairReportData, part: str) -> bool:
    return data.score(part, "n_pairs") > 0 and not math.isnan(data.score(part, data.metric))


def _compared(data: PairReportData, part: str) -> str:
    error, guess, n = (data.score(part, name) for name in (data.metric, f"guess_{data.metric}", "n_pairs"))
    compared = "" if math.isnan(guess) else f" (guessing {number(guess)}, {_better(error, guess)})"
    return f"{number(error)} on {number(n)} {PAIR_PART_NAMES[part][0]}{compared}"


def _better(error: float, guess: float) -> str:
    """ "66 % less", "no better"."""
    share = 1 - error / guess if guess else math.nan
    return f"{percent(share)} less" if share > SMALLEST_IMPROVEMENT else "no better"


def pair_tiles(data: PairReportData) -> list[Tile]:
    """The numbers at the top."""
    counts = [len(side.features) for side in data.sides]
    found = [Tile(f"{counts[0]} + {counts[1]}", "questions", "about the rows, about the columns")]
    for part, label in (("held_out", "pairs kept aside"), ("new_both", "new rows with new columns")):
        error, guess = data.score(part, data.metric), data.score(part, f"guess_{data.metric}")
        if math.isnan(error):
            continue
        explained = data.score(part, "r2")
        if data.likelihood == "gaussian" and not math.isnan(explained):
            shown = percent(explained) if explained > 0 else "none"
            found.append(Tile(shown, f"of the variation explained, {label}", f"R² {number(explained)}"))
        else:
            found.append(Tile(number(error), f"{metric_words(data.metric)}, {label}", f"guessing the mean: {number(guess)}"))
    return [*found, cost_tile(data.curve)]


@dataclass(frozen=True)
class Pairing:
    """A row feature with a column feature, their affinity and what it means."""

    row: PairFeature
    column: PairFeature
    affinity: float
    words: str


def pairings(data: PairReportData) -> list[Pairing]:
    """The strongest affinities, the largest first."""
    if data.affinity is None:
        return []
    found = []
    for place in np.argsort(-np.abs(data.affinity), axis=None, kind="stable")[:MOST_PAIRINGS].tolist():
        i, j = divmod(place, data.affinity.shape[1])
        row, column, value = data.rows.features[i], data.columns.features[j], float(data.affinity[i, j])
        found.append(Pairing(row, column, value, _pairing(data, value, row.prevalence * column.prevalence)))
    return found


def _pairing(data: PairReportData, value: float, share: float) -> str:
    change = "higher" if value > 0 else "lower"
    verb, them = ("are", "them") if data.likelihood == "bernoulli" else ("is", "it")
    factor = ""
    if data.likelihood != "gaussian":
        what = "odds" if data.likelihood == "bernoulli" else "expected count"
        factor = f" (the {what} times {number(math.exp(min(value, 700.0)))})"
    return (
        f"Where both are true, {location(data)} {verb} {change} by {number(abs(value))}{factor} than the two make {them} "
        f"separately. Both are true in about {percent(share)} of all combinations."
    )


def affinity_missing(data: PairReportData) -> str:
    """Why there is no affinity matrix."""
    if not data.linear:
        return (
            f"There is no matrix of affinities: with the link {data.link!r}, what one feature does depends on the others, so no "
            "single number says how a row feature goes with a column feature. The link 'linear' has one."
        )
    without = " and ".join(f"the {side.name}" for side in data.sides if not side.features)
    return f"There is no matrix of affinities: it takes features on both sides, and {without} have none in the model."


def side_words(side: PairSideFacts) -> str:
    """Why a side has no features; empty where it has some."""
    return STATES[side.state].format(name=side.name, single=side.single) if side.state in STATES else ""
