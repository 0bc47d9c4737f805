"""Writes the report of a run on two sides, in the form of the report of an ordinary run."""

from __future__ import annotations

from pathlib import Path

from genz_ppl.diagnostics.report.page import page_of, save_page, setting
from genz_ppl.diagnostics.report.pair_charts import pair_charts, pair_score_table
from genz_ppl.diagnostics.report.pair_facts import PairReportData
from genz_ppl.diagnostics.report.pair_words import (
    affinity_missing,
    eyebrow,
    location,
    pair_summary,
    pair_tiles,
    pair_title,
    pairings,
    side_words,
)
from genz_ppl.diagnostics.report.words import STOPPED
from genz_ppl.diagnostics.report.write import check_destination


def write_pair_report(data: PairReportData, path: Path) -> None:
    """Replace the file in one stroke. Raises OptionError where it cannot be written or a package of the extra is missing."""
    check_destination(path)
    save_page(render_pairs(data), path)


def render_pairs(data: PairReportData) -> str:
    """The report as HTML; the same for the same data."""
    found = pairings(data)
    content = {
        "data": data,
        "title": pair_title(data),
        "eyebrow": eyebrow(data),
        "summary": pair_summary(data),
        "tiles": pair_tiles(data),
        "stopped": "" if data.status == "done" else STOPPED.get(data.status, STOPPED["running"]),
        "location": location(data),
        "unit": _unit(data),
        "most": max((feature.strength for side in data.sides for feature in side.features), default=1.0) or 1.0,
        "side_words": side_words,
        "pairings": found,
        "largest": max((abs(pairing.affinity) for pairing in found), default=1.0) or 1.0,
        "affinity_missing": affinity_missing(data),
        "scores": pair_score_table(data),
        "settings": [[name, setting(value)] for name, value in data.settings.items()],
        "versions": [[name, str(value)] for name, value in data.versions.items()],
    }
    return page_of("pairs.html.j2", content, pair_charts(data), {"steps": [], "texts": []}, ("report.css", "pairs.css"))


def _unit(data: PairReportData) -> str:
    """What the numbers are in."""
    return {
        "gaussian": "in the units of the values",
        "bernoulli": "in log-odds: 0.69 doubles the odds, −0.69 halves them",
        "poisson": "in logarithms: 0.69 doubles the expected count, −0.69 halves it",
    }[data.likelihood]
