"""`genz effects`: what each question does to the target, with intervals and p-values to publish."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo, say
from genz_ppl.errors import GenzError, OptionError
from genz_ppl.settings import AUTO

if TYPE_CHECKING:
    import pandas as pd

Gold = Annotated[
    Path | None,
    typer.Option(
        "--gold",
        metavar="FILE",
        help="Labels by people: a row an item with its id, a column a question (its text or id), yes or no. See --sample.",
        show_default=False,
    ),
]
Prior = Annotated[
    str | None,
    typer.Option(
        "--error-rate-prior",
        metavar="A,B",
        help="Without --gold: how often answers are wrong, as after A wrong and B right ones; none: effects of the answers "
        "themselves \\[that of the run; none with rules].",
        show_default=False,
    ),
]
Sample = Annotated[
    int | None,
    typer.Option("--sample", metavar="N", help="Write N items drawn at random to --output, to be labelled.", show_default=False),
]
Output = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet file to write.", show_default=False)
]


def effects(
    folder: options.Folder,
    gold: Gold = None,
    level: Annotated[float, typer.Option("--level", help="Probability with which an interval holds the effect.")] = 0.95,
    error_rate_prior: Prior = None,
    sample: Sample = None,
    seed: Annotated[int, typer.Option("--seed", help="Of --sample.", min=0)] = 0,
    output: Output = None,
    latex: Annotated[bool, typer.Option("--latex", help="Write a table for a paper.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON: rows, and what they rest on.")] = False,
    raw: options.Raw = False,
    config: options.Config = None,
) -> None:
    """Estimate effects on items that had no part in choosing questions.

    With --gold the intervals hold whatever is wrong with the answers; without, they rest on an assumption that is said.
    """
    if not 0 < level < 1:
        raise OptionError(f"--level: expected a number between 0 and 1, got {level:g}")
    if latex and as_json:
        raise OptionError("--latex and --json exclude each other: drop one of the two")
    if sample is not None and (output is None or gold is not None):
        raise OptionError("--sample: writes the items to label to --output FILE, and goes with no --gold; change that")
    prior = None if error_rate_prior == "none" else AUTO if error_rate_prior is None else options.pair(error_rate_prior)
    from genz_ppl.cli.sources import items_of, read_labels, reopen_items
    from genz_ppl.cli.tables import check_output, write_table
    from genz_ppl.discovery.discover import Discovery
    from genz_ppl.discovery.estimates import sample_to_label

    if output is not None:
        check_output(output, (".csv", ".parquet"))
    run = Discovery.load(folder)
    grouped = run.schema.group is not None  # which the folder does not hold
    items = reopen_items(run.record.source, run.schema, folder) if grouped else items_of(run, folder)
    if sample is not None and output is not None:
        with suppress(GenzError):  # the texts are for those who label; the ids do where the file is gone
            items = reopen_items(run.record.source, run.schema, folder)
        write_table(sample_to_label(run, run.progress, sample, seed, items), output, raw)
        echo(f"{sample} items to label written to {output}; fill in yes or no, then: genz effects {folder} --gold {output}")
        return
    table = run.effects(None if gold is None else read_labels(gold), level, prior, items)
    if output is not None:
        write_table(table, output, raw)
    if as_json:
        rows = json.loads(table.to_json(orient="records", double_precision=15))
        echo(json.dumps({"effects": rows, **table.attrs}, ensure_ascii=False))
    elif latex:
        from genz_ppl.cli.latex import latex_table

        echo(latex_table(table))
    else:
        _print(table)


def _print(table: pd.DataFrame) -> None:
    from genz_ppl.cli.tables import number, print_table
    from genz_ppl.diagnostics.confirmed import confirmed_words

    if table.empty:
        say("the run kept no question")
        return
    several, level = table["target"].nunique() > 1, table.attrs["level"]
    rows = [
        [
            row["feature"],
            *([row["target"]] if several else []),
            f"{row['effect']:+.4g}" if row["effect"] == row["effect"] else "-",
            f"{number(row['lower'], 3)} to {number(row['upper'], 3)}",
            *(number(row[name], 2) for name in ("p", "p_holm", "p_bh")),
            row["method"],
        ]
        for _, row in table.iterrows()
    ]
    print_table(
        ["question", *(["target"] if several else []), "effect", f"{100 * level:g} % interval", "p", "Holm", "BH", "from"], rows
    )
    for line in confirmed_words(table):
        echo(line)
