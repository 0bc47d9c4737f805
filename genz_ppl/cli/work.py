"""`genz work`: ask, on any host, what runs have posted in a shared store."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import echo, resumable_answers
from genz_ppl.errors import OptionError

Place = Annotated[
    str, typer.Option("--store", metavar="URL", help="The store, postgresql://USER@HOST/DATABASE.", show_default=False)
]
Model = Annotated[str, typer.Option("--model", metavar="NAME", help="The model of the runs, openai:NAME.", show_default=False)]
Idle = Annotated[
    float | None,
    typer.Option("--idle", metavar="SECONDS", help="End after so long without work; without it never.", show_default=False),
]


@options.takes(*model_options.of("base_url", "workers", "timeout", "attempts"))
def work(
    context: typer.Context, store: Place, model: Model, *, idle: Idle = None, quiet: options.Quiet = False, **_: Any
) -> None:
    """Make the calls of runs that were started with --workers 0.

    Of those with the same store, model and server, on any number of hosts.

    What is asked, how, and the caps come from the runs; the key is this host's OPENAI_API_KEY. Safe to kill: what was answered is
    stored, and what was in flight is asked again by others.
    """
    from genz_ppl.llm.served.settings import ModelSettings, is_served, served_name
    from genz_ppl.llm.store.places import open_shared

    if not is_served(model):
        raise OptionError(f"--model: expected openai:NAME, got {model!r}; others need no workers")
    given = model_options.given(context.params)
    if given.get("workers") == 0:
        raise OptionError("--workers: expected at least 1, got 0; a worker is what makes the calls")
    if idle is not None and not idle >= 0:
        raise OptionError(f"--idle: expected a number of seconds of at least 0, got {idle:g}")
    settings = ModelSettings(**{**given, "model": served_name(model)})
    with open_shared(store) as shared, resumable_answers():
        from genz_ppl.llm.served.posting import Worker  # with psycopg, an extra

        worker = Worker(shared, settings, (lambda words: None) if quiet else echo)
        if not quiet:
            echo(f"at work for {settings.model} at {worker.endpoint}")
        worker.run(idle)
