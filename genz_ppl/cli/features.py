"""`genz features`: the feature table of a run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo
from genz_ppl.cli.pair_sources import holds_pairs
from genz_ppl.errors import OptionError


def features(
    folder: options.Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON: a list with one object a feature.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Write CSV, with the columns of features.csv.")] = False,
    raw: options.Raw = False,
    everything: Annotated[bool, typer.Option("--all", help="Removed features too.")] = False,
    sort: Annotated[
        str, typer.Option("--sort", metavar="COLUMN", help="The column to sort by; effects by their size.")
    ] = "effect",
    config: options.Config = None,
) -> None:
    """Show the questions of the run in DIR, effects and error rates."""
    if as_json and as_csv:
        raise OptionError("--json and --csv exclude each other: drop one of the two")
    from genz_ppl.cli.pair_tables import print_pair_features
    from genz_ppl.cli.tables import print_features, sorted_features
    from genz_ppl.discovery.pairs.folder import PairDirectory
    from genz_ppl.discovery.run.folder import RunDirectory
    from genz_ppl.discovery.run.tables import csv_of

    two_sided = holds_pairs(folder)
    run = (PairDirectory if two_sided else RunDirectory)(folder)
    table = run.features()  # without torch, which takes seconds
    chosen = sorted_features(table if everything else table[table["active"]], sort)
    if as_json:
        rows = json.loads(chosen.to_json(orient="records", double_precision=15))
        echo(json.dumps(rows, indent=2, ensure_ascii=False))
    elif as_csv:
        echo(csv_of(chosen, raw), nl=False, data=True)
    elif two_sided:
        print_pair_features(table, everything)
    else:
        print_features(table, everything, sort, run.unit() if isinstance(run, RunDirectory) else "")
