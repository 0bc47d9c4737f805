"""A table of effects as LaTeX, for a paper; needs no package but booktabs."""

from __future__ import annotations

import pandas as pd

_SPECIAL = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}"},
}


def latex_table(table: pd.DataFrame) -> str:
    """The table of `Discovery.effects` with its caption, which says what the intervals rest on."""
    several, attrs = table["target"].nunique() > 1, table.attrs
    headings = ["Question", *(["Target"] if several else []), "Effect", f"{100 * attrs['level']:g}\\,\\% interval", "$p$ (Holm)"]
    rows = [
        [
            escaped(row["feature"]),
            *([escaped(row["target"])] if several else []),
            _number(row["effect"]),
            f"[{_number(row['lower'])}, {_number(row['upper'])}]" if row["lower"] == row["lower"] else "--",
            _p(row["p_holm"]),
        ]
        for _, row in table.iterrows()
    ]
    labels = f" with {attrs['gold_items']} gold labels a question" if attrs["gold_items"] else ""
    caption = (
        f"Effects of yes instead of no, other questions and covariates equal; chosen on {attrs['chosen_on']}, estimated on "
        f"{attrs['estimated_on']}{labels}. Intervals: {attrs['assumed']}."
    )
    lines = [" & ".join(row) + r" \\" for row in rows]
    columns = "p{0.42\\linewidth}" + ("l" if several else "") + "rrr"
    head = ["\\begin{table}", f"\\begin{{tabular}}{{{columns}}}", "\\toprule", " & ".join(headings) + r" \\", "\\midrule"]
    foot = ["\\bottomrule", "\\end{tabular}", f"\\caption{{{escaped(caption)}}}", "\\end{table}"]
    return "\n".join([*head, *lines, *foot])


def escaped(text: str) -> str:
    """The text, on one line, as LaTeX prints it."""
    return "".join(_SPECIAL.get(character, character) for character in " ".join(text.split()))


def _number(value: float) -> str:
    if value != value:
        return "--"
    shown, _, power = (f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}").partition("e")
    return f"${shown} \\times 10^{{{int(power)}}}$" if power else f"${shown}$"


def _p(value: float) -> str:
    return "--" if value != value else "$<0.001$" if value < 0.001 else f"${value:.3f}$"
