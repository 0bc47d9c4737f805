"""The words of a report: numbers as people read them, and a summary without technical terms."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass

import pandas as pd

from genz_ppl.diagnostics.report.facts import FeatureFacts, ReportData

METRICS = {
    "accuracy": "accuracy: most probable class right",
    "balanced_accuracy": "balanced accuracy: every class counting alike",
    "brier": "Brier score",
    "auc": "area under the ROC curve",
    "median_absolute_error": "median absolute error",
    "mean_absolute_error": "mean absolute error",
    "rmse": "root mean squared error",
    "cosine": "cosine similarity",
    "deviance": "mean Poisson deviance",
    "negative_binomial_deviance": "mean negative binomial deviance",
    "log_loss": "log loss (nats)",
    "cross_entropy": "cross-entropy (nats)",
    "r2": "R²",
}
STOPPED = {
    "interrupted": "was interrupted before its end",
    "stopped": "was stopped by a budget before its end",
    "failed": "ended early because the foundation model failed",
    "running": "had not come to its end",
}
# A smaller share of the error is nothing to speak of.
SMALLEST_IMPROVEMENT = 0.005
_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


@dataclass(frozen=True)
class Tile:
    """A number that stands out: its value, what it is, and what to compare it with."""

    value: str
    label: str
    note: str


def number(value: float, digits: int = 3, signed: bool = False) -> str:
    """Rounded sensibly: 0.148, 1.28, 96 514; "–" for NaN."""
    if not math.isfinite(value):
        return "–" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    sign = "−" if value < 0 else "+" if signed and value > 0 else ""
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-4:
        mantissa, exponent = f"{size:.{max(0, digits - 2)}e}".split("e")
        return f"{sign}{mantissa} × 10{_raised(int(exponent))}"
    if size >= 1000:
        return sign + f"{size:,.0f}".replace(",", "\u202f")
    if float(size).is_integer() or size >= 999.5:
        return f"{sign}{size:.0f}"
    return sign + f"{size:#.{digits}g}".rstrip(".")


def _raised(exponent: int) -> str:
    return str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def percent(share: float) -> str:
    """A share as a percentage: 0.4 %, 12 %, below 0.1 % and above 99.9 % said so."""
    if not math.isfinite(share):
        return "–"
    if 0 < share < 0.001:
        return "< 0.1\u202f%"
    if 0.999 < share < 1:
        return "> 99.9\u202f%"
    size = abs(100 * share)
    shown = f"{size:.1f}" if size < 9.95 or size > 99 else f"{size:.0f}"
    return f"{'−' if share < 0 else ''}{shown.removesuffix('.0')}\u202f%"


def clean(text: str) -> str:
    """Text without characters that a page cannot hold or that act on what is around it: controls, lone surrogates."""
    kept = (c for c in text if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cs"))
    return "".join(kept)


def shortened(text: str, most: int) -> str:
    """The text on one line of at most so many characters."""
    line = " ".join(clean(text).split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def counted(n: int, one: str) -> str:
    """ "one question", "12 questions"."""
    return f"{_SMALL[n] if n < len(_SMALL) else number(n)} {one}{'' if n == 1 else 's'}"


def listed(names: tuple[str, ...], most: int = 3) -> str:
    """ "a, b and c", "a, b, c and 46 more"."""
    shown = [shortened(name, 60) for name in names]
    if len(shown) > most:
        return f"{', '.join(shown[:most])} and {number(len(shown) - most)} more"
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def title(data: ReportData) -> str:
    """What the report is about."""
    if len(data.target_names) > 2:
        return f"What explains the {len(data.target_names)} targets of {shortened(data.facts.data_name, 60)}?"
    return f"What explains {listed(data.target_names)}?"


def metric_words(metric: str) -> str:
    """A metric in words."""
    return METRICS.get(metric, metric.replace("_", " "))


def change(data: ReportData, value: float) -> str:
    """A change of predictions with its sign; where y is a class, in percentage points."""
    return f"{number(100 * value, 2, signed=True)} points" if data.kind == "classes" else number(value, signed=True)


def tiles(data: ReportData) -> list[Tile]:
    """The numbers at the top."""
    scores = data.facts.scores
    found = [Tile(number(len(data.features)), "question" if len(data.features) == 1 else "questions", _answer_quality(data))]
    if data.kind == "classes":
        found.append(Tile(_accuracy(data, "test"), "right on unseen items", f"most frequent: {_accuracy(data, 'guess_test')}"))
    elif len(data.columns) == 1:
        explained = scores["test"]["r2"]
        shown = percent(explained) if explained > 0 else "none"
        found.append(Tile(shown, "of the variation explained on unseen items", f"R² {number(explained)}{_ceiling_note(data)}"))
    test, guess = scores["test"].get(data.metric, math.nan), scores["guess_test"].get(data.metric, math.nan)
    found.append(Tile(number(test), f"{metric_words(data.metric)} on unseen items", f"{_guess(data)}: {number(guess)}"))
    return [*found, cost_tile(data.facts.curve)]


def _ceiling_note(data: ReportData) -> str:
    ceiling = data.facts.ceiling
    return "" if ceiling is None else f"; {ceiling.name}: {number(ceiling.best)}"


def _answer_quality(data: ReportData) -> str:
    return f"answers contradicted: {number(data.n_contradictions)} of {number(data.n_answers)}"


def _accuracy(data: ReportData, side: str) -> str:
    return percent(data.facts.scores[side]["accuracy"])


def _guess(data: ReportData) -> str:
    return "guessing by frequency" if data.kind == "classes" else "guessing the mean"


def cost_tile(curve: pd.DataFrame) -> Tile:
    """What the run cost: time, or money where it paid for answers."""
    last = curve.iloc[-1]
    asked = f"{number(float(last['answers_asked']))} answers asked"
    if int(last["tokens_in"]) == 0:
        return Tile(f"{number(float(last['seconds']), 2)}\u202fs", "for the whole run", asked)
    money = "unknown" if last["cost"] != last["cost"] else f"${number(float(last['cost']))}"
    return Tile(money, "for the whole run", f"{asked}, {number(float(last['calls']))} calls")


def summary(data: ReportData) -> list[str]:
    """The result in a few sentences."""
    return [
        _found(data),
        *_sampled(data),
        _quality(data),
        *_beside(data),
        *_confirmed(data),
        *_baseline(data),
        cost_words(data.facts.curve),
    ]


def _sampled(data: ReportData) -> list[str]:
    """On how many training items questions were sought, where these are not all."""
    sought, rest = data.n_items["train"], data.facts.rest
    if not rest:
        return []
    every = "; effects and gains are those of the last fit, to all" if data.facts.status == "done" else ""
    drawn = f"Questions were sought on {counted(sought, 'training item')} of {number(float(sought + rest))}, drawn at random"
    return [f"{drawn}{every}. What is shown of training items is about those {number(float(sought))}."]


def _beside(data: ReportData) -> list[str]:
    """The same model without questions, and what a model that reads everything reaches."""
    said, found, ceiling = [], data.facts.summary, data.facts.ceiling
    if found is not None and data.features and math.isfinite(found.improvement):
        gained = found.improvement_words()
        helped = "" if found.helps else ": on unseen items the questions do not help, so what was found may be chance"
        said.append(f"Without the questions it would be {number(found.without)}{gained}{helped}.")
    if ceiling is not None and data.features:
        line = ceiling.line(len(data.features))
        said.append(f"{line[0].upper()}{line[1:]}.")
    return said


def _confirmed(data: ReportData) -> list[str]:
    return [f"{line[0].upper()}{line[1:]}." for line in data.facts.confirmed]


def _found(data: ReportData) -> str:
    if not data.features:
        return f"No yes/no question was found that helps to explain {listed(data.target_names)}."
    groups = () if data.groups is None else (f"the {len(data.groups.names)} values of {data.varying}",)
    known = (*data.covariate_names, *groups)
    beside = f", together with {listed(known)}," if known else ""
    questions = counted(len(data.features), "yes/no question")
    verb = "explains" if len(data.features) == 1 else "explain"
    what = listed(data.target_names) if len(data.target_names) < 4 else f"{len(data.target_names)} targets"
    return f"{questions[0].upper()}{questions[1:]} about an item{beside} {verb} {what}."


def _quality(data: ReportData) -> str:
    scores, unseen = data.facts.scores, f"On {counted(data.n_items['test'], 'item')} that were kept aside"
    test, guess = scores["test"].get(data.metric, math.nan), scores["guess_test"].get(data.metric, math.nan)
    if data.kind == "classes":
        no_better = ", so this is no better" if scores["test"]["accuracy"] <= scores["guess_test"]["accuracy"] else ""
        return (
            f"{unseen}, the most probable class is right for {_accuracy(data, 'test')}; always taking the most frequent class "
            f"is right for {_accuracy(data, 'guess_test')}{no_better}."
        )
    if data.metric == "r2":
        accounted = percent(test) if test > 0 else "none"
        return (
            f"{unseen}, the predictions account for {accounted} of the differences between items, in the mean over the targets "
            f"(R² {number(test)}; always guessing the mean has {number(guess)})."
        )
    if data.metric == "cosine":
        return (
            f"{unseen}, predictions and truth agree with a cosine similarity of {number(test)} (1 is perfect); always guessing "
            f"the mean gives {number(guess)}."
        )
    share = 1 - test / guess if guess else math.nan
    better = f", so this is {percent(share)} less" if share > SMALLEST_IMPROVEMENT else ", so this is no better"
    explained = scores["test"].get("r2", math.nan)
    r2 = f" The predictions account for {percent(explained)} of the differences between items (R² {number(explained)})."
    if not explained > 0:
        r2 = f" The predictions account for none of the differences between items: R² is {number(explained)}, that of the mean 0."
        better = ", but some predictions are far off" if share > SMALLEST_IMPROVEMENT else better
    median = data.metric == "median_absolute_error"
    found = "half of the predictions are off by less than" if median else f"the {metric_words(data.metric)} of the predictions is"
    known = r2 if math.isfinite(explained) else ""
    return f"{unseen}, {found} {number(test)}; guessing the mean gives {number(guess)}{better}.{known}"


def _baseline(data: ReportData) -> list[str]:
    if not data.facts.baseline:
        return []
    errors = [error for _, error in data.facts.baseline]
    best = max(errors) if data.higher_is_better else min(errors)
    count = next(n for n, error in data.facts.baseline if error == best)
    return [
        f"Questions suggested from the task alone, without looking at errors, reach {number(best)} at best "
        f"(with {counted(count, 'question')}, chosen in hindsight)."
    ]


def cost_words(curve: pd.DataFrame) -> str:
    """What the run asked for and what it cost, by the last row of its curve."""
    last = curve.iloc[-1]
    paid = ""
    if int(last["tokens_in"]) > 0:
        money = "a price that is not known" if last["cost"] != last["cost"] else f"${number(float(last['cost']))}"
        paid = f", {number(float(last['tokens_in']) + float(last['tokens_out']))} tokens and {money}"
    return (
        f"The run took {number(float(last['answers_asked']))} answers, {number(float(last['proposals_asked']))} requests for "
        f"questions{paid} and {number(float(last['seconds']), 2)} seconds."
    )


def worth(data: ReportData, feature: FeatureFacts) -> str:
    """What "yes" instead of "no" does to the target, in words."""
    if len(data.columns) > 1:
        return _largest_moves(data, feature)
    value = feature.changes[0]
    verb, known = "raises" if value > 0 else "lowers", data.kind == "numbers" and math.isfinite(feature.lower)
    what = _moved(data, 0, 60)
    ends = sorted((feature.lower, feature.upper)) if value > 0 else sorted((-feature.lower, -feature.upper))
    between = f" (90\u202f% interval {number(ends[0])} to {number(ends[1])})" if known else ""
    if known and feature.text in data.facts.fresh:
        low, fresh, high = sorted((1 if value > 0 else -1) * end for end in data.facts.fresh[feature.text])
        between = f"; on items it was not found on by {number(fresh)} (95\u202f% interval {number(low)} to {number(high)})"
    return f"{verb} {shortened(what, 100)} by {change(data, abs(value)).lstrip('+')}{between}"


def _largest_moves(data: ReportData, feature: FeatureFacts) -> str:
    """The columns that it raises and lowers most, of those that are explained at all."""
    explained = [position for position, column in enumerate(data.columns) if column.r2("test") > 0]
    if not explained:
        return "moves no target that is explained"
    order = sorted(explained, key=lambda position: feature.changes[position])
    said = []
    for verb, position in (("raises", order[-1]), ("lowers", order[0])):
        value = feature.changes[position]
        if (value > 0) == (verb == "raises") and value:
            size = change(data, abs(value)).lstrip("+")
            said.append(f"{verb} {_moved(data, position, 70)} by {size}")
    return ", and ".join(said) or "changes nothing"


def _moved(data: ReportData, position: int, length: int) -> str:
    """What a question raises or lowers: a target, or the probability of a class; of 0 and 1, which have no names, that of 1."""
    name = data.columns[position].name
    if data.kind != "classes":
        return shortened(name, length)
    return f"the probability that {shortened(name, length)}{' is 1' if name in data.target_names else ''}"
