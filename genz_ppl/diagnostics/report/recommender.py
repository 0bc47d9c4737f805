"""The page of a recommender: the verdict, the strata, paired differences, users with reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from genz_ppl.diagnostics.report.page import check_page, page_of, save_page


@dataclass(frozen=True)
class RecommenderData:
    """Words and cells. strata: stratum, model and one cell for each of `columns`. differences: stratum, against, metric, mean,
    sd, t, p, Wilcoxon's p, of how many. examples: (user, which list, rows of rank, item, score, why)."""

    title: str
    eyebrow: str
    verdict: Sequence[str]
    notes: Sequence[str]
    columns: Sequence[str]
    strata: Sequence[Sequence[str]]
    differences: Sequence[Sequence[str]]
    examples: Sequence[tuple[str, str, Sequence[Sequence[str]]]]
    settings: Sequence[Sequence[str]]


def write_recommender(data: RecommenderData, path: Path) -> None:
    """Replace the file in one stroke. Raises OptionError where it cannot be written or a package of the extra is missing."""
    check_page(path)
    save_page(page_of("recommender.html.j2", {"data": data, "title": data.title}, {}, {"steps": [], "texts": []}), path)
