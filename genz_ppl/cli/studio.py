"""`genz studio`: a page on this machine to watch a run and steer it."""

from __future__ import annotations

import webbrowser
from typing import Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo
from genz_ppl.cli.pair_sources import holds_pairs
from genz_ppl.errors import OptionError


@options.takes(*model_options.of(*model_options.CHANGEABLE), *model_options.SAME)
def studio(
    context: typer.Context,
    folder: options.Folder,
    *,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Open a page on this machine to watch the run in DIR and steer it.

    Read examples on both sides of a question, veto, reword, lock or add questions, undo, see the error move. Needs the extra
    studio. Only this machine reaches the page, and only with the address that is printed.
    """
    try:
        from genz_ppl.studio.server import serve
    except ImportError as error:
        raise OptionError(f"studio: needs starlette and uvicorn ({error}): pip install 'genz-ppl[studio]'") from None
    if holds_pairs(folder):
        raise OptionError(f"{folder}: runs of genz cooccur cannot be steered; give a run of genz fit")
    from genz_ppl.cli.sources import reopen_items
    from genz_ppl.discovery.run.folder import RunDirectory
    from genz_ppl.studio.bench import Bench

    def items(directory: RunDirectory) -> Any:
        record = directory.record()
        return reopen_items(record.source, record.roles, directory.path)

    def opened(address: str) -> None:
        echo(f"{address}  (Ctrl-C ends it)")
        if browser:
            webbrowser.open(address)

    RunDirectory(folder).record()
    with model_options.flags():
        bench = Bench(folder, model_options.opening(context.params, False), items)
    try:
        serve(bench, port, opened)
    except OSError as error:
        raise OptionError(f"--port {port}: cannot be used ({error.strerror}); choose another, or 0") from None
