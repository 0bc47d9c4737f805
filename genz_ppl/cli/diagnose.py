"""`genz diagnose`: what a run's posterior says about its questions, its answers and its fit; writes posterior.nc."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo
from genz_ppl.output import plural

if TYPE_CHECKING:
    import pandas as pd

SHOWN = 20
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]


def diagnose(folder: options.Folder, json_output: Json = False, config: options.Config = None) -> None:
    """Posterior summary, PSIS-LOO, predictive check, loose features and contradicted answers of the run in DIR."""
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
        cells = [[value if isinstance(value, str) else number(float(value)) for value in row.values()] for row in rows]
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
    echo("\nShare of targets inside the predictive intervals")
    for side in ("train", "test"):
        shares = ", ".join(f"{float(level):.0%} interval {share:.1%}" for level, share in found["coverage"][side].items())
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
    check = checks.predictive_check(fitted, draws)
    check["target"] = [fitted.target_names[t] if len(fitted.target_names) > t else str(t) for t in check["target"]]
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
        "predictive_check": _rows(check),
        "coverage": {
            side: {str(level): share for level, share in checks.coverage(part).items()}
            for side, part in (("train", fitted), ("test", test))
        },
        "loose_features": _rows(checks.loose_features(fitted, draws)),
        "contradicted": len(contradicted),
        "contradicted_answers": _rows(contradicted.head(SHOWN)),
    }


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records", double_precision=15))
    return rows
