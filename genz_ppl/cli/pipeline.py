"""`genz pipeline`: profiles, questions mined for the recommender, the recommender, its report, from one file; resumable."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from genz_ppl.alone import alone
from genz_ppl.cli.messages import RunStoppedError, echo, say
from genz_ppl.errors import InputError, OptionError

_OWN: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("items", "id", "pairs", "out", "split"), (str,)),
    **dict.fromkeys(("core", "seed", "dimensions"), (int,)),
    "at-least": (int, float),
}
_NEEDED = ("items", "id", "pairs", "out")
_TABLES = ("pipeline", "profile", "fit", "recommend")
_OWN_OF = {
    "recommend": ("at-least", "core", "split", "out", "items"),
    "fit": ("out", "target", "id"),
    "profile": ("output", "questions"),
}


def pipeline(
    config: Annotated[
        Path,
        typer.Argument(
            metavar="CONFIG.toml", help="Tables \\[pipeline], \\[profile], \\[fit], \\[recommend].", show_default=False
        ),
    ],
    plan: Annotated[bool, typer.Option("--plan", help="Show the commands and what is done already; do nothing.")] = False,
) -> None:
    """Run profile → fit → recommend → report as one file says.

    Given again, it goes on where it stopped.

    Questions are mined for the recommender: `genz fit` explains the factors that a backbone finds in training pairs, and their
    answers are the features that it is proved with, on the pairs that neither has seen. Each step is a command that is shown.
    """
    own, folder = _read(config)
    with alone(None if plan else folder):
        _carry_out(own, folder, config, plan)


def _carry_out(own: dict[str, Any], folder: Path, config: Path, plan: bool) -> None:
    """Show every step, and do those that are not done, or none."""
    for at, (name, *_) in enumerate(_steps(own, folder, config)):
        _, finished, command = _steps(own, folder, config)[at]  # what is done says what comes next
        if finished:
            echo(f"{name}: done already")
            continue
        echo(f"{name}: {shlex.join(['genz', *command]) if isinstance(command, list) else 'of the training pairs'}")
        if not plan:
            _run(name, command) if isinstance(command, list) else command()


def _read(config: Path) -> tuple[dict[str, Any], Path]:
    """What [pipeline] says, checked, with paths from the file's folder; and the folder of all that is written."""
    try:
        content = tomllib.loads(config.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{config}: cannot be read ({error.strerror}); check the path") from None
    except ValueError as error:
        raise InputError(f"{config}: not valid TOML ({error}); correct the file") from None
    own = _checked(content, config)
    base = config.absolute().parent
    for key in ("items", "pairs", "out"):
        own[key] = os.path.normpath(base / Path(own[key]).expanduser())
    folder = Path(own["out"])
    if not folder.parent.is_dir():
        raise OptionError(f"{config}: [pipeline] out: there is no folder {folder.parent}; make it first")
    for key in ("items", "pairs"):
        if not Path(own[key]).is_file():
            raise InputError(f"{config}: [pipeline] {key}: there is no file {own[key]}; check the path")
    return own, folder


def _checked(content: dict[str, Any], config: Path) -> dict[str, Any]:
    """What [pipeline] says. Raises OptionError for what the file should not say."""
    strange = [name for name in content if name not in _TABLES]
    if strange:
        raise OptionError(f"{config}: {strange[0]!r} is none of the tables {', '.join(_TABLES)}; put it into one of them")
    own = {key.replace("_", "-"): value for key, value in content.get("pipeline", {}).items()}
    for key, value in own.items():
        if key not in _OWN or isinstance(value, bool) or not isinstance(value, _OWN[key]):
            known = ", ".join(_OWN)
            raise OptionError(f"{config}: [pipeline] {key} = {value!r}: expected one of {known}, each a text or number")
    missing = [key for key in _NEEDED if key not in own]
    if missing:
        raise OptionError(f"{config}: [pipeline] says no {missing[0]}; add it")
    for table, keys in _OWN_OF.items():
        there = [key for key in content.get(table, {}) if key.replace("_", "-") in keys]
        if there:
            raise OptionError(f"{config}: [{table}] {there[0]}: the pipeline says this itself; take it out, or into [pipeline]")
    if own.get("split", "cold") not in ("cold", "random", "time"):
        raise OptionError(f"{config}: [pipeline] split: expected cold, random or time, got {own['split']!r}")
    return own


def _steps(own: dict[str, Any], folder: Path, config: Path) -> list[tuple[str, bool, Any]]:
    """(name, whether it is done, the command line or what to call) of each step, in order."""
    run, made, answered = folder / "questions", folder / "recommend", folder / "items.parquet"
    table, split = folder / "mining.parquet", folder / "pairs.parquet"
    told = ["--config", str(config)]
    profile = ["profile", "make", own["items"], "--id", own["id"], "--questions", str(run), "--output", str(answered), *told]
    going_on = (run / "run.json").exists()
    fit = ["resume", str(run)] if going_on else ["fit", str(table), "--id", own["id"], "--out", str(run), *told]
    if not going_on:
        fit += [part for name in _targets(table) for part in ("--target", name)]
    shown = ["recommend", str(split), "--items", str(answered), "--split", "column", "--core", "1", "--out", str(made), *told]
    return [
        ("factors", table.exists() and split.exists(), lambda: _write_factors(own, table, split)),
        ("fit", _is_done(run), fit),
        ("profile", (made / "recommend.json").exists(), profile),
        ("recommend", (made / "recommend.json").exists(), shown),
        ("report", (made / "report.html").exists(), ["report", str(made)]),
    ]


def _targets(table: Path) -> list[str]:
    if not table.exists():
        return ["taste_…"]
    from pyarrow import parquet

    from genz_ppl.recommend.mining import PREFIX

    return [name for name in parquet.read_schema(table).names if name.startswith(PREFIX)]


def _is_done(run: Path) -> bool:
    import json

    try:
        return bool(json.loads((run / "run.json").read_bytes())["status"] == "done")
    except (OSError, ValueError, KeyError):
        return False


def _write_factors(own: dict[str, Any], table: Path, split: Path) -> None:
    """Both tables, each in one stroke, the items first: the step is done when both are there."""
    from genz_ppl.data.reading import read_table
    from genz_ppl.output import in_one_stroke
    from genz_ppl.recommend.mining import mining_table, split_pairs

    items = read_table(own["items"])
    parts = split_pairs(own["pairs"], own.get("at-least"), own.get("core", 5), own.get("split", "cold"), own.get("seed", 0))
    made = mining_table(items.frame, own["id"], *parts[1:], own.get("dimensions", 32), own.get("seed", 0))
    for path, frame in ((table, made), (split, parts[0])):
        with in_one_stroke(path) as partial:
            frame.to_parquet(partial, index=False)
    echo(f"{len(made)} items of the training pairs are mined, {int((parts[0]['split'] == 'test').sum())} pairs are kept aside")


def _run(name: str, command: list[str]) -> None:
    """A command in a process of its own. Raises RunStoppedError with its exit code."""
    code = subprocess.run([sys.executable, "-m", "genz_ppl", *command], check=False).returncode
    if code:
        say(f"{name}: stopped ({code})")
        raise RunStoppedError("what was done is kept: give genz pipeline again to go on", code if code > 0 else 130)
