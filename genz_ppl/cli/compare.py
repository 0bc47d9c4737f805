"""`genz compare`: leave-one-out and held-out scores of several runs, or the annotators of one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import model_options, options
from genz_ppl.cli.diagnose import Json
from genz_ppl.cli.messages import echo
from genz_ppl.errors import OptionError

if TYPE_CHECKING:
    from genz_ppl.diagnostics.compare import Contestant
    from genz_ppl.discovery.discover import Discovery

Folders = Annotated[
    list[Path], typer.Argument(metavar="DIR DIR ...", help="Runs on the same data and split.", show_default=False)
]


Names = Annotated[
    str | None,
    typer.Option(
        "--annotators",
        metavar="A,B",
        help="Compare who answers, on one run: models as in --model, and run for its own answers; a comma between them.",
        show_default=False,
    ),
]
Gold = Annotated[
    Path | None,
    typer.Option("--gold", metavar="FILE", help="Labels by people: id, question, answer. See genz gold.", show_default=False),
]
Cascade = Annotated[
    float | None,
    typer.Option(
        "--cascade",
        metavar="SHARE",
        help="Ask the second of two annotators for this share of the answers about training items only, where that matters.",
        show_default=False,
    ),
]


@options.takes(*model_options.of(*model_options.CAPS, "price", "workers", "base_url", "store"))
def compare(
    context: typer.Context,
    folders: Folders,
    annotators: Names = None,
    gold: Gold = None,
    cascade: Cascade = None,
    json_output: Json = False,
    config: options.Config = None,
    **_: Any,
) -> None:
    """Compare runs by PSIS-LOO and by held-out error and density.

    With --annotators: of one run, which model errs on which question, how they agree, and what dropping one costs.
    """
    if annotators is not None:
        served, names = model_options.given(context.params), [name.strip() for name in annotators.split(",")]
        _compare_annotators(folders, names, gold, cascade, served, context.params["store"], json_output)
        return
    if gold is not None or cascade is not None or model_options.given(context.params) or context.params.get("store"):
        raise OptionError("--annotators: --gold, --cascade, caps and a store go with it; name the annotators, or leave those out")
    if len(folders) < 2:
        raise OptionError(f"DIR: expected at least two runs to compare, got {len(folders)}")
    if len(set(folders)) < len(folders):
        raise OptionError("DIR: a run is named twice; name each once")
    from genz_ppl.cli.tables import number, print_table
    from genz_ppl.diagnostics.compare import compare as compare_runs
    from genz_ppl.discovery.discover import Discovery
    from genz_ppl.discovery.run.link_choice import words_of

    runs = {str(folder): Discovery.load(folder) for folder in folders}
    found = compare_runs({name: _contestant(run, name) for name, run in runs.items()})
    chosen = {name: words_of(run.progress.link, run.progress.link_scores) for name, run in runs.items()}
    if json_output:
        rows = json.loads(found.table.to_json(orient="records", double_precision=15))
        echo(
            json.dumps(
                {"runs": rows, "advice": found.advice, "warnings": list(found.warnings), "links": chosen}, ensure_ascii=False
            )
        )
        return
    headings = [column.replace("_", " ") for column in found.table.columns]
    cells = [[cell if isinstance(cell, str) else number(float(cell)) for cell in row] for row in found.table.to_numpy()]
    print_table(headings, cells)
    for name, words in chosen.items():
        if words:
            echo(f"{name}: {words}")
    for warning in found.warnings:
        echo(f"note: {warning}")
    echo(found.advice)


def _compare_annotators(
    folders: list[Path],
    names: list[str],
    gold: Path | None,
    share: float | None,
    served: dict[str, Any],
    store: Path | None,
    json_output: bool,
) -> None:
    if len(folders) != 1:
        raise OptionError(f"DIR: --annotators compares them on one run, got {len(folders)}; name one")
    if share is not None and not 0 < share <= 1:
        raise OptionError(f"--cascade: expected a share of the answers above 0 and at most 1, got {share:g}")
    from genz_ppl.cli.sources import absolute_model, read_labels, reopen_items
    from genz_ppl.discovery.annotators import OWN, Panel, compare_annotators
    from genz_ppl.discovery.discover import Discovery

    panel = Panel([name if name == OWN else absolute_model(name) for name in names], served or None, store)
    labels = None if gold is None else read_labels(gold)
    run = Discovery.load(folders[0])
    with model_options.flags(cascade="--cascade", annotators="--annotators", gold="--gold"):
        found = compare_annotators(
            run, run.progress, reopen_items(run.record.source, run.schema, folders[0]), panel, labels, share
        )
    tables = {"rates": found.rates, "agreement": found.agreement, "dropped": found.dropped, "asked": found.asked}
    if json_output:
        rows = {name: json.loads(table.to_json(orient="records", double_precision=15)) for name, table in tables.items()}
        echo(json.dumps(rows, ensure_ascii=False))
        return
    from genz_ppl.cli.tables import number, print_table

    titles = {
        "rates": "how often each is wrong",
        "agreement": "answers given alike",
        "dropped": "on test items",
        "asked": "asked",
    }
    for name, table in tables.items():
        shown = table.reset_index(names="annotator") if name == "agreement" else table
        echo(f"{titles.get(name, name)}:")
        cells = [[cell if isinstance(cell, str) else number(float(cell)) for cell in row] for row in shown.to_numpy()]
        print_table([str(column).replace("_", " ") for column in shown.columns], cells)


def _contestant(run: Discovery, folder: str) -> Contestant:
    from genz_ppl.cli.sources import items_of
    from genz_ppl.diagnostics.compare import Contestant

    items = items_of(run, Path(folder))
    last = run.curve.iloc[-1]
    return Contestant(run.fitted(items), run.fitted(items, "test"), float(last["test_error"]), str(last["metric"]))
