"""A model card: what a run predicts, from what, how well, and where it must not be trusted, in Markdown."""

from __future__ import annotations

import re

from genz_ppl.diagnostics.report.words import metric_words, number
from genz_ppl.discovery.edit.edited_run import locked_texts
from genz_ppl.discovery.run.record import OBJECT
from genz_ppl.discovery.view import RunView
from genz_ppl.output import plural, printable

_MARKUP = re.compile(r"([\\`*_{}\[\]<>#|~!])")


def card_of(run: RunView) -> str:
    """The text of the card. A run that was stopped before its end says so."""
    record, found, table = run.record, run.summary, run.features
    settings, roles, active = record.settings, record.roles, table[table["active"]]
    model = settings.model.removeprefix(OBJECT)
    sides = [f"{len(getattr(record.split, side))} {side}" for side in ("train", "test", "held") if getattr(record.split, side)]
    if record.rest:
        sides.insert(1, f"{record.rest} for the last fit alone")
    listed = f"{', '.join(sides[:-1])} and {sides[-1]}"
    locked, unit = locked_texts(record.edits), run.unit
    rows = [
        f"| {_plain(row['text'])}{' (locked)' if row['text'] in locked else ''} | {number(row['effect'])} | "
        f"{number(row['effect_lower'])} to {number(row['effect_upper'])} | {number(row['p_e'])} | {number(row['prevalence'])} |"
        for _, row in active.sort_values("effect", key=abs, ascending=False).iterrows()
    ]
    edited = f" {plural(len(record.edits), 'edit')} by people followed." if record.edits else ""
    lines = [
        f"# {_plain(record.name)}: {_plain(', '.join(roles.target[:6]))}",
        *(["", f"**Not finished: {run.status}.**"] if run.status != "done" else []),
        "",
        f"A model that predicts {_plain(', '.join(roles.target[:6]))} of an item from the answers to "
        f"{plural(len(active), 'yes/no question')}"
        + (f" and from {_plain(', '.join(roles.covariates))}" if roles.covariates else "")
        + f", found by genz-ppl {record.versions.get('genz-ppl', '')}.",
        "",
        "## Questions",
        "",
        f"| question | effect{f' ({_plain(unit)})' if unit else ''} | 90 % interval | wrong answers | true of |",
        "|---|---|---|---|---|",
        *rows,
        "",
        "## How well it predicts",
        "",
        f"{_plain(found.line())}. {metric_words(found.metric)} on training items: {number(found.train)}.",
        "",
        "## How it was made",
        "",
        f"- Data: {_plain(record.name)}, {listed} items (split by seed {settings.seed}); a model reads "
        f"{_plain(', '.join(roles.readable[:12]))}.",
        f"- Questions worded and answered by `{model}`; link {settings.link}, likelihood {record.likelihood}, inference "
        f"{settings.inference}.{edited}",
        "",
        "## Limits",
        "",
        "- Effects are associations in these data, not causes; intervals are given the questions, which the training items chose "
        "(`genz effects` gives some on items that chose none).",
        "- Answers come from a model and may be wrong or biased about people and groups; their error rates above are estimates.",
        "- Items unlike these are predicted worse than the figures say. Before other use: who is in the data, and who is not?",
    ]
    return printable("\n".join(lines)) + "\n"


def _plain(text: str) -> str:
    """Text that Markdown takes for nothing else, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))
