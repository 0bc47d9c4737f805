"""The object concepts of THINGS, explained by what people find similar: 49 dimensions of human judgements (appendix C)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from genz_ppl.data.files import read_text
from genz_ppl.data.items import Items
from genz_ppl.data.ratings import dimension_names
from genz_ppl.data.reading import read_table
from genz_ppl.data.values import listing, shorten
from genz_ppl.errors import InputError
from genz_ppl.types import FieldValue, FloatArray

IDS_FILE = "unique_id.txt"
EMBEDDING_FILE = "spose_embedding_49d_sorted.txt"
CONCEPTS_FILE = "things_concepts.tsv"
LABELS_FILE = "labels_49.mat"

_KEY = "uniqueID"
_FIELDS = {
    "word": "Word",
    "categories": "All Bottom-up Categories",
    "category": "Bottom-up Category (Human Raters)",
    "category_wordnet": "Top-down Category (WordNet)",
    "category_manual": "Top-down Category (manual selection)",
    "definition": "Definition (from WordNet, Google, or Wikipedia)",
}


def things_items(directory: str | Path) -> Items:
    """The concepts with their 49 dimensions as targets, named by labels_49.mat if it is there, else dimension_1 and so on.

    directory: holds unique_id.txt (the concepts), spose_embedding_49d_sorted.txt (a line of numbers for each) and
    things_concepts.tsv (what is known of each). A model reads the word, its definition and the categories: "categories" are
    all that people named, "category" the one most of them named, the other two come from WordNet and from the authors of the
    data set; a concept that has no category in a list has no such field. The ids are those of the data set ("bat1", "bat2").

    Raises InputError if files are missing, broken or do not fit together.
    """
    frame = things_frame(directory)
    target = tuple(str(column) for column in frame.columns if column not in (_KEY, *_FIELDS))
    roles = {"id": _KEY, "target": target, "text": tuple(_FIELDS)}
    return Items.from_frame(frame.set_index(_KEY, drop=False), **roles, name="things").as_embedding()


def things_frame(directory: str | Path) -> pd.DataFrame:
    """One row per concept: uniqueID, word, the categories, definition, and the dimensions."""
    folder = Path(directory).expanduser()
    ids = [line.strip() for line in read_text(_present(folder / IDS_FILE)).splitlines() if line.strip()]
    embedding = _embedding(_present(folder / EMBEDDING_FILE), len(ids))
    columns: dict[str, Sequence[FieldValue]] = {_KEY: ids, **_concepts(_present(folder / CONCEPTS_FILE), ids)}
    names = _labels(folder / LABELS_FILE, embedding.shape[1])
    taken = next((name for name in names if name in columns), None)
    if taken is not None:
        raise InputError(f"{folder / LABELS_FILE}: the name {shorten(taken)} clashes with a field of the concepts; rename it")
    cells = {name: pd.Series(list(values), dtype=object) for name, values in columns.items()}
    return pd.DataFrame(cells | dict(zip(names, embedding.T, strict=True)))


def _present(file: Path) -> Path:
    if not file.is_file():
        files = f"{IDS_FILE}, {EMBEDDING_FILE} and {CONCEPTS_FILE}"
        raise InputError(f"{file.parent}: expected {files} in this folder, found no {file.name}; name the folder of THINGS")
    return file


def _embedding(file: Path, n_concepts: int) -> FloatArray:
    """(n_concepts, D) float64."""
    rows: list[list[float]] = []
    for line_number, line in enumerate(read_text(file).splitlines(), start=1):
        if not line.strip():
            continue
        try:
            numbers = [float(cell) for cell in line.split()]
        except ValueError:
            numbers = []
        width = len(rows[0]) if rows else len(numbers)
        if not numbers or len(numbers) != width or not all(map(math.isfinite, numbers)):
            expected = f"{width or 'the'} finite numbers with spaces between them"
            raise InputError(f"{file}: line {line_number}: expected {expected}, found {shorten(line)}; restore the line")
        rows.append(numbers)
    if len(rows) != n_concepts:
        raise InputError(f"{file}: expected a line for each of the {n_concepts} lines of {IDS_FILE}, found {len(rows)}; add them")
    return np.array(rows)


def _concepts(file: Path, ids: list[str]) -> dict[str, list[FieldValue]]:
    """The fields of the concepts, in the order of `ids`."""
    table = read_table(file, kind=".tsv")
    missing = [column for column in (_KEY, *_FIELDS.values()) if column not in table.columns]
    if missing:
        raise InputError(f"{file}: expected the column {missing[0]}, found {listing(table.columns)}; add it")
    rows = {str(concept).strip(): row for row, concept in enumerate(table.cells(_KEY))}
    unknown = next((concept for concept in ids if concept not in rows), None)
    if unknown is not None:
        raise InputError(f"{file}: expected a row with the {_KEY} {shorten(unknown)} of {IDS_FILE}, found none; add it")
    fields = {name: table.fields(column) for name, column in _FIELDS.items()}
    return {name: [values[rows[concept]] for concept in ids] for name, values in fields.items()}


def _labels(file: Path, dimensions: int) -> tuple[str, ...]:
    """The names of the dimensions, from a MATLAB file with the variable `labels`."""
    if not file.is_file():
        return dimension_names(dimensions)
    from scipy.io import loadmat

    try:
        cells = loadmat(file)["labels"]
        names = tuple(str(np.asarray(cell).item()) for cell in np.asarray(cells).ravel())
    except Exception as error:  # whatever a broken file makes the reader raise
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        raise InputError(f"{file}: not a MATLAB file with names in 'labels' ({reason}); restore it, or take it away") from None
    if len(names) != dimensions or len(set(names)) < len(names):
        raise InputError(f"{file}: expected {dimensions} different names, found {len(set(names))}; restore it, or take it away")
    return names
