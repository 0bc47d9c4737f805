"""`genz gold`: which labels by people would tell most of a run's effects."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo


def gold(
    folder: options.Folder,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet file to write.")],
    count: Annotated[int, typer.Option("--count", "-n", metavar="N", help="How many labels.", min=1)] = 200,
    raw: options.Raw = False,
    config: options.Config = None,
) -> None:
    """Choose answers of the run in DIR for people to label.

    Those items and questions whose labels would narrow its effects most.

    Fill in the column answer, yes or no, then: genz compare DIR --annotators run --gold FILE.
    """
    from genz_ppl.cli.sources import reopen_items
    from genz_ppl.cli.tables import check_output, write_table
    from genz_ppl.discovery.annotators import to_label
    from genz_ppl.discovery.discover import Discovery

    check_output(output, (".csv", ".parquet"))
    run = Discovery.load(folder)
    write_table(to_label(run, run.progress, count, reopen_items(run.record.source, run.schema, folder)), output, raw)
    echo(f"{count} labels to give written to {output}; then: genz compare {folder} --annotators run --gold {output}")
