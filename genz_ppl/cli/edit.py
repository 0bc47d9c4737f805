"""`genz edit`: steer a finished run by hand."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable
from genz_ppl.cli.pair_sources import holds_pairs
from genz_ppl.cli.progress import LogJson, followed, tables_wanted
from genz_ppl.errors import OptionError


def _questions(flag: str, text: str, metavar: str = "QUESTION") -> Any:
    return typer.Option(flag, metavar=metavar, help=text, show_default=False)


@options.takes(*model_options.of(*model_options.CHANGEABLE), *model_options.SAME)
def edit(
    context: typer.Context,
    folder: options.Folder,
    *,
    drop: Annotated[list[str] | None, _questions("--drop", "Out, and not to come back; by id or text, repeatable.")] = None,
    add: Annotated[list[str] | None, _questions("--add", "A question of your own; repeatable.", "TEXT")] = None,
    reword: Annotated[list[str] | None, _questions("--reword", "As in f3='has a lift'; repeatable.", "ID=TEXT")] = None,
    lock: Annotated[list[str] | None, _questions("--lock", "Never to be pruned; repeatable.")] = None,
    unlock: Annotated[list[str] | None, _questions("--unlock", "The reverse of --lock; repeatable.")] = None,
    mine: Annotated[int, typer.Option("--mine", metavar="N", help="Then try so many additions, and prune.")] = 0,
    undo: Annotated[bool, typer.Option("--undo", help="Go back to what the run was before its last edit.")] = False,
    quiet: options.Quiet = False,
    log_json: LogJson = None,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Drop, add, reword or lock questions of the run in DIR, and refit.

    Asks only what is new. The run is changed in place; what it was is kept for --undo, and `genz resume` goes on after a stop.
    """
    if holds_pairs(folder):
        raise OptionError(f"{folder}: runs of genz cooccur cannot be edited; give a run of genz fit")
    changes: dict[str, Any] = {"drop": drop or (), "add": add or (), "lock": lock or (), "unlock": unlock or (), "mine": mine}
    changes["reword"] = dict(_renamed(text) for text in reword or ())
    if undo and any(changes.values()):
        raise OptionError("--undo: goes back and changes nothing else; give it alone")
    from genz_ppl.cli.sources import reopen_items
    from genz_ppl.cli.tables import print_features, print_summary
    from genz_ppl.discovery.edit.editing import put_back
    from genz_ppl.discovery.result import Discovery
    from genz_ppl.discovery.run.folder import RunDirectory
    from genz_ppl.discovery.watch import Display

    if undo:
        put_back(RunDirectory(folder))
        run = Discovery.load(folder)
    else:
        with resumable(folder), model_options.flags(), followed(quiet, log_json) as ways, Display(**ways) as display:
            run = Discovery.load(folder, **model_options.opening(context.params, False))
            items = reopen_items(run.record.source, run.schema, folder)
            run = run.edit(**changes, items=items, on_step=display, on_answers=display.answers)
    if tables_wanted(log_json):
        print_features(run.features, unit=run.unit)
        print_summary(run)
        if not undo:
            echo("genz edit DIR --undo takes it back")


def _renamed(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not equals or not new.strip():
        raise OptionError(f"--reword: expected ID=TEXT, got {text!r}")
    return old.strip(), new
