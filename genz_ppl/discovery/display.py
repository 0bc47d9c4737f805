"""A run in a line, and as a notebook shows it: the line, its questions and a small learning curve."""

from __future__ import annotations

import base64
from html import escape
from io import BytesIO

import pandas as pd

from genz_ppl.diagnostics.report.steps import steps_of
from genz_ppl.diagnostics.report.words import counted, listed, metric_words, number
from genz_ppl.discovery.view import RunView

# Columns of the feature table that a notebook need not show, and the most rows of it.
_HIDDEN = ["id", "origin", "added_at", "removed_at", "active"]
_MOST_ROWS = 50


def one_line(run: RunView) -> str:
    """How many questions explain what, how well beside none of them, and where the run is."""
    first, last = run.curve.iloc[0], run.curve.iloc[-1]
    count, metric = int(last["n_features"]), str(last["metric"])
    errors = f"{metric_words(metric)} {number(last['test_error'])} on test items"
    return (
        f"{counted(count, 'question')} {'explains' if count == 1 else 'explain'} {listed(run.schema.target)}; {errors} "
        f"({number(first['test_error'])} without questions), {number(last['train_error'])} on training items"
        + ("" if run.status == "done" else "; not at its end")
        + ("" if run.directory is None else f"; in {run.directory.path}")
    )


def page(run: RunView) -> str:
    """The run as HTML that holds all it shows."""
    features = run.features[run.features["active"].astype(bool)].drop(columns=_HIDDEN).rename(columns={"text": "question"})
    with pd.option_context("display.max_colwidth", None):
        table = features.to_html(index=False, na_rep="–", float_format=number, max_rows=_MOST_ROWS, border=0)
    return f"<div><p>{escape(one_line(run))}</p>{table if len(features) else ''}{_curve(run)}</div>"


def _curve(run: RunView) -> str:
    """The learning curve as a picture in the page; nothing where matplotlib is missing."""
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure

        from genz_ppl.diagnostics.report.figures import STYLE, learning_curve
    except ImportError:
        return ""
    picture = BytesIO()
    with rc_context(STYLE):
        figure = Figure(figsize=(5.0, 2.2), layout="constrained")
        learning_curve(figure.add_subplot(), steps_of(run.curve, run.features), str(run.curve["metric"].iloc[-1]))
        figure.savefig(picture, format="png", dpi=90)
    return f'<img alt="learning curve" src="data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()}">'
