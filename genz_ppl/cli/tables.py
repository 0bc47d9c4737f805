"""Feature tables and summary lines for stdout: rich on a terminal, aligned plain text elsewhere, never cut off there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from genz_ppl.cli.messages import echo, say
from genz_ppl.errors import OptionError
from genz_ppl.output import in_one_stroke, not_written, printable
from genz_ppl.settings import AUTO

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from genz_ppl.discovery.discover import Discovery

_LIFE = ("added_at", "removed_at")
# Rates that are smaller are said to be.
_SMALLEST_RATE = 0.001
# What a bill of an annotator says.
_BILLED = {"answers": "answers", "calls": "calls", "tokens_in": "tokens read", "tokens_out": "written"}


def print_features(features: pd.DataFrame, everything: bool = False, by: str = "effect", unit: str = "") -> None:
    """The active features, or all with the steps at which they came and went. by: what they are sorted by; unit: of effects."""
    if not everything:
        features = features[features["active"]]
    if features.empty:
        echo("no features")
        return
    features = sorted_features(features, by)
    of_annotators = [name for name in map(str, features) if name.startswith("p_e ")]
    several, life = bool((features["strongest"] != "").any()), _LIFE if everything else ()
    headings = [
        "question",
        f"effect ({unit})" if unit else "effect",
        "90 % interval",
        *(["mostly on", ""] if several else []),
        "p_e",
        *(["false yes", "false no"] if "false_yes" in features else of_annotators),
        "prevalence",
        "gain",
        *life,
    ]
    print_table(headings, [_row(row, several, life, unsigned=several or unit == "sd") for _, row in features.iterrows()])


def sorted_features(features: pd.DataFrame, by: str = "effect") -> pd.DataFrame:
    """By a column, the largest first (texts alphabetically); effects by their size. Raises OptionError for an unknown column."""
    if by not in features.columns:
        raise OptionError(f"--sort {by}: no such column; known are {', '.join(features.columns)}")
    key = features[by].abs() if by == "effect" else features[by]
    numeric = key.dtype.kind in "fiub"
    return features.loc[key.sort_values(ascending=not numeric, kind="stable", na_position="last").index]


def _row(row: pd.Series, several: bool, life: Sequence[str], unsigned: bool) -> list[str]:
    known = row["effect_lower"] == row["effect_lower"]
    interval = f"{number(row['effect_lower'], 3)} to {number(row['effect_upper'], 3)}" if known else "-"
    mostly = [" ".join(row["strongest"].split()) or "-", _signed(row["strongest_effect"])] if several else []
    effect = number(row["effect"]) if unsigned else _signed(row["effect"])
    of_annotators = [name for name in row.index if name.startswith("p_e ")]
    names = [name for name in ("p_e", "false_yes", "false_no", *of_annotators) if name in row]
    rates = [f"<{_SMALLEST_RATE}" if row[name] < _SMALLEST_RATE else number(row[name], 2) for name in names]
    prevalence = "-" if row["prevalence"] != row["prevalence"] else f"{row['prevalence']:.2f}"
    return [
        _cell(row["text"]),
        effect,
        interval,
        *mostly,
        *rates,
        prevalence,
        number(row["gain"]),
        *(_cell(row[one]) for one in life),
    ]


def _signed(value: float) -> str:
    return "-" if value != value else f"{value:+.4g}"


def print_summary(run: Discovery, ceiling: bool = False) -> None:
    """What the run comes to, with its ceiling if asked; a warning where questions do not help on items kept aside."""
    found, last = run.summary, run.curve.iloc[-1]
    echo(found.line() + ("" if run.directory is None else f"; written to {run.directory.path}"))
    if ceiling and found.n_features > 0 and (best := run.ceiling) is not None:
        echo(best.line(found.n_features))
    _say_of_posterior(run)
    _say_of_noise(run)
    _say_of_link(run)
    _say_of_rates(run)
    if found.n_features > 0 and not found.helps:
        say(
            "warning: on test items predictions are no better with these questions than without; what was found may be chance: "
            "more items, or other questions (--model), would tell"
        )
    if int(last["tokens_in"]) > 0:
        cost = "of unknown price" if last["cost"] != last["cost"] else f"for {last['cost']:.4g} dollars"
        tokens = [f"{int(last[name]):,}".replace(",", " ") for name in ("tokens_in", "tokens_out")]
        echo(f"{int(last['calls'])} calls, {tokens[0]} tokens read and {tokens[1]} written, {cost}")
    for name, bill in run.progress.bills.items():
        counts = ", ".join(f"{int(bill[field]):,} {words}".replace(",", " ") for field, words in _BILLED.items())
        cost = "price unknown" if last["cost"] != last["cost"] else f"{bill['cost']:.4g} dollars"
        echo(f"of that {name}: {counts}, {cost}")


def _say_of_posterior(run: Discovery) -> None:
    """A line about what `--inference auto` came to."""
    from genz_ppl.inference.strategies import last_posterior_of

    if run.record.settings.inference == AUTO and (texts := int(run.features["active"].sum())):
        words = last_posterior_of(run.progress.state.model, len(run.progress.state.posterior), texts)
        echo(f"posterior of the features: {words} (--inference auto)")


def _say_of_noise(run: Discovery) -> None:
    """A line where the run came to Student-t noise by itself."""
    if run.progress.likelihood == "student_t":
        degrees = ", ".join(f"{value:.3g}" for value in run.program.likelihood.degrees_of_freedom.tolist())
        echo(f"noise: Student-t with {degrees} degrees of freedom, by its heavy tails (--likelihood gaussian: without)")


def _say_of_link(run: Discovery) -> None:
    """A line where the run came to another link by itself."""
    from genz_ppl.discovery.run.link_choice import words_of
    from genz_ppl.inference.worth.links import LINEAR

    if run.progress.link not in ("", AUTO, LINEAR):
        echo(words_of(run.progress.link, run.progress.link_scores))


def _say_of_rates(run: Discovery) -> None:
    """A note where error rates of answers yes and no are apart and the data do not tell them."""
    from genz_ppl.inference.engines.rate_spread import rate_spread

    if "p_yes" not in run.features:
        return
    fitted = run.fitted()
    spread = rate_spread(fitted.state, fitted.data)
    if spread is not None and (doubtful := int((~spread.identified).sum())) > 0:
        say(
            f"note: of {doubtful} of {len(spread.identified)} questions the targets do not tell how often answers yes are wrong "
            "from how often answers no are: these rates are mostly the other questions' (docs/error-rates.md; "
            "--error-rates symmetric)"
        )


def check_output(path: Path, suffixes: Sequence[str]) -> None:
    """Raise OptionError unless a table can be written there. suffixes: with a dot, in small letters."""
    if path.suffix.lower() not in suffixes:
        raise OptionError(f"--output {path}: expected a name that ends with {' or '.join(suffixes)}")
    if path.is_dir():
        raise OptionError(f"--output {path}: expected a file, found a folder; choose another name")
    if not path.parent.is_dir():
        raise OptionError(f"--output {path}: there is no folder {path.parent}; make it first")


def write_table(table: pd.DataFrame, path: Path, raw: bool = False, float_format: str | None = None) -> None:
    """Write a .csv (see `csv_of`), .jsonl or .parquet file in one stroke. Raises OptionError where it cannot be written."""
    from genz_ppl.discovery.run.tables import csv_of

    try:
        with in_one_stroke(path) as partial:
            if path.suffix.lower() == ".csv":
                partial.write_text(text := csv_of(table, raw, float_format), encoding="utf-8", newline="")
                if not raw and text != csv_of(table, True, float_format):
                    say(f"note: texts in {path} that begin as a formula would got a leading apostrophe; --raw leaves it out")
            elif path.suffix.lower() == ".jsonl":
                table.to_json(partial, orient="records", lines=True, force_ascii=False, double_precision=15)
            else:
                table.to_parquet(partial, index=False)
    except OSError as error:
        raise not_written(f"--output {path}", error) from None


def readable_metric(name: str) -> str:
    """A metric's name as words."""
    return {"cosine": "cosine similarity", "r2": "R2"}.get(name, name.replace("_", " "))


def number(value: float, digits: int = 4) -> str:
    """So many digits; "-" for NaN."""
    return "-" if value != value else f"{value:.{digits}g}"


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column holds text, the others numbers."""
    headings, rows = [printable(name) for name in headings], [[printable(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        _print_rich(headings, rows)
        return
    widths = [max(len(cell) for cell in column) for column in zip(headings, *rows, strict=True)]
    for row in (headings, *rows):
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        echo("  ".join(cells).rstrip())


def _print_rich(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*headings)
    table.columns[0].overflow = "fold"
    for column in table.columns[1:]:
        column.justify, column.no_wrap = "right", True
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


def _cell(value: object) -> str:
    if isinstance(value, str):
        return " ".join(value.split())
    if value is None or type(value).__name__ == "NAType":
        return "-"
    return number(float(value)) if isinstance(value, float) else str(value)
