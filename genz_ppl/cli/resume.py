"""`genz resume`: go on where a stopped or killed run was."""

from __future__ import annotations

from typing import Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.cooccur import resume_pairs
from genz_ppl.cli.messages import echo, resumable
from genz_ppl.cli.pair_sources import holds_pairs
from genz_ppl.cli.progress import LogJson, followed, tables_wanted


@options.takes(*model_options.of(*model_options.CHANGEABLE, "batch"), *model_options.SAME)
def resume(
    context: typer.Context,
    folder: options.Folder,
    *,
    device: options.OtherDevice = None,
    ceiling: options.Ceiling = True,
    quiet: options.Quiet = False,
    log_json: LogJson = None,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Go on where the stopped run in DIR was, to the same end.

    With higher caps if given. A run on standard input takes it again.
    """
    with resumable(folder), model_options.flags():
        two_sided = holds_pairs(folder)
        opening = model_options.opening(context.params, two_sided)
        if two_sided:
            resume_pairs(folder, quiet, opening, log_json)
        else:
            _resume(folder, quiet, opening, device, ceiling, log_json)


def _resume(
    folder: options.Folder, quiet: bool, opening: dict[str, Any], device: str | None, ceiling: bool, log_json: str | None
) -> None:
    from genz_ppl.cli.baseline import print_readings
    from genz_ppl.cli.sources import reopen_items
    from genz_ppl.cli.tables import print_features, print_summary
    from genz_ppl.discovery.baseline import readings
    from genz_ppl.discovery.resume import resume as go_on
    from genz_ppl.discovery.run.folder import RunDirectory
    from genz_ppl.discovery.watch import Display

    record = RunDirectory(folder).record()
    if record.status == "done":
        echo(f"{folder}: the run is done already; 'genz features' shows what it found")
        return
    with followed(quiet, log_json) as ways, Display(**ways) as display:
        items = reopen_items(record.source, record.roles, folder, again=True)
        run = go_on(folder, items, on_step=display, on_answers=display.answers, device=device, **opening)
    if not tables_wanted(log_json):
        return
    print_features(run.features, unit=run.unit)
    print_summary(run, ceiling and record.baseline is None)
    if record.baseline is not None:
        print_readings(readings(run.curve))
