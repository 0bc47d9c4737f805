"""`genz predict`: predictions of a run for the items of a table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.messages import resumable_answers
from genz_ppl.errors import OptionError

if TYPE_CHECKING:
    import pandas as pd

_SUFFIXES = (".csv", ".parquet")


def predict(
    context: typer.Context,
    folder: options.Folder,
    source: options.Source,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="A .csv or .parquet file to write.", show_default=False)
    ],
    level: Annotated[float, typer.Option("--level", help="Probability between lower and upper.")] = 0.9,
    max_cost: model_options.MaxCost = None,
    max_calls: model_options.MaxCalls = None,
    max_tokens: model_options.MaxTokens = None,
    price: model_options.Price = None,
    workers: model_options.Workers = None,
    config: options.Config = None,
) -> None:
    """Predict the targets of the run in DIR for the items of SOURCE: mean, sd, lower and upper by id."""
    _check_output(output, source)
    if not 0 < level < 1:
        raise OptionError(f"--level: expected a number between 0 and 1, got {level:g}")
    from genz_ppl.data import Schema, open_like
    from genz_ppl.discovery.discover import Discovery
    from genz_ppl.discovery.run_directory import RunDirectory

    changes = model_options.given(context.params)
    # The source is checked before the state is read: a wrong column is the likelier mistake.
    schema = Schema.from_dict(RunDirectory(folder).record()["schema"])
    items = open_like(source, schema)
    with resumable_answers(), model_options.flags():
        table = Discovery.load(folder).predict(items, level, changes)
    _write(table.reset_index(), output)
    typer.echo(f"{len(table)} predictions written to {output}")


def _check_output(output: Path, source: str) -> None:
    if output.suffix.lower() not in _SUFFIXES:
        raise OptionError(f"--output {output}: expected a name that ends with {' or '.join(_SUFFIXES)}")
    if not output.parent.is_dir():
        raise OptionError(f"--output {output}: there is no folder {output.parent}; make it first")
    if output.is_dir():
        raise OptionError(f"--output {output}: expected a file, found a folder; choose another name")
    if output.exists() and Path(source).exists() and output.samefile(source):
        raise OptionError(f"--output {output}: is SOURCE itself, which would be lost; choose another name")


def _write(table: pd.DataFrame, output: Path) -> None:
    """Under another name first: a reader never meets half a file."""
    partial = output.with_name(f"{output.name}.partial")
    try:
        if output.suffix.lower() == ".csv":
            table.to_csv(partial, index=False, lineterminator="\n")
        else:
            table.to_parquet(partial, index=False)
        partial.replace(output)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OptionError(f"--output {output}: cannot be written ({error.strerror}); check space and permissions") from None
