"""What a table of effects comes to, in words: said by the command line and by reports alike."""

from __future__ import annotations

import pandas as pd

from genz_ppl.output import plural


def confirmed_words(table: pd.DataFrame) -> list[str]:
    """How many questions are confirmed on items they were not found on, and what intervals and p-values rest on.

    table: of `Discovery.effects`. A question is confirmed where Holm's adjusted p-value of any of its rows is below 1 - level.
    """
    attrs, wrong = table.attrs, 1 - table.attrs["level"]
    found = table.loc[table["p_holm"] < wrong, "feature"].nunique()
    whole = table["feature"].nunique()
    what = "the truth" if attrs["gold_items"] else "the answers"
    confirmed = (
        f"{found} of {plural(whole, 'question')} confirmed on items {'it was' if whole == 1 else 'they were'} not found on "
        f"({attrs['estimated_on']}; {what}: Holm, {100 * wrong:.2g} %)"
    )
    used = f"{plural(attrs['gold_items'], 'gold label')} a question: " if attrs["gold_items"] else ""
    return [confirmed, f"intervals: {used}{attrs['assumed']}"]
