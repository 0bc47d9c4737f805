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
from genz_ppl.types import GOLD, AnswerErrors, FloatArray

#: Columns of the feature table where answers yes and no have error rates of their own: see `AnswerErrors`.
RATE_COLUMNS = ("p_yes", "p_no", "false_yes", "false_no")
_ALL_COLUMNS = {
    **dict.fromkeys(("id", "text"), "str"),
    **dict.fromkeys(("effect", "effect_lower", "effect_upper"), "float64"),
    "origin": "str",
    **dict.fromkeys(("p_e", *RATE_COLUMNS, "prevalence", "gain"), "float64"),
    "added_at": "int64",
    "removed_at": "Int64",
    "active": "bool",
    "gain_when_added": "float64",
    "strongest": "str",
    "strongest_effect": "float64",
}
#: The columns of every feature table with their types.
FEATURE_COLUMNS = {name: kind for name, kind in _ALL_COLUMNS.items() if name not in RATE_COLUMNS}


def feature_table(
    features: Sequence[FeatureRecord], rates: FloatArray, posterior: FloatArray, raters: Sequence[str] = ()
) -> pd.DataFrame:
    """`Discovery.features`: one row a feature, removed ones included.

    rates, (K,) or (K, 2), or (K, A) of raters, and posterior, (T, K), are of active ones.
    """
    prevalence = np.ascontiguousarray(posterior).mean(axis=0)  # of the same layout everywhere: to the last bit
    found = rate_columns(rates, prevalence, raters)
    rows = [{**asdict(record), "active": record.active, **dict.fromkeys(found, float("nan"))} for record in features]
    active = [row for row in rows if row["active"]]
    for name, values in found.items():
        for row, value in zip(active, values.tolist(), strict=True):
            row[name] = value
    columns = _ALL_COLUMNS if "p_yes" in found else FEATURE_COLUMNS | dict.fromkeys(list(found)[2:], "float64")
    return pd.DataFrame(rows, columns=list(columns)).astype(columns)


def rate_columns(rates: FloatArray, prevalence: FloatArray, raters: Sequence[str] = ()) -> dict[str, FloatArray]:
    """What a table says of the error rates, (K,) or (K, 2), of features with these prevalences, (K,).

    Of raters, (K, A), p_e is how often they are wrong together, see `AnswerErrors.together`, and of several each has a column.
    """
    if raters:
        own = {f"p_e {name}": rates[:, a] for a, name in enumerate(raters) if name != GOLD}
        together = AnswerErrors.together(rates[:, : len(own)], prevalence).overall
        return {"p_e": together, "prevalence": prevalence} | (own if len(own) > 1 else {})
    errors = AnswerErrors.of(rates, prevalence)
    found = {"p_e": errors.overall, "prevalence": prevalence}
    if rates.ndim == 2:
        apart = (errors.of_yes, errors.of_no, errors.false_yes, errors.false_no)
        found |= dict(zip(RATE_COLUMNS, apart, strict=True))
    return found


def stored_features(features: Sequence[FeatureRecord], arrays: Arrays, raters: Sequence[str] = ()) -> pd.DataFrame:
    """The same from the arrays of a state file. Raises ValueError where they do not belong together."""
    rates, posterior = arrays["model_error_rates"], arrays["model_posterior"]
    count = sum(record.active for record in features)
    sizes = ((count, len(raters)),) if raters else ((count,), (count, 2))
    sized = rates.shape in sizes and posterior.shape[1:] == (count,)
    if not sized or not rates.dtype == posterior.dtype == np.float64:
        raise ValueError("its parts do not belong together")
    return feature_table(features, rates, posterior, raters)


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
