"""`genz report`: one HTML file with all there is to see of a run, and figures for papers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo
from genz_ppl.cli.pair_sources import has_tables, holds_pairs, holds_recommender, reopen_sides
from genz_ppl.errors import InputError, OptionError, RunDirectoryError

_BASELINE_COLUMNS = ("n_features", "test_error")


def report(
    folder: options.Folder,
    source: Annotated[
        str | None,
        typer.Argument(metavar="SOURCE", help="Where the items are now, if not where the run found them.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="The .html file to write. \\[DIR/report.html]", show_default=False),
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="FOLDER", help="Charts for papers too, as pdf and png.", show_default=False),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline",
            metavar="DIR",
            help="The run of genz baseline to compare with, or a .csv with its n_features and test_error.",
            show_default=False,
        ),
    ] = None,
    config: options.Config = None,
) -> None:
    """Write what the run in DIR found, and how, as one HTML file.

    It needs no network.
    """
    path = folder / "report.html" if output is None else output
    if holds_pairs(folder) or holds_recommender(folder):
        kind = "a run on two sides" if holds_pairs(folder) else "a recommender"
        for name, given in (("SOURCE", source), ("--figures", figures), ("--baseline", baseline)):
            if given is not None:
                raise OptionError(f"{name}: the report of {kind} does not take it; leave it out")
        (_report_on_two_sides if holds_pairs(folder) else _report_of_recommender)(folder, path)
        return
    from genz_ppl.cli.sources import absolute_source, reopen_items
    from genz_ppl.diagnostics.report.write import check_destination
    from genz_ppl.discovery.discover import Discovery
    from genz_ppl.discovery.run.folder import ITEMS_FILE

    run = Discovery.load(folder)
    check_destination(path, figures)
    curve = None if baseline is None else _curve(baseline)
    items, note = None, ""
    try:
        items = reopen_items(run.record.source if source is None else absolute_source(source), run.schema, folder)
    except (InputError, RunDirectoryError) as error:
        if source is not None or not (folder / ITEMS_FILE).exists():
            raise
        if not run.record.keep_texts:
            note = f", without texts: {str(error).partition(';')[0]}; give SOURCE to show them"
    run.report(path, items, curve, figures)
    echo(f"written to {path}" + ("" if figures is None else f"; figures in {figures}") + note)


def _report_of_recommender(folder: Path, path: Path) -> None:
    from genz_ppl.recommend.result import Recommendation

    Recommendation.load(folder).report(path)
    echo(f"written to {path}")


def _report_on_two_sides(folder: Path, path: Path) -> None:
    """With texts and predictions where the tables are still there, else without."""
    from genz_ppl.diagnostics.report.write import check_destination
    from genz_ppl.discovery.pairs.folder import PairDirectory
    from genz_ppl.discovery.pairs.result import CoOccurrenceRun

    check_destination(path)
    record = PairDirectory(folder).record()
    if not has_tables(record):
        CoOccurrenceRun.load(folder).report(path)
        echo(f"written to {path}, without texts and predictions: the tables of the run are not there any more")
        return
    CoOccurrenceRun.load(folder).report(path, *reopen_sides(record, folder))
    echo(f"written to {path}")


def _curve(path: Path) -> list[tuple[int, float]]:
    """(number of features, test error) from a csv."""
    import pandas as pd

    file = path / "curve.csv" if path.is_dir() else path
    try:
        table = pd.read_csv(file)
    except FileNotFoundError:
        raise OptionError(f"--baseline {path}: there is no {file}; give a .csv file or the folder of a run") from None
    except (OSError, ValueError) as error:
        raise InputError(f"--baseline {path}: cannot be read as csv ({' '.join(str(error).split())})") from None
    missing = [name for name in _BASELINE_COLUMNS if name not in table.columns]
    if missing:
        raise InputError(f"--baseline {path}: expected the columns n_features and test_error, there is no {missing[0]!r}")
    try:
        if "event" in table.columns:  # of a run
            from genz_ppl.discovery.baseline import pruning_path

            points = [(point.n_features, point.test_error) for point in pruning_path(table)]
            table = pd.DataFrame(points, columns=list(_BASELINE_COLUMNS))
        table = table.drop_duplicates("n_features")
        pairs = [(int(count), float(error)) for count, error in zip(*(table[name] for name in _BASELINE_COLUMNS), strict=True)]
    except (ValueError, LookupError):
        raise InputError(f"--baseline {path}: expected numbers in n_features and test_error; correct the file") from None
    return [(count, error) for count, error in pairs if error == error]
