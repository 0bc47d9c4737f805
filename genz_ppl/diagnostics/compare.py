"""Runs side by side: leave-one-out and held-out scores, and which model they call for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from genz_ppl.diagnostics.checks import held_out_log_likelihood, measured
from genz_ppl.diagnostics.class_measures import CLASS_MEASURES
from genz_ppl.diagnostics.inference_data import LARGEST_SHAPE, leave_one_out, to_inference_data
from genz_ppl.diagnostics.measures import kind_of
from genz_ppl.diagnostics.summary import LARGER_IS_BETTER
from genz_ppl.errors import InputError
from genz_ppl.inference.posterior import FittedItems, posterior_draws

# The mean of -log P(the class that came), by either name.
_SAME = {"cross_entropy": "log_loss"}


@dataclass(frozen=True)
class Contestant:
    """A run to compare: its fit on the training items, on the test items, and its error there by the metric of its curve."""

    train: FittedItems
    test: FittedItems
    error: float
    metric: str


@dataclass(frozen=True)
class Comparison:
    """table: one row a run, the best by LOO first; advice: one or two sentences; warnings: what limits the comparison."""

    table: pd.DataFrame
    advice: str
    warnings: tuple[str, ...]


def compare(runs: dict[str, Contestant]) -> Comparison:
    """Columns: elpd_loo (log predictive density of the training items, each left out), se, p_loo, elpd_difference and
    difference_se to the best, unreliable (share of items with a Pareto shape above 0.7), held_out (mean log predictive
    density of a test item), error and metric (on the test items), and of classes and counts also on the test items what is
    comparable between likelihoods: `CLASS_MEASURES`, deviance.

    Raises InputError for runs on different items or targets.
    """
    _check_same(runs)
    draws = {name: posterior_draws(run.train) for name, run in runs.items()}
    found = {name: leave_one_out(to_inference_data(run.train, draws[name])) for name, run in runs.items()}
    best = max(found, key=lambda name: found[name].elpd)
    rows = []
    for name, run in runs.items():
        loo, gap = found[name], found[name].pointwise - found[best].pointwise
        rows.append(
            {
                "run": name,
                "elpd_loo": loo.elpd,
                "se": loo.standard_error,
                "p_loo": loo.effective_parameters,
                "elpd_difference": float(gap.sum()),
                "difference_se": float(np.sqrt(len(gap) * gap.var())),
                "unreliable": float((loo.pareto_k > LARGEST_SHAPE).mean()),
                "held_out": held_out_log_likelihood(draws[name], run.test),
                "error": run.error,
                "metric": run.metric,
                **_comparable(run),
            }
        )
    table = pd.DataFrame(rows).sort_values("elpd_loo", ascending=False, kind="stable").reset_index(drop=True)
    return Comparison(table, _advice(table), _warnings(runs, table))


def _comparable(run: Contestant) -> dict[str, float]:
    """Measures of the test items that do not depend on the likelihood, beside the run's own error."""
    kinds = {"classes": CLASS_MEASURES, "counts": ("deviance",), "numbers": ()}
    wanted = kinds[kind_of(run.test.state.model.likelihood)]
    found = measured(run.test) if wanted else {}
    return {name: found[name] for name in wanted if name in found}


def _check_same(runs: dict[str, Contestant]) -> None:
    (first_name, first), *others = runs.items()
    for name, run in others:
        if run.train.item_ids != first.train.item_ids or run.train.target_names != first.train.target_names:
            raise InputError(
                f"{name}: expected the training items and targets of {first_name}, got others; compare runs on the same "
                "data with the same --seed and split"
            )
        if not torch.equal(torch.nan_to_num(run.train.targets), torch.nan_to_num(first.train.targets)):
            raise InputError(f"{name}: its targets differ from those of {first_name}; compare runs on the same data")


def better(metric: str) -> str:
    """ "max" where a larger value of the metric is better."""
    return "max" if metric in LARGER_IS_BETTER else "min"


def _advice(table: pd.DataFrame) -> str:
    by_loo, second = table.iloc[0], table.iloc[1]
    order = table.sort_values("error", ascending=better(str(table["metric"].iloc[0])) == "min", kind="stable")
    by_error, by_density = order.iloc[0], table.iloc[int(table["held_out"].argmax())]
    rounding = 1e-9 * abs(by_loo["elpd_loo"])  # two runs that differ by no more are a tie, however small the error of that
    sure = abs(second["elpd_difference"]) > 2 * second["difference_se"] + rounding
    first = f"LOO prefers {by_loo['run']}" + ("" if sure else f", but {second['run']} is within two standard errors")
    agreeing = [kind for kind, row in (("test error", by_error), ("test density", by_density)) if row["run"] == by_loo["run"]]
    if len(agreeing) == 2:
        return f"{first}; held-out error and density agree. Take {by_loo['run']}."
    differing = f"held-out error prefers {by_error['run']}, held-out density {by_density['run']}"
    return (
        f"{first}; {differing}. LOO does not know that the features were chosen on the training items, so where they differ "
        "go by held-out items, over several splits (--seed)."
    )


def _warnings(runs: dict[str, Contestant], table: pd.DataFrame) -> tuple[str, ...]:
    warnings = []
    if len({run.train.state.model.likelihood.standardised for run in runs.values()}) > 1:
        warnings.append(
            "densities of numbers and probabilities of counts or classes are not on one scale: compare errors, not elpd"
        )
    if len({_SAME.get(run.metric, run.metric) for run in runs.values()}) > 1:
        warnings.append("the runs report different error metrics")
    for _, row in table[table["unreliable"] > 0].iterrows():
        warnings.append(
            f"{row['run']}: {row['unreliable']:.1%} of the items have a Pareto shape above 0.7; its elpd is uncertain"
        )
    return tuple(warnings)
