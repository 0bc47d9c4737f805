"""Predictions as a table, one row an item, and effects of groups, one row a group."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
import torch
from torch import Tensor

from genz_ppl.data import Schema
from genz_ppl.diagnostics.class_measures import class_chances
from genz_ppl.diagnostics.measures import kind_of
from genz_ppl.discovery.run.states import scaling_of
from genz_ppl.discovery.view import RunView
from genz_ppl.inference.contributions import contributions
from genz_ppl.inference.group_table import GroupEffects
from genz_ppl.inference.posterior import column_names
from genz_ppl.inference.prediction import Prediction
from genz_ppl.models import GenZ, Likelihood

PARTS = ("mean", "sd", "lower", "upper")


def prediction_table(outcome: Prediction, index: pd.Index, schema: Schema, likelihood: Likelihood) -> pd.DataFrame:
    """mean, sd, lower and upper for each item, on its index; with several targets the columns are "<target>_mean" and so on.

    Where targets are classes, two or more: most_probable, the name of a class, and probability_<class> for every class. With the
    bernoulli likelihood mean and so on follow, of the second class as 1 and the first as 0.
    """
    targets = schema.target
    columns: dict[str, object] = {}
    for position, name in enumerate(targets):
        prefix = "" if len(targets) == 1 else f"{name}_"
        if kind_of(likelihood) == "classes":
            columns |= {f"{prefix}{part}": values for part, values in _of_classes(outcome, position, schema, likelihood).items()}
        if not likelihood.is_of_classes:
            columns |= {f"{prefix}{part}": getattr(outcome, part)[:, position] for part in PARTS}
    return pd.DataFrame(columns, index=index)


def explained_table(run: RunView, table: pd.DataFrame, answers: Tensor, covariates: Tensor) -> pd.DataFrame:
    """Predictions of items with these answers, base, and a column a question; attrs["explained"] says what these are."""
    state, seed, unit = run.progress.state, run.record.settings.seed, run.unit
    texts = [record.text for record in run.progress.active]
    columns = column_names(state.model.likelihood, run.schema.target, run.schema.classes)
    usual = state.prior(torch.from_numpy(run.progress.given())).mean(0)
    found = contributions(state, scaling_of(run.record), answers, covariates, usual, seed)
    several = len(columns) > 1
    parts = {f"{name}: base" if several else "base": found.base[:, place] for place, name in enumerate(columns)}
    for place, name in enumerate(columns):
        parts |= {f"{name}: {text}" if several else text: found.parts[:, k, place] for k, text in enumerate(texts)}
    explained = pd.concat([table, pd.DataFrame(parts, index=table.index)], axis=1)
    of = {"": "the target's unit", "sd": "the targets' units"}.get(unit, unit)
    explained.attrs["explained"] = (
        f"contributions are in {of}, and add up with base to the prediction there"
        if found.exact
        else "a contribution is the change of the prediction where the answer to that question alone is taken away; with a "
        "network as the link they need not add up"
    )
    return explained


def unit_of(model: GenZ, labels: Sequence[Sequence[str]]) -> str:
    """What effects are in, see `Discovery.unit`. labels: of each target's classes, none where these have no names."""
    if model.likelihood.name != "bernoulli" or len(labels) != 1 or not model.effect_unit:
        return str(model.effect_unit)
    return f"{model.effect_unit} of {' '.join(labels[0][1].split())}"


def _of_classes(outcome: Prediction, position: int, schema: Schema, likelihood: Likelihood) -> dict[str, object]:
    """most_probable and probability_<class> of one target; classes without names are 0, 1, ..."""
    chances, labels = class_chances(likelihood, outcome.mean, position, schema.classes)
    found: dict[str, object] = {"most_probable": [labels[best] for best in chances.argmax(axis=1)]}
    return found | {f"probability_{label}": chances[:, number] for number, label in enumerate(labels)}


def group_table(effects: GroupEffects | None, levels: Sequence[str], schema: Schema) -> pd.DataFrame:
    """level, a slope for each covariate and <column>_sd for each group; "<target>_" stands before them where there are several.

    Where a target is a class there is a value for each class: "<target>_<class>_".
    """
    columns: dict[str, object] = {}
    names = list(schema.target)
    if effects is not None and effects.level.shape[1] > len(names):
        names = [f"{name}_{label}" for name, labels in zip(names, schema.classes, strict=True) for label in labels]
    for position, name in enumerate(names if effects is not None else ()):
        assert effects is not None
        prefix = "" if len(names) == 1 else f"{name}_"
        columns |= {f"{prefix}level": effects.level[:, position], f"{prefix}level_sd": effects.level_sd[:, position]}
        for p, covariate in enumerate(schema.covariates):
            columns[f"{prefix}{covariate}"] = effects.slopes[:, p, position]
            columns[f"{prefix}{covariate}_sd"] = effects.slopes_sd[:, p, position]
    return pd.DataFrame(columns, index=pd.Index(levels, name=schema.varying or "group"))
