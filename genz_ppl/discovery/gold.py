"""Gold labels as people write them: a table of items by questions, yes and no, matched with a run's items and questions."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from genz_ppl.data.values import shorten
from genz_ppl.discovery.run.progress import UNASKED, FeatureRecord
from genz_ppl.errors import GenzWarning, InputError, did_you_mean
from genz_ppl.llm.combined import answers_by_parts, parts_of
from genz_ppl.output import plural, unquoted
from genz_ppl.types import FloatArray

#: The column of the probability with which an item was drawn to be labelled; not needed where all were alike.
SAMPLING = "sampling"
_LABELS = {**dict.fromkeys(("1", "1.0", "yes", "y", "true"), 1.0), **dict.fromkeys(("0", "0.0", "no", "n", "false"), 0.0)}
_NONE = ("", "nan", "none", "<na>", "?", "-")


def gold_labels(
    table: pd.DataFrame, ids: Sequence[str], known: Mapping[str, str], features: Sequence[FeatureRecord]
) -> tuple[FloatArray, FloatArray | None]:
    """Labels, (T, K), NaN where there is none, and sampling probabilities, (T,), None where the table has none.

    table: a row an item, with its id in a column "id" or as index, and a column a question, by its text or its id; of a
    combination its own or one for each part. ids: of the T items; known: the side of the split of all ids of the run, so that
    labels of training items are left out. Raises InputError for ids, columns and labels that are not usable.
    """
    names = [unquoted(str(name)) for name in table.columns]
    if "id" not in names and table.index.name != "id":
        raise InputError('gold: expected the ids of the items in a column "id", found none; add it')
    own = table.index if "id" not in names else table.iloc[:, names.index("id")]
    labelled = [unquoted(str(name)) for name in own]
    place = {name: row for row, name in enumerate(labelled)}
    twice = next((name for row, name in enumerate(labelled) if place[name] != row), None)
    if twice is not None:
        raise InputError(f"gold: item {shorten(twice)} is there twice; keep one row of it")
    unknown = next((name for name in labelled if name not in known), None)
    if unknown is not None:
        raise InputError(f"gold: the run has no item {shorten(unknown)}; {did_you_mean(unknown, known)}write ids as in its data")
    columns = _columns(table, names, labelled, features)
    rows = [place.get(name, -1) for name in ids]
    found = np.stack([np.where(np.array(rows) >= 0, column[rows], np.nan) for column in columns], axis=1)
    if SAMPLING not in names:
        return found, None
    chances = pd.to_numeric(table.iloc[:, names.index(SAMPLING)], errors="coerce").to_numpy(dtype=np.float64)
    return found, np.where(np.array(rows) >= 0, chances[rows], np.nan)


def gold_pool(table: pd.DataFrame, train: Sequence[str], others: Iterable[str]) -> dict[str, NDArray[np.int8]]:
    """Labels of a run that starts, by question, (T,) each, as a pool holds answers; of a table as of `gold_cells`.

    train: ids of the T training items; others: of the items that are kept aside, whose labels are left out, since nothing may be
    learned from them. Raises InputError as `gold_cells`; a GenzWarning for labels of items that the data do not have.
    """
    place, aside = {name: row for row, name in enumerate(train)}, set(others)
    found: dict[str, NDArray[np.int8]] = {}
    strange: list[str] = []
    for name, text, label in _rows(table):
        if name not in place:
            strange += [] if name in aside else [name]
        elif not np.isnan(label):
            column = found.setdefault(" ".join(text.split()), np.full(len(train), UNASKED, dtype=np.int8))
            _check_alone(name, text, float("nan") if column[place[name]] < 0 else column[place[name]], label)
            column[place[name]] = int(label)
    if not found:
        raise InputError("gold: no row labels a training item; write ids as in the data, and some more labels")
    if strange:
        said = f"{plural(len(strange), 'label')} of items that the data do not have, such as {shorten(strange[0])}, left out"
        warnings.warn(f"gold: {said}", GenzWarning, stacklevel=3)
    return found


def warn_of_unused(gold: Mapping[str, object], texts: Iterable[str]) -> None:
    """A GenzWarning for labelled questions that a run has not come to. texts: those that it has."""
    asked = {part for text in texts for part in (text, *parts_of(text))}
    if left := [text for text in gold if text not in asked]:
        more = f" and {len(left) - 1} more are" if len(left) > 1 else " is"
        warnings.warn(
            f"gold: {shorten(left[0])}{more} not among the questions of the run; those labels are not used",
            GenzWarning,
            stacklevel=3,
        )


def gold_cells(table: pd.DataFrame, ids: Sequence[str], features: Sequence[FeatureRecord]) -> FloatArray:
    """Labels, (T, K), NaN where there is none, of a table with a row a label: id, question (its text or id) and answer.

    ids: of the T items; rows of other items are left out. Raises InputError for columns, questions and labels that are not
    usable, and where an item and a question have two labels that differ.
    """
    place = {name: row for row, name in enumerate(ids)}
    known = {name: k for k, one in enumerate(features) for name in (one.id, one.text)}
    found = np.full((len(ids), len(features)), np.nan)
    for name, text, label in _rows(table):
        if text not in known:
            raise InputError(f"gold: the run has no question {shorten(text)}; {did_you_mean(text, known)}write it as in the run")
        if name not in place or np.isnan(label):
            continue
        _check_alone(name, text, found[place[name], known[text]], label)
        found[place[name], known[text]] = label
    if np.isnan(found).all():
        raise InputError("gold: no row labels one of the run's training items; draw some with genz gold DIR -n N -o FILE")
    return found


def _rows(table: pd.DataFrame) -> Iterator[tuple[str, str, float]]:
    """Item, question and label of every row."""
    missing = next((name for name in ("id", "question", "answer") if name not in table.columns), None)
    if missing is not None:
        raise InputError(f"gold: expected the columns id, question and answer, found no {missing!r}; see genz gold")
    for item, question, cell in zip(*(table[name] for name in ("id", "question", "answer")), strict=True):
        name, text = unquoted(str(item)), unquoted(str(question))
        yield name, text, _label(cell, text, name)


def _check_alone(item: str, text: str, before: float, label: float) -> None:
    if not np.isnan(before) and before != label:
        raise InputError(f"gold: item {shorten(item)}, question {shorten(text)}: labelled yes and no; keep one")


def _columns(
    table: pd.DataFrame, names: Sequence[str], labelled: Sequence[str], features: Sequence[FeatureRecord]
) -> list[FloatArray]:
    """Of every question the labels in the order of the table."""

    def read(text: str) -> FloatArray:
        alias = next((one.id for one in features if one.text == text), text)
        name = text if text in names else alias
        if name not in names:
            raise InputError(
                f"gold: expected a column for the question {shorten(text)} (or {alias}), found none; {did_you_mean(text, names)}"
                "effects are beside all other questions, so each needs labels"
            )
        return np.array([_label(cell, name, labelled[row]) for row, cell in enumerate(table.iloc[:, names.index(name)])])

    found = []
    for one in features:
        whole = one.text in names or one.id in names or parts_of(one.text) == (one.text,)
        answers = read(one.text) if whole else answers_by_parts([one.text], lambda parts: np.stack([*map(read, parts)], 1))[:, 0]
        found.append(answers)
    return found


def _label(cell: object, column: str, item: str) -> float:
    written = str(cell).strip().lower()
    if written in _NONE:
        return float("nan")
    if written not in _LABELS:
        raise InputError(
            f"gold: item {shorten(item)}, question {shorten(column)}: expected yes or no (1 or 0), or nothing where nobody "
            f"is sure, found {shorten(cell)}"
        )
    return _LABELS[written]
