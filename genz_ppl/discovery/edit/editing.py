"""`edit` and `undo`: a finished run steered by hand; what it was before is kept beside it."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from genz_ppl.alone import alone
from genz_ppl.data import Items
from genz_ppl.discovery.edit.edited_run import EditedRun, locked_texts
from genz_ppl.discovery.run.carry import carried_out
from genz_ppl.discovery.run.folder import METRICS_FILE, RUN_FILE, STATE_FILE, RunDirectory
from genz_ppl.discovery.run.forms import Edit
from genz_ppl.discovery.run.problem import Problem
from genz_ppl.discovery.run.progress import FeatureRecord, Progress
from genz_ppl.discovery.run.record import RunRecord
from genz_ppl.discovery.run.states import load_progress
from genz_ppl.discovery.view import RunView
from genz_ppl.discovery.watch import OnAnswers, OnStep, Watchers
from genz_ppl.errors import InputError, OptionError, RunDirectoryError, did_you_mean
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.combined import parts_of
from genz_ppl.llm.rules.predicates import parse
from genz_ppl.output import in_one_stroke
from genz_ppl.setting_fields import check_number

HISTORY = "history"
# What is kept of a run before an edit. The record comes last: with it the others count.
KEPT = (STATE_FILE, "features.csv", "curve.csv", METRICS_FILE, RUN_FILE)


def edit(
    run: RunView,
    *,
    drop: Iterable[str] = (),
    add: Iterable[str] = (),
    reword: Mapping[str, str] | None = None,
    lock: Iterable[str] = (),
    unlock: Iterable[str] = (),
    mine: int = 0,
    items: Any = None,
    model_settings: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    on_answers: OnAnswers | None = None,
    progress: bool | None = None,
) -> tuple[Progress, RunRecord, FoundationModel, RunDirectory | None, Items]:
    """What makes the `Discovery` of a finished run with some questions changed and all refitted. Only what is new is asked.

    drop: out, and not to come back by themselves. add: questions of one's own. reword: question to wording. lock: never pruned;
    unlock: the reverse. Questions are named by id ("f3") or text. mine: so many further additions are tried after the changes,
    then what is not worth its place is pruned; with 0 nothing is. items: those of the run, where it was loaded.
    model_settings: changes of a served model, as in `resume`.

    A run in a folder is changed there, step by step, so that `resume` goes on after a kill, and `undo` goes back. A run without
    one stays as it is. Raises OptionError and InputError before anything is asked.
    """
    if run.status != "done":
        raise OptionError("edit: the run was stopped before its end; resume it first")
    if run.record.baseline is not None:
        raise OptionError("edit: a 0-shot baseline is pruned by its own rule; edit a run of discover")
    wanted = _checked(run, drop, add, reword or {}, lock, unlock, mine)
    known = _items_of(run, items)
    record = run.record.changed(edits=[*run.record.edits, wanted], status="running")
    problem = Problem(known, record.split_of(known), record.settings, raters=record.raters)
    kind, service = EditedRun(problem, record.edits), run.service(model_settings or {})
    record = service.changed(record)
    state = copy.deepcopy(run.progress)
    kind.model = service.open(record, run.directory, False, state.counters, known)
    with alone(None if run.directory is None else run.directory.path):
        if run.directory is not None:
            _check_current(run, run.directory)
            keep(run.directory, run.progress.step)
            run.directory.write_record(record)
        kind.reopened(state)
        record = carried_out(kind, state, record, run.directory, Watchers(on_step, on_answers, progress))
    return state, record, kind.model, run.directory, known


def _checked(
    run: RunView,
    drop: Iterable[str],
    add: Iterable[str],
    reword: Mapping[str, str],
    lock: Iterable[str],
    unlock: Iterable[str],
    mine: int,
) -> Edit:
    """The edit in texts. Raises OptionError for changes that contradict each other or are none, InputError for no question."""
    check_number("mine", mine, 0)
    active = run.progress.active
    given = {"drop": drop, "add": add, "lock": lock, "unlock": unlock}
    for name, value in given.items():
        if isinstance(value, str):
            raise OptionError(f"{name}: expected a list of questions, got one text; write {name}=[{value!r}]")
    new = [" ".join(text.split()) for text in add]
    worded = {find(active, old).text: " ".join(text.split()) for old, text in reword.items()}
    gone = [find(active, name).text for name in drop]
    locked = [name if name in (*new, *worded.values()) else find(active, name).text for name in lock]
    for text in (*new, *worded.values()):
        if not text:
            raise OptionError("add: expected a question, got an empty text")
        if text in {record.text for record in active} - {*gone, *worded}:
            raise OptionError(f"add: {text!r} is a question of the run already; leave it out")
        if run.record.settings.model == "rules":
            for part in parts_of(text):
                parse(part)
    if twice := next((text for text in gone if text in worded), None):
        raise OptionError(f"drop: {twice!r} is reworded, too; choose one")
    open_texts = [find(active, name).text for name in unlock]
    if not (new or worded or gone or locked or open_texts or mine):
        raise OptionError("edit: expected a change, got none; name one of drop, add, reword, lock, unlock, mine")
    if len(active) - len(gone) + len(new) < 1 and not mine:
        raise OptionError("drop: at least one question must stay; add one, or look for others with mine")
    kept = [text for text in locked_texts(run.record.edits) if text in worded]
    locked = list(dict.fromkeys([worded.get(text, text) for text in (*locked, *kept)]))  # a lock follows its question's wording
    return Edit(
        step=run.progress.step, drop=gone, add=list(dict.fromkeys(new)), reword=worded, lock=locked, unlock=open_texts, mine=mine
    )


def _check_current(run: RunView, directory: RunDirectory) -> None:
    """Raise RunDirectoryError where the folder holds another state of the run than was read from it."""
    now = directory.record()
    if (now.status, now.edits) != (run.record.status, run.record.edits):
        raise RunDirectoryError(f"edit: the run in {directory.path} was changed since it was read; load it again")


def find(active: Sequence[FeatureRecord], name: str) -> FeatureRecord:
    """The question of a run by its id or its text. Raises InputError for an unknown one."""
    text = " ".join(name.split())
    found = [record for record in active if text in (record.id, record.text)]
    if not found:
        hint = did_you_mean(text, [record.text for record in active])
        known = ", ".join(record.id for record in active)
        raise InputError(f"the run has no question {text[:60]!r}; {hint}give an id ({known}) or its text")
    return found[0]


def keep(directory: RunDirectory, step: int) -> None:
    """Keep what a run is now."""
    folder = directory.path / HISTORY / f"{step:06d}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name in KEPT:
            with in_one_stroke(folder / name) as partial:
                shutil.copyfile(directory.path / name, partial)
    except OSError as error:
        reason = error.strerror or error
        raise RunDirectoryError(f"{folder}: cannot be written ({reason}), so nothing was changed; free some space") from None


def undo(run: RunView) -> tuple[Progress, RunRecord]:
    """Make the run in its folder what it was before its last edit, finished or not; what it then is.

    Raises OptionError for a run without a folder, and for one that was not edited.
    """
    if run.directory is None:
        raise OptionError("undo: a run without a folder is not changed by edit; take the one that you edited")
    put_back(run.directory)
    record = run.directory.record()
    if (progress := load_progress(run.directory, record)) is None:
        raise run.directory.not_begun()
    return progress, record


def put_back(directory: RunDirectory) -> None:
    """The files of a run as they were before its last edit. Raises OptionError where there is none."""
    with alone(directory.path):
        past = directory.path / HISTORY
        whole = sorted(one for one in past.glob("*") if (one / RUN_FILE).exists()) if past.is_dir() else []
        if not whole:
            raise OptionError(f"undo: the run in {directory.path} was not edited")
        for name in KEPT:
            directory.replace(name, (whole[-1] / name).read_bytes())
        shutil.rmtree(whole[-1])


def _items_of(run: RunView, items: Any) -> Items:
    """The items that are given, or those that the run was given, with what a model reads."""
    if items is not None:
        return run.record.own_items(items)
    with suppress(OptionError):
        if run.items.fingerprint() == run.record.fingerprint:
            return run.items
    raise OptionError("items: a run that was loaded has not what a model reads; pass its Items or table as items=")
