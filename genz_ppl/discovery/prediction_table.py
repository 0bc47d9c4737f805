"""Predictions as a table, one row an item, and effects of groups, one row a group."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from genz_ppl.data import Schema
from genz_ppl.inference.group_table import GroupEffects
from genz_ppl.inference.prediction import Prediction
from genz_ppl.models import Likelihood

PARTS = ("mean", "sd", "lower", "upper")


def prediction_table(outcome: Prediction, index: pd.Index, schema: Schema, likelihood: Likelihood) -> pd.DataFrame:
    """mean, sd, lower and upper for each item, on its index; with several targets the columns are "<target>_mean" and so on.

    Where targets are categorical: see `class_table`.
    """
    targets = schema.target
    if likelihood.is_of_classes:
        return class_table(outcome, index, targets, schema.classes, likelihood.n_classes)
    columns = {}
    for position, name in enumerate(targets):
        prefix = "" if len(targets) == 1 else f"{name}_"
        for part in PARTS:
            columns[f"{prefix}{part}"] = getattr(outcome, part)[:, position]
    return pd.DataFrame(columns, index=index)


def class_table(
    outcome: Prediction, index: pd.Index, targets: Sequence[str], labels: Sequence[Sequence[str]], n_classes: int
) -> pd.DataFrame:
    """most_probable and a column probability_<class> for every class; "<target>_" stands before them where there are several.

    labels: the names of the classes of each target; without names the classes are 0 to n_classes - 1.
    """
    columns: dict[str, object] = {}
    for position, name in enumerate(targets):
        prefix = "" if len(targets) == 1 else f"{name}_"
        known = list(labels[position]) if labels else [str(c) for c in range(n_classes)]
        probabilities = outcome.mean[:, position * n_classes : (position + 1) * n_classes][:, : len(known)]
        best = probabilities.argmax(axis=1) if len(probabilities) else np.zeros(0, dtype=np.int64)
        columns[f"{prefix}most_probable"] = [known[c] for c in best]
        columns |= {f"{prefix}probability_{label}": probabilities[:, c] for c, label in enumerate(known)}
    return pd.DataFrame(columns, index=index)


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
