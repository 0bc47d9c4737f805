"""`genz coldstart`: how many ratings the predictions of a run are worth, and what both together give."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo

if TYPE_CHECKING:
    import pandas as pd

    from genz_ppl.discovery.ratings.coldstart import ColdStart
    from genz_ppl.discovery.ratings.rated_run import OnItem

# The counts of ratings that are printed; the file has all.
SHOWN = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000)


def coldstart(
    folder: options.Folder,
    n_items: Annotated[int, typer.Option("--items", min=1, help="Test items drawn; all, if there are fewer.")] = 100,
    n_ratings: Annotated[int, typer.Option("--ratings", min=1, help="Ratings given back to each item.")] = 1000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the items and of the order of their ratings.")] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The .csv file to write. \\[DIR/coldstart.csv]", show_default=False),
    ] = None,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="A figure of the curves, one .html file.", show_default=False)
    ] = None,
    quiet: options.Quiet = False,
    config: options.Config = None,
) -> None:
    """How many ratings the predictions of the run in DIR are worth.

    The run's targets must be embeddings of ratings (movielens:DIR, netflix:DIR). Each item is taken out of the ratings and gets
    them back in random order: cosine similarity to its full embedding, from the ratings alone, from the prediction alone, and
    from both (Fig. 5 of the paper and the warm start).
    """
    path = folder / "coldstart.csv" if output is None else output
    from genz_ppl.cli.tables import check_output, write_table
    from genz_ppl.discovery.discover import Discovery
    from genz_ppl.discovery.ratings.coldstart import simulate
    from genz_ppl.discovery.ratings.rated_run import RatedRun

    check_output(path, (".csv",))
    run = Discovery.load(folder)
    if html is not None:
        from genz_ppl.diagnostics.report.coldstart import check_destination, write_figure

        check_destination(html)
    with _progress(sys.stderr.isatty() and not quiet) as part:
        rated = RatedRun.recorded(run, seed, part("learning from training items"))
        found = simulate(rated, n_items, n_ratings, seed, part("giving ratings back"))
    table = found.table
    write_table(table, path, float_format="%.6g")
    if html is not None:
        write_figure(table, sentence(found), html)
    _print(table)
    echo(sentence(found))
    echo(f"{len(found.items)} test items; written to {path}" + ("" if html is None else f" and {html}"))


def sentence(found: ColdStart) -> str:
    """What the prediction is worth, in words."""
    if found.worth is None:
        longest = len(found.table)
        return f"the prediction without any rating is worth more than {longest} {'rating' if longest == 1 else 'ratings'}"
    return f"the prediction without any rating is worth about {found.worth} {'rating' if found.worth == 1 else 'ratings'}"


def _print(table: pd.DataFrame) -> None:
    from genz_ppl.cli.tables import print_table

    shown = table[table["n_ratings"].isin(SHOWN)]
    rows = [
        [str(int(row["n_ratings"])), str(int(row["n_items"])), *(_with_band(row, name) for name in ("ratings", "prior", "both"))]
        for _, row in shown.iterrows()
    ]
    print_table(["ratings", "items", "ratings only", "prediction only", "both"], rows)
    echo("mean cosine similarity to the full embedding and, in brackets, the middle 90 % of the items")


def _with_band(row: pd.Series[float], name: str) -> str:
    return f"{row[f'{name}_mean']:.3f} ({row[f'{name}_lower']:.2f} to {row[f'{name}_upper']:.2f})"


@contextmanager
def _progress(shown: bool) -> Iterator[Callable[[str], OnItem]]:
    """Makes a bar on stderr for each part of the work, by its words; shows nothing unless wanted."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not shown) as progress:

        def part(words: str) -> OnItem:
            task = progress.add_task(words, total=None)
            return lambda done, wanted: progress.update(task, completed=done, total=wanted)

        yield part
