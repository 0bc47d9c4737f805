"""What the page of a recommender shows: words and tables, made of its results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl.diagnostics.report.page import setting
from genz_ppl.diagnostics.report.recommender import RecommenderData, write_recommender
from genz_ppl.recommend.proof import AGAINST, FUSED, PLAIN, SHUFFLED
from genz_ppl.recommend.settings import RecommendSettings

METRICS = ("ndcg@10", "ndcg@20", "recall@20", "mrr", "coverage@20")
MODELS = {FUSED: "with profiles", PLAIN: "without", SHUFFLED: "shuffled"}
STRATA = {"all": "all items", "head": "head", "tail": "tail", "cold": "new items"}
Example = tuple[str, str, pd.DataFrame]


def write_report(
    settings: RecommendSettings,
    about: Mapping[str, Any],
    verdict: Sequence[str],
    paired: pd.DataFrame,
    examples: Sequence[Example],
    path: Path,
) -> None:
    """Replace the file in one stroke. examples: (user, which list, its rows). Raises OptionError where it cannot be written."""
    sizes = f"{about['pairs']} pairs · {about['new_items']} new items"
    data = RecommenderData(
        title=f"Do profiles help to recommend? {about['users']} users, {about['items']} items",
        eyebrow=f"{sizes} · {settings.split} split, {settings.seeds} seeds",
        verdict=verdict or ["No test was made."],
        notes=_notes(about),
        strata=_strata(about["models"]),
        columns=METRICS,
        differences=_differences(paired),
        examples=[(user, which, _cells(rows)) for user, which, rows in examples],
        settings=[[name, setting(getattr(settings, name))] for name in settings.__dataclass_fields__],
    )
    write_recommender(data, path)


def _cells(rows: pd.DataFrame) -> list[list[str]]:
    return [[str(row["rank"]), row["item"], f"{row['score']:.3f}", row["why"]] for row in rows.to_dict("records")]


def _notes(about: Mapping[str, Any]) -> list[str]:
    found = [f"{count} pairs were left out: {reason}." for reason, count in about["left_out"].items()]
    missing = about["without_profile"]
    if missing:
        found.append(f"{len(missing)} items without a profile have the mean of the others: {', '.join(missing[:10])}.")
    return found


def _strata(models: dict[str, Any]) -> list[list[str]]:
    """A row for each stratum and model: mean ± sd over the seeds."""
    return [
        [STRATA[stratum], MODELS[model], *(_spread(models[model][stratum].get(metric, [])) for metric in METRICS)]
        for stratum in STRATA
        for model in MODELS
        if stratum in models.get(model, {})
    ]


def _spread(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    return f"{np.mean(known):.4f}" + (f" ± {np.std(known, ddof=1):.4f}" if len(known) > 1 else "")


def _differences(paired: pd.DataFrame) -> list[list[str]]:
    found = []
    for row in paired.to_dict("records"):
        p = ["–" if row[name] != row[name] or row[name] is None else f"{row[name]:.2g}" for name in ("t", "p", "wilcoxon_p")]
        shown = [STRATA[row["stratum"]], AGAINST[row["against"]], row["metric"], f"{row['mean']:+.4f}", f"{row['sd']:.4f}"]
        found.append([*shown, *p, f"{row['n']} {row['by']}s"])
    return found
