"""The `genz` command: its parts, and how every outcome becomes an exit code and one line."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import Annotated, Any

import typer

from genz_ppl.cli.baseline import baseline
from genz_ppl.cli.card import card
from genz_ppl.cli.coldstart import coldstart
from genz_ppl.cli.compare import compare
from genz_ppl.cli.cooccur import cooccur
from genz_ppl.cli.demo import demo
from genz_ppl.cli.diagnose import diagnose
from genz_ppl.cli.edit import edit
from genz_ppl.cli.effects import effects
from genz_ppl.cli.features import features
from genz_ppl.cli.fit import fit
from genz_ppl.cli.gold import gold
from genz_ppl.cli.messages import INTERRUPTED, RunStoppedError, echo, noted, say, stoppable
from genz_ppl.cli.pipeline import pipeline
from genz_ppl.cli.plan import plan
from genz_ppl.cli.predict import predict
from genz_ppl.cli.profile import profile_app
from genz_ppl.cli.prompts import prompts
from genz_ppl.cli.recommend import recommend
from genz_ppl.cli.report import report
from genz_ppl.cli.resume import resume
from genz_ppl.cli.search import search
from genz_ppl.cli.store import store_app
from genz_ppl.cli.studio import studio
from genz_ppl.cli.version import show_version
from genz_ppl.cli.work import work
from genz_ppl.errors import GenzError

# Typer hands on its parser's errors without naming their base.
_UsageError: type[Exception] = typer.BadParameter.__bases__[0]

app = typer.Typer(name="genz", pretty_exceptions_enable=False, rich_markup_mode="rich")
for command in (
    demo,
    plan,
    fit,
    baseline,
    cooccur,
    resume,
    predict,
    features,
    edit,
    studio,
    effects,
    gold,
    diagnose,
    compare,
    report,
    card,
    coldstart,
    recommend,
    pipeline,
    prompts,
    work,
    search,
):
    app.command()(command)
app.command("version")(show_version)
app.add_typer(profile_app, name="profile")
app.add_typer(store_app, name="store")


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(f"genz {version('genz-ppl')}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def _genz(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Show the version and leave.")
    ] = False,
) -> None:
    """Find the yes/no questions about your items whose answers explain a target.

    `genz demo` shows it at work; `genz fit FILE --target COLUMN --out DIR` does it on your table.
    """
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def _command() -> Any:
    """All commands. Completion of a shell's words is at hand (`genz --install-completion`) but not in the help, which is long."""
    command = typer.main.get_command(app)
    for parameter in command.params:
        if "completion" in (parameter.name or ""):
            parameter.hidden = True  # type: ignore[attr-defined]
    return command


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code; messages go to stderr, one line each.

    0 done; 2 wrong input or options; 3 a cap is reached, resumable; 4 the foundation model failed, resumable; 130
    interrupted, resumable. Anything else that goes wrong is a fault of the program and raises.
    """
    try:
        with noted(), stoppable():
            code = _command()(args=list(arguments), prog_name="genz", standalone_mode=False)
    except RunStoppedError as stop:
        say(stop)
        return stop.code
    except GenzError as error:
        say(error)
        return error.exit_code
    except _UsageError as error:
        say(getattr(error, "format_message", error.__str__)())
        return 2
    except (typer.Abort, KeyboardInterrupt):
        say("interrupted")
        return INTERRUPTED
    return code if isinstance(code, int) else 0


def main() -> None:
    """The entry point of the `genz` script."""
    code = run(sys.argv[1:])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # all is done: nothing is left to interrupt but what libraries tidy up
    sys.exit(code)


if __name__ == "__main__":
    main()
