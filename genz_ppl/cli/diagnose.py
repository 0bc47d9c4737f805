"""`genz diagnose`: what a run's posterior says about its questions, its answers and its fit; writes posterior.nc."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo
from genz_ppl.output import plural

if TYPE_CHECKING:
    import pandas as pd

    from genz_ppl.data import Items
    from genz_ppl.discovery.discover import Discovery
    from genz_ppl.inference.posterior import FittedItems

SHOWN = 20
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def diagnose(folder: options.Folder, json_output: Json = False, config: options.Config = None) -> None:
    """Check the fit of the run in DIR.

    Posterior summary, PSIS-LOO, predictive check, loose features and contradicted answers.
    """
    found = _diagnosis(folder)
    if json_output:
        echo(json.dumps(found, ensure_ascii=False))
        return
    from genz_ppl.cli.tables import number, print_table

    def show(title: str, rows: list[dict[str, Any]], none: str) -> None:
        echo(f"\n{title}")
        if not rows:
            echo(none)
            return
        values = ([math.nan if value is None else value for value in row.values()] for row in rows)
        cells = [[value if isinstance(value, str) else number(float(value)) for value in row] for row in values]
        print_table(list(rows[0]), cells)

    loo = found["loo"]
    counted = f"{plural(found['features'], 'feature')}, {plural(found['items'], 'training item')}"
    echo(f"{counted}; written to {folder / 'posterior.nc'}")
    show("Effects: mean, standard deviation and 90 % interval", found["effects"], "none")
    echo("\nLeave-one-out (PSIS-LOO)")
    echo(
        f"elpd {number(loo['elpd'])} (se {number(loo['se'])}), {number(loo['p_loo'])} effective parameters; "
        f"{loo['unreliable']} of {found['items']} items with k-hat above 0.7"
    )
    show("Predictive check: share of draws above the data", found["predictive_check"], "none")
    show("How well it predicts", found["measures"], "none")
    for name, matrix in found["confusion"].items():
        rows = zip(matrix["classes"], matrix["counts"], strict=True)
        cells = [{f"{name}: came": came} | dict(zip(matrix["classes"], counts, strict=True)) for came, counts in rows]
        show("Test items by the class that came, down, and the most probable one, across", cells, "none")
    if found["coverage"]:
        echo("\nShare of targets inside the predictive intervals")
    for side, known in found["coverage"].items():
        shares = ", ".join(f"{float(level):.0%} interval {share:.1%}" for level, share in known.items())
        echo(f"{side}: {shares}")
    show("Features that have cut loose from their wording", found["loose_features"], "none")
    total = found["contradicted"]
    show(f"Answers the posterior contradicts ({total}; the surest first)", found["contradicted_answers"], "none")
    if found["chains"] == 1:
        echo("\nNo R-hat: draws from a fitted guide are independent and always look converged, whether or not it is right.")


def _diagnosis(folder: Path) -> dict[str, Any]:
    from genz_ppl.cli.sources import items_of
    from genz_ppl.diagnostics import checks, inference_data
    from genz_ppl.discovery.discover import Discovery
    from genz_ppl.inference.posterior import posterior_draws

    run = Discovery.load(folder)
    items = items_of(run, folder)
    draws = posterior_draws(run.fitted(items))
    fitted = replace(run.fitted(items), state=draws.state)
    exported = inference_data.to_inference_data(fitted, draws)
    inference_data.write_netcdf(exported, folder / "posterior.nc")
    loo = inference_data.leave_one_out(exported)
    test = run.fitted(items, "test").with_parameters_of(fitted)
    contradicted = checks.contradicted_answers(fitted)
    effects = inference_data.effect_summary(run.fitted(items), exported).reset_index(names="effect")
    return {
        "features": len(fitted.feature_texts),
        "items": len(fitted.item_ids),
        "chains": draws.chains,
        "effects": _rows(effects),
        "loo": {
            "elpd": loo.elpd,
            "se": loo.standard_error,
            "p_loo": loo.effective_parameters,
            "unreliable": int((loo.pareto_k > inference_data.LARGEST_SHAPE).sum()),
        },
        "predictive_check": _rows(checks.predictive_check(fitted, draws)),
        **_predictions(run, items, {"train": fitted, "test": test}),
        "loose_features": _rows(checks.loose_features(fitted, draws)),
        "contradicted": len(contradicted),
        "contradicted_answers": _rows(contradicted.head(SHOWN)),
    }


def _predictions(run: Discovery, items: Items | None, sure: dict[str, FittedItems]) -> dict[str, Any]:
    """What is measured of the predictions; of classes, whose intervals say nothing, the confusion of the test items.

    sure: both sides of the split with what is uncertain about the parameters.
    """
    import pandas as pd

    from genz_ppl.diagnostics import checks, class_measures
    from genz_ppl.diagnostics.measures import kind_of

    sides = {side: run.fitted(items, side) for side in sure}
    table = pd.DataFrame({side: checks.measured(part) for side, part in sides.items()})
    test, confused = sides["test"], {}
    if classes := kind_of(test.state.model.likelihood) == "classes":
        table = table.loc[list(class_measures.CLASS_MEASURES)]  # the others are about numbers
        values = checks.predicted_targets(test)
        targets = class_measures.class_targets(test.state.model.likelihood, *values, test.target_names, test.class_names)
        confused = class_measures.class_tables(targets)["confusion"]
    covered = {} if classes else {side: checks.coverage(part) for side, part in sure.items()}
    return {
        "measures": _rows(table.reset_index(names="measure")),
        "confusion": confused,
        "coverage": {side: {str(level): share for level, share in found.items()} for side, found in covered.items()},
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows
