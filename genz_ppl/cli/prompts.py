"""`genz prompts`: the texts that a foundation model is sent, and copies of them to edit."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo
from genz_ppl.errors import InputError, OptionError
from genz_ppl.output import printable

if TYPE_CHECKING:
    from genz_ppl.llm.served.prompt_files import Prompt

Own = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="DIR", help="Check and show with the prompts of this folder.", show_default=False),
]
Write = Annotated[
    Path | None,
    typer.Option("--write", metavar="DIR", help="Copy the built-in prompts to this folder, to edit them.", show_default=False),
]

Earlier = Annotated[
    bool, typer.Option("--earlier", help="With --write: prompts of the version before, whose replies may be stored.")
]


def prompts(folder: Own = None, write: Write = None, earlier: Earlier = False, config: options.Config = None) -> None:
    """Show the prompts with their versions.

    Those of a folder are checked and take the place of the built-in ones.
    """
    if folder is not None and write is not None:
        raise OptionError("--prompts and --write exclude each other: --write copies the built-in prompts; drop one of the two")
    if earlier and write is None:
        raise OptionError("--earlier: goes with --write DIR, which copies the built-in prompts; add that, or drop --earlier")
    if write is not None:
        _write(write, earlier)
        return
    from genz_ppl.llm.served.templates import Prompts

    for prompt in Prompts.load(folder).by_name.values():
        _show(prompt)


def _write(folder: Path, earlier: bool) -> None:
    from genz_ppl.llm.served.prompt_files import EARLIER, NAMES, SUFFIX, built_in

    files = {folder / f"{name}{SUFFIX}": built_in(name, earlier) for name in (EARLIER if earlier else NAMES)}
    try:
        for file in files:
            if file.exists():
                raise OptionError(f"--write: {file} is there already and is not overwritten; name another folder or move it away")
        folder.mkdir(parents=True, exist_ok=True)
        for file, text in files.items():
            with file.open("x", encoding="utf-8", newline="\n") as opened:
                opened.write(text)
    except OSError as error:
        raise InputError(f"--write: {folder} cannot be written: {error.strerror or error}; name another folder") from error
    echo(
        f"{len(files)} prompts written to {folder}; edit them, remove those that stay as they are, "
        f"and give --prompts {shlex.quote(str(folder))}"
    )


def _show(prompt: Prompt) -> None:
    title = f"{prompt.name}, version {prompt.version} ({prompt.source or 'built in'})"
    if not sys.stdout.isatty():
        echo(f"== {title}\n--- system\n{prompt.system}\n--- user\n{prompt.user}\n")
        return
    from rich.console import Console, Group
    from rich.panel import Panel
    from rich.text import Text

    texts = [Text(printable(text)) for text in (prompt.system + "\n", prompt.user)]
    parts = (Text("system", style="bold"), texts[0], Text("user", style="bold"), texts[1])
    Console().print(Panel(Group(*parts), title=Text(printable(title)), title_align="left"))
