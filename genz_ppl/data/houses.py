"""The house prices of Ahmed & Moustafa (2016): listings with four photographs each (the paper's section 5.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from genz_ppl.data.columns import Schema
from genz_ppl.data.files import read_text
from genz_ppl.data.items import Items
from genz_ppl.data.reading import read_table
from genz_ppl.data.values import label, shorten
from genz_ppl.errors import InputError, OptionError
from genz_ppl.types import FieldValue

METADATA_FILE = "HousesInfo.txt"
FOLDER = "Houses-dataset"
ANNOTATIONS_FILE = "annotations.jsonl"
LISTING = "listing"
ZIPCODE = "zipcode"
_ROOMS = ("frontal", "bedroom", "bathroom", "kitchen")
_METADATA = ("bedrooms", "bathrooms", "area", ZIPCODE)
_COVARIATES = ("area", "bedrooms", "bathrooms")
_TARGET = "log_price"
_ID = "house"


def houses_items(directory: str | Path, annotations: bool = True, group: str | None = None, varying: str | None = None) -> Items:
    """Houses "1", "2", … with the natural logarithm of the price as target and area, bedrooms and bathrooms as covariates.

    directory: holds Houses-dataset/HousesInfo.txt (or is Houses-dataset itself), the photographs {i}_{room}.jpg, those that
    are there, and maybe annotations.jsonl: attributes of each house, which are read too. annotations: False leaves them out.
    The price is never read. Houses of equal area and zip code, double listings among them, share a group label;
    the split keeps them together only with group="listing". varying: "zipcode" for effects that vary by it.

    Raises InputError if the files are missing or broken, OptionError for another group or another column to vary by.
    """
    if varying not in (None, ZIPCODE):
        raise OptionError(f"houses vary by '{ZIPCODE}' only, not by {shorten(varying)}: --varying {ZIPCODE}, or drop --varying")
    if group not in (None, LISTING):
        raise OptionError(f"houses are grouped by '{LISTING}' only, not by {shorten(group)}: --group {LISTING}, or drop --group")
    frame = houses_frame(directory, annotations)
    schema = houses_schema(frame)
    items = Items.from_frame(
        frame.set_index(_ID, drop=False),
        id=schema.id,
        target=schema.target,
        covariates=schema.covariates,
        text=schema.readable,
        images=schema.images,
        group=LISTING,
        varying=varying,
        name="houses" if annotations else "houses-metadata",
    )
    return replace(items, schema=replace(schema, group=group, varying=varying))


def houses_schema(frame: pd.DataFrame) -> Schema:
    """The roles of the columns of `houses_frame`, without a group."""
    hidden = (_ID, _TARGET, LISTING, *_ROOMS)
    text = tuple(str(column) for column in frame.columns if column not in hidden)
    return Schema(id=_ID, target=(_TARGET,), covariates=_COVARIATES, text=text, images=_ROOMS)


def houses_frame(directory: str | Path, annotations: bool = True) -> pd.DataFrame:
    """One row per house: house, log_price, the metadata, the annotations if any, the image paths and the listing."""
    folder = _metadata_folder(Path(directory).expanduser())
    rows = _metadata_rows(folder / METADATA_FILE)
    numbers = [str(house) for house in range(1, len(rows) + 1)]
    columns: dict[str, Sequence[FieldValue]] = {_ID: numbers, _TARGET: [math.log(float(row[4])) for row in rows]}
    columns |= {name: [_cell(name, row[index]) for row in rows] for index, name in enumerate(_METADATA)}
    present = {path.name: str(path) for path in folder.resolve().glob("*.jpg")}
    images = {room: [present.get(f"{house}_{room}.jpg") for house in numbers] for room in _ROOMS}
    first_of: dict[tuple[str, str], str] = {}  # bathrooms and price differ between some listings of one house
    listing = [first_of.setdefault((row[2], row[3]), house) for house, row in zip(numbers, rows, strict=True)]
    file = _annotations_file(Path(directory).expanduser(), folder) if annotations else None
    if file is not None:
        columns |= _annotations(file, numbers, {*columns, *images, LISTING, "price"})
    columns |= {**images, LISTING: listing}
    # Cells keep the type each has: whole and fractional bathrooms, true, text and nothing.
    return pd.DataFrame({name: pd.Series(list(cells), dtype=object) for name, cells in columns.items()})


def _metadata_folder(directory: Path) -> Path:
    for folder in (directory / FOLDER, directory):
        if (folder / METADATA_FILE).is_file():
            return folder
    raise InputError(
        f"{directory}: expected {FOLDER}/{METADATA_FILE} in this folder, found none; name the folder of the house data"
    )


def _annotations_file(directory: Path, folder: Path) -> Path | None:
    places = [directory / ANNOTATIONS_FILE]
    if directory == folder:  # the inner folder was named; the annotations lie beside it
        places.append(folder.resolve().parent / ANNOTATIONS_FILE)
    return next((place for place in places if place.is_file()), None)


def _metadata_rows(file: Path) -> list[tuple[str, ...]]:
    rows = []
    for line_number, line in enumerate(read_text(file).splitlines(), start=1):
        cells = tuple(line.split())
        if not cells:
            continue
        try:
            valid = len(cells) == 5 and all(math.isfinite(float(cell)) for cell in cells) and float(cells[4]) > 0
        except ValueError:
            valid = False
        if not valid:
            raise InputError(
                f"{file}: line {line_number}: expected five numbers (bedrooms bathrooms area zipcode price, price above 0), "
                f"found {shorten(line)}; restore the line"
            )
        rows.append(cells)
    if not rows:
        raise InputError(f"{file}: the file is empty; one line per house is needed")
    return rows


def _cell(name: str, written: str) -> FieldValue:
    if name == ZIPCODE:  # a name of a place, not a quantity
        return written
    return _whole(float(written))


def _whole(value: FieldValue) -> FieldValue:
    """3.0 as 3: counts and grades were written as floats where others of their column are missing."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _annotations(file: Path, houses: Sequence[str], taken: set[str]) -> dict[str, list[FieldValue]]:
    table = read_table(file, kind=".jsonl")
    if _ID not in table.columns:
        raise InputError(f"{file}: expected the key '{_ID}' in each line and there is none; add the number of the house")
    rows: dict[str, int] = {}
    for row, cell in enumerate(table.cells(_ID)):
        house = label(cell)
        if house is None or house not in houses or house in rows:
            expected = f"expected a house from 1 to {len(houses)}, each once"
            raise InputError(f"{file}: row {row + 1}: {expected}, found {shorten(cell)}; correct the line")
        rows[house] = row
    result: dict[str, list[FieldValue]] = {}
    for column in table.columns:
        if column == _ID:
            continue
        name = "description" if column == "text" else column
        if name in taken or name in result:
            raise InputError(f"{file}: the key {shorten(column)} clashes with a column of the houses; give it another name")
        cells = [_whole(value) for value in table.fields(column)]
        result[name] = [cells[rows[house]] if house in rows else None for house in houses]
    return result
