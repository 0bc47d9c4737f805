"""The tables of a run: its features, its learning curve, and how they are written for spreadsheets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.discovery.run.progress import CURVE, FeatureRecord
from genz_ppl.discovery.run.state_file import Arrays
from genz_ppl.output import quoted
from genz_ppl.types import FloatArray

#: The columns of the feature table with their types.
FEATURE_COLUMNS = {
    **dict.fromkeys(("id", "text"), "str"),
    **dict.fromkeys(("effect", "effect_lower", "effect_upper"), "float64"),
    "origin": "str",
    **dict.fromkeys(("p_e", "prevalence", "gain"), "float64"),
    "added_at": "int64",
    "removed_at": "Int64",
    "active": "bool",
    "gain_when_added": "float64",
    "strongest": "str",
    "strongest_effect": "float64",
}


def feature_table(features: Sequence[FeatureRecord], rates: FloatArray, posterior: FloatArray) -> pd.DataFrame:
    """`Discovery.features`: one row a feature, removed ones included; rates, (K,), and posterior, (T, K), are of active ones."""
    rows = [{**asdict(record), "active": record.active} for record in features]
    for row in rows:
        row["p_e"] = row["prevalence"] = float("nan")
    active = [row for row in rows if row["active"]]
    shares = np.ascontiguousarray(posterior).mean(axis=0)  # of the same layout everywhere: to the last bit
    for row, rate, share in zip(active, rates.tolist(), shares.tolist(), strict=True):
        row["p_e"], row["prevalence"] = rate, share
    return pd.DataFrame(rows, columns=list(FEATURE_COLUMNS)).astype(FEATURE_COLUMNS)


def stored_features(features: Sequence[FeatureRecord], arrays: Arrays, prefix: str = "model") -> pd.DataFrame:
    """The same from the arrays of a state file. Raises ValueError where they do not belong together."""
    rates, posterior = arrays[f"{prefix}_error_rates"], arrays[f"{prefix}_posterior"]
    count = sum(record.active for record in features)
    if rates.shape != (count,) or posterior.shape[1:] != (count,) or not rates.dtype == posterior.dtype == np.float64:
        raise ValueError("its parts do not belong together")
    return feature_table(features, rates, posterior)


def curve_table(rows: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """`Discovery.curve`: one row an event."""
    return pd.DataFrame(rows, columns=list(CURVE))


def csv_of(table: pd.DataFrame, raw: bool = False, float_format: str | None = None) -> str:
    """The table as csv, texts and names of columns as spreadsheets take them for texts (see `quoted`), unless raw."""
    if not raw:
        table = table.rename(columns=_quoted)
        for place, kind in enumerate(table.dtypes):
            if not pd.api.types.is_numeric_dtype(kind):
                table.isetitem(place, table.iloc[:, place].map(_quoted).to_numpy())
    return str(table.to_csv(index=False, lineterminator="\n", float_format=float_format))


def _quoted(cell: Any) -> Any:
    return quoted(cell) if isinstance(cell, str) else cell
