"""ROWS, COLUMNS and PAIRS of the two-item model, and how a run directory remembers them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from genz_ppl.errors import OptionError, RunDirectoryError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genz_ppl.data import Items
    from genz_ppl.discovery.run.record import PairRecord
    from genz_ppl.types import Pairs

#: What stands for a side without a table.
NOTHING = "-"
SIDES = ("rows", "columns")
ROLES = ("id", "text", "covariate", "image")
# Pairs are in these files only.
_SUFFIXES = (".csv", ".tsv", ".parquet")


def holds_pairs(folder: Path) -> bool:
    """Whether a folder holds a run on two sides; False for what cannot be read, which those who read it will say."""
    try:
        record = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(record, dict) and "pairs" in record


def holds_recommender(folder: Path) -> bool:
    """Whether a folder is one of genz recommend; told without loading numpy."""
    return (folder / "recommend.json").is_file()


def pair_source(rows: str, columns: str, pairs: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What run.json notes: absolute paths, None for an undescribed side, and the roles of columns. given: the options by name."""
    if rows == columns == NOTHING:
        raise OptionError("ROWS and COLUMNS are both '-': give a table of items for the rows, the columns or both")
    if Path(pairs).suffix.lower() not in _SUFFIXES:
        raise OptionError(f"PAIRS {pairs}: expected a name that ends with {', '.join(_SUFFIXES)}")
    source: dict[str, Any] = {"pairs": _absolute(pairs), "pair_columns": given["pair_column"] or None, "absent": given["absent"]}
    for side, path in zip(SIDES, (rows, columns), strict=True):
        source[side] = None if path == NOTHING else _absolute(path)
        source[f"{side}_roles"] = {role: given[f"{side[:-1]}_{role}"] for role in ROLES}
    return source


def open_sides(source: Mapping[str, Any]) -> tuple[Items | Sequence[str], Items | Sequence[str], Pairs]:
    """Both sides, items or ids, and the pairs. Raises InputError and OptionError as reading does."""
    from genz_ppl.data.pairs import ids_of_pairs, read_pairs, with_absent

    sides: list[Items | Sequence[str]] = []
    for number, side in enumerate(SIDES):
        if source[side] is None:
            sides.append(ids_of_pairs(source["pairs"], number, source["pair_columns"]))
        else:
            sides.append(open_side(source, side))
    ids = [getattr(side, "ids", side) for side in sides]
    pairs = read_pairs(source["pairs"], ids[0], ids[1], source["pair_columns"])
    return sides[0], sides[1], with_absent(pairs) if source["absent"] else pairs


def open_side(source: Mapping[str, Any], side: str, path: str | None = None) -> Items:
    """The items of a side; path: another table with the same columns, read in the same way."""
    from genz_ppl.data import Items

    roles = source[f"{side}_roles"]
    like = path is not None and source[side] is not None and Path(source[side]).is_file()
    texts = roles["text"]
    return Items.from_file(
        path or source[side],
        id=roles["id"] or "id",
        covariates=roles["covariate"] or (),
        text=texts[0] if texts and len(texts) == 1 else texts or None,  # one text may be a template
        images=roles["image"] or (),
        require_target=False,
        readings=open_side(source, side).schema.readings if like else (),
    )


def has_tables(record: PairRecord) -> bool:
    """Whether the files that a run was started on can be read again."""
    source = record.source
    return source is not None and all(source[name] is None or Path(source[name]).is_file() for name in (*SIDES, "pairs"))


def reopen_sides(record: PairRecord, folder: Path) -> tuple[Items | Sequence[str], Items | Sequence[str], Pairs]:
    """What the run in `folder` was started on, from its run.json."""
    if record.source is None:
        raise RunDirectoryError(
            f"{folder}: the run was started from Python on tables in memory; go on there, with genz_ppl.resume_cooccur"
        )
    return open_sides(record.source)


def _absolute(path: str) -> str:
    return os.path.abspath(os.path.expanduser(path))
