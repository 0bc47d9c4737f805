"""`genz resume`: go on where a stopped or killed run was."""

from __future__ import annotations

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import resumable


def resume(folder: options.Folder, quiet: options.Quiet = False, config: options.Config = None) -> None:
    """Go on where the stopped run in DIR was, to the end it would have had."""
    with resumable(folder):
        _resume(folder, quiet)


def _resume(folder: options.Folder, quiet: bool) -> None:
    from genz_ppl.cli.progress import Display
    from genz_ppl.cli.sources import reopen_items
    from genz_ppl.cli.tables import print_features, print_summary
    from genz_ppl.discovery import discover
    from genz_ppl.discovery.run_directory import RunDirectory

    record = RunDirectory(folder).record()
    if record["status"] == "done":
        typer.echo(f"{folder}: the run is done already; 'genz features' shows what it found")
        return
    with Display(shown=False if quiet else None) as display:
        run = discover.resume(folder, reopen_items(record, folder), on_step=display)
    print_features(run.features)
    print_summary(run)
