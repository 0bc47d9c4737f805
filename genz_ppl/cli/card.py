"""`genz card`: the text of a model card for a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo
from genz_ppl.cli.pair_sources import holds_pairs
from genz_ppl.errors import OptionError
from genz_ppl.output import in_one_stroke, not_written


def card(
    folder: options.Folder,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="A .md file; else standard output.", show_default=False)
    ] = None,
    config: options.Config = None,
) -> None:
    """Write a model card for the run in DIR, in Markdown.

    What it predicts, from what, its questions with effects, how well it does on test items, how it was made, and its limits.
    """
    if holds_pairs(folder):
        raise OptionError(f"{folder}: cards are for runs of genz fit")
    from genz_ppl.discovery.card import card_of
    from genz_ppl.discovery.result import Discovery

    text = card_of(Discovery.load(folder))
    if output is None:
        echo(text, nl=False, data=True)
        return
    try:
        with in_one_stroke(output) as partial:
            partial.write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise not_written(f"--output {output}", error) from None
    echo(f"written to {output}")
