"""`genz demo`: the paper's binary experiment on the embedded model."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from genz_ppl.cli import options
from genz_ppl.cli.messages import echo, resumable

if TYPE_CHECKING:
    import pandas as pd

_WIDTH = 40


def demo(
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Write the run to this new folder.", show_default=False)
    ] = None,
    seed: options.Seed = None,
    quiet: options.Quiet = False,
    config: options.Config = None,
) -> None:
    """Explain the numbers 0 to 511, read as text: nine bits are found."""
    with resumable(out):
        _demo(out, 0 if seed is None else seed, quiet)


def _demo(out: Path | None, seed: int, quiet: bool) -> None:
    from genz_ppl.cli.tables import print_features, print_summary
    from genz_ppl.data import open_source
    from genz_ppl.discovery.discover import discover

    settings: dict[str, Any] = {"algorithm": "basic", "cycles": 1, "add": 9, "cut": 0, "seed": seed}
    run = discover(open_source("binary"), out=out, source="binary", progress=False if quiet else None, **settings)
    print_features(run.features, unit=run.unit)
    echo("")
    echo(learning_curve(run.curve))
    echo("")
    print_summary(run)


def learning_curve(curve: pd.DataFrame) -> str:
    """Test error by number of features, one bar a row on a logarithmic scale."""
    steps = curve[curve["event"].isin(["start", "add"])]
    errors = [float(error) for error in steps["test_error"]]
    logarithms = [math.log10(error) if error > 0 else -math.inf for error in errors]
    finite = [value for value in logarithms if math.isfinite(value)]
    low, high = (min(finite), max(finite)) if finite else (0.0, 0.0)
    lines = [f"features  test {str(steps['metric'].iloc[0]).replace('_', ' ')} (logarithmic bars)"]
    for count, error, value in zip(steps["n_features"], errors, logarithms, strict=True):
        share = (value - low) / (high - low) if high > low and math.isfinite(value) else 0.0
        lines.append(f"{count:>8}  {error:>9.3g}  {_bar(share)}")
    return "\n".join(lines)


def _bar(share: float) -> str:
    whole, eighths = divmod(max(round(share * _WIDTH * 8), 1), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[eighths].strip()
