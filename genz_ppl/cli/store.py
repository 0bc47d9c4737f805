"""`genz store`: what is in the store of answers, tables out of it and into it, how to mend it and to make it smaller."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from genz_ppl.cli.messages import echo

if TYPE_CHECKING:
    from genz_ppl.llm.store.postgres.status import FleetStatus
    from genz_ppl.llm.store.tools import StoreInfo

store_app = typer.Typer(help="Show, watch, copy, repair or prune the shared store of answers.", rich_markup_mode="rich")

Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="PLACE",
        help="A file, or postgresql://USER@HOST/DATABASE \\[~/.cache/genz-ppl/answers.sqlite].",
        show_default=False,
    ),
]


@store_app.callback(invoke_without_command=True)
def _store(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@store_app.command()
def info(
    store: Store = None,
    check: Annotated[bool, typer.Option("--check", help="Read every row, to find damaged ones.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show how many answers the store holds, of which models and prompts, and what was spent on them."""
    from genz_ppl.llm.store import tools as store_tools

    found = store_tools.info(_place(store), check)
    if as_json:
        echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show(found)


@store_app.command()
def status(
    store: Store = None,
    as_json: Annotated[bool, typer.Option("--json", help="Write JSON.")] = False,
) -> None:
    """Show who is at work on a PostgreSQL store, how fast, what was spent, and the time that is left."""
    from genz_ppl.llm.store.places import open_shared

    with open_shared(_place(store)) as shared:
        from genz_ppl.llm.store.postgres.status import status as look  # with psycopg, an extra

        found = look(shared)
    if as_json:
        echo(json.dumps(found.to_dict(), indent=2, ensure_ascii=False))
    else:
        _show_status(found)


@store_app.command()
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new .csv, .parquet or .jsonl file.", show_default=False)],
    store: Store = None,
) -> None:
    """Write all answers to a table: item (a hash), question, answer."""
    from genz_ppl.llm.store import tools as store_tools

    written = store_tools.export(_place(store), file)
    left_out = f"; {written.damaged} damaged rows left out" if written.damaged else ""
    echo(f"{written.rows} answers written to {file}{left_out}")


@store_app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What export wrote, or another store.", show_default=False)],
    store: Store = None,
) -> None:
    """Bring in the answers that export wrote, or those of another store. What is answered stays as it is."""
    from genz_ppl.llm.store import importing

    found = importing.import_answers(file, _place(store))
    texts = f", {found.texts} new texts" if found.texts else ""
    other = f", {found.conflicting} other than in the store and left out" if found.conflicting else ""
    echo(f"{found.new} new answers{texts}, {found.known} known{other}")


@store_app.command()
def repair(store: Store = None) -> None:
    """Make a damaged store anew from every row that can be read and is what was written; the damaged file is kept."""
    from genz_ppl.llm.store import repair as repairing
    from genz_ppl.llm.store.places import only_file

    instead = "damaged answers are asked again by themselves; for errors in the server's log see pg_amcheck, or restore a backup"
    done = repairing.repair(only_file(store, "repair", instead))
    if done is None:
        echo("no damage found; nothing was changed")
        return
    echo(f"kept {done.answers} answers, {done.texts} texts, {done.attempts} calls of the ledger, {done.batches} open batches")
    echo(f"lost {done.lost_rows} damaged rows, and what was on {done.lost_pages} pages that cannot be read whole")
    if done.lost_attempts:
        echo(f"{done.lost_attempts} calls of the ledger are lost: each counts with the mean of its run now")
    echo(f"the damaged file is kept as {done.damaged}; 'genz resume' asks again what is missing")


@store_app.command()
def prune(
    store: Store = None,
    model: Annotated[str | None, typer.Option("--model", help="Answers of this model only.", show_default=False)] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="Answers to this prompt and version only, as info names it.", show_default=False),
    ] = None,
    older_than: Annotated[
        float | None, typer.Option("--older-than", metavar="DAYS", help="Older answers only.", show_default=False)
    ] = None,
    failed: Annotated[
        bool, typer.Option("--failed", help="Questions without a valid answer only: they are asked again.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would go, and change nothing.")] = False,
) -> None:
    """Take away the answers that meet all conditions (none given: no answers), and what ended runs left; shrink the file."""
    from genz_ppl.llm.store import tools as store_tools

    gone = store_tools.prune(_place(store), model, prompt, older_than, failed, dry_run)
    what = f"{gone.answers} answers, {gone.texts} texts and {gone.leases} leases of ended runs"
    if dry_run:
        echo(f"would take away {what}; nothing was changed")
    else:
        echo(f"took away {what}; {_bytes(gone.size_before)} before, {_bytes(gone.size_after)} now")


def _place(store: str | None) -> str | Path:
    from genz_ppl.llm.store.store import default_path

    return default_path() if store is None else store


def _show(found: StoreInfo) -> None:
    from genz_ppl.cli.tables import print_table

    echo(f"{found.path}: {_bytes(found.size)}, {found.answers} answers about {found.items} items, {found.texts} texts")
    spent = found.spent
    echo(
        f"{found.runs} runs, {found.attempts} attempts ({found.unsettled} never settled): {spent.calls} calls, "
        f"{spent.tokens_in} tokens read, {spent.tokens_out} written, ${spent.cost:.4f}"
    )
    if found.leases or found.orphans:
        echo(f"{found.leases} questions being asked now, {found.orphans} leases of ended runs")
    if found.damaged is not None:
        echo(f"{found.damaged} damaged rows: they count as unknown and are asked again" if found.damaged else "no damage found")
    if found.models:
        headings = ["model", "endpoint", "prompt", "questions", "yes", "no", "failed"]
        names = [[each.model, each.endpoint, each.prompt] for each in found.models]
        counts = [(each.questions, each.yes, each.no, each.failed) for each in found.models]
        rows = [[*name, *(str(number) for number in numbers)] for name, numbers in zip(names, counts, strict=True)]
        print_table(headings, rows)
    for reason, times in found.failed.items():
        echo(f"failed {times} times: {' '.join(reason.split()) or 'no reason given'}")


def _show_status(found: FleetStatus) -> None:
    from genz_ppl.cli.tables import print_table

    spent, lately = found.spent, found.a_minute
    echo(f"{found.address}: {found.answers} answers, {spent.calls} calls, ${spent.cost:.4f}")
    tokens = lately.tokens_in + lately.tokens_out
    echo(
        f"{len(found.workers)} workers; in the last minute {lately.calls} calls, {tokens} tokens, ${lately.cost:.4f}, "
        f"{found.answers_a_minute} answers"
    )
    if found.workers:
        rows = [[each.name, each.model, f"{each.seen:.0f} s ago", str(each.asking), str(each.calls)] for each in found.workers]
        print_table(["worker", "model", "seen", "in hand", "calls a minute"], rows)
    for run in found.runs:
        left = "nothing answered in the last minute" if run.seconds_left is None else f"{run.seconds_left / 60:.1f} minutes left"
        used = run.spent.tokens_in + run.spent.tokens_out
        parts = [(f"${run.spent.cost:.4f}", run.caps.cost), (f"{run.spent.calls} calls", run.caps.calls)]
        parts.append((f"{used} tokens", run.caps.tokens))
        said = ", ".join(amount if cap is None else f"{amount} of {cap:g}" for amount, cap in parts)
        echo(f"run {run.run}: {run.answered} of {run.wanted} answers that it waits for, {left}; {said}")


def _bytes(size: int) -> str:
    """A size as people read it: 512 B, 1.5 MB."""
    number, unit = float(size), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
