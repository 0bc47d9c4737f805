"""Files whose cells have types already: parquet, alone or in parts, and workbooks."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet

from genz_ppl.cells import LARGE
from genz_ppl.data.files import SourceFile, first_line
from genz_ppl.data.table import Table, check_columns, table_from_frame
from genz_ppl.data.values import listing, plain, shorten
from genz_ppl.errors import GenzWarning, InputError
from genz_ppl.mapped import let_go, room


def read_parquet(file: SourceFile, memory: int | None = None) -> Table:
    """One parquet file. memory: see `room`. Raises InputError if it is broken."""
    return table_from_frame(_parquet(file.path, file.name, memory), file.name, file.folder)


def read_parts(file: SourceFile) -> Table:
    """A folder of parquet files with the same columns, in the order of their names; folders such as year=2024 are columns."""
    paths = sorted(path for path in file.path.rglob("*.parquet") if path.is_file())
    if not paths or (file.path / "run.json").exists():
        what = "a run directory" if paths else "a directory"
        raise InputError(f"{file}: this is {what}; name a file, or a folder of parquet files with the same columns")
    frames = [_parquet(path, str(path)).assign(**_of_folders(path.relative_to(file.path))) for path in paths]
    for path, frame in zip(paths, frames, strict=True):
        if set(frame.columns) != set(frames[0].columns):
            differing = listing(map(str, set(frame.columns) ^ set(frames[0].columns)))
            raise InputError(f"{path}: its columns are not those of {paths[0].name} ({differing}); write the parts alike")
    return table_from_frame(pd.concat(frames, ignore_index=True), file.name, file.folder)


def _of_folders(path: Path) -> dict[str, str]:
    """Columns that the names of a part's folders give."""
    named = (unquote(folder).partition("=") for folder in path.parts[:-1])
    return {name: value for name, equals, value in named if equals}


def _parquet(path: Path, name: str, memory: int | None = None) -> pd.DataFrame:
    try:
        file = pyarrow.parquet.ParquetFile(path)
        columns, narrow = file.schema_arrow.names, _narrow(file)
        others = None if not narrow else [column for column in columns if column not in narrow]
        # Nullable types: an integer column with gaps stays one.
        frame = pd.read_parquet(path, columns=others, partitioning=None, dtype_backend="numpy_nullable")
        if narrow:  # side by side, as `extract` then takes them, and read one by one: Arrow does not hold all of them, too
            whole = room((len(frame), len(narrow)), np.float32, memory)
            for place, column in enumerate(narrow):
                whole[:, place] = file.read([column]).column(0).to_numpy()
            let_go(whole)
            views = {column: whole[:, place] for place, column in enumerate(narrow)}
            frame = pd.concat([frame, pd.DataFrame(views, index=frame.index, copy=False)], axis=1)
            frame = frame[[column for column in columns if column in frame]]
        pyarrow.default_memory_pool().release_unused()
        return frame
    except (pyarrow.ArrowException, ValueError, OSError) as error:
        raise InputError(f"{name}: not a readable parquet file ({first_line(error)}); write it again") from None


def _narrow(file: pyarrow.parquet.ParquetFile) -> list[str]:
    """The columns in float32, where they hold very many numbers together and are no part of an index."""
    schema = file.schema_arrow
    found = [column.name for column in schema if column.type == pyarrow.float32()]
    plain = len(set(schema.names)) == len(schema.names) and not {*found} & {*_index_columns(schema)}
    return found if plain and len(found) * file.metadata.num_rows >= LARGE and len(found) < len(schema) else []


def _index_columns(schema: pyarrow.Schema) -> list[str]:
    """Those that a DataFrame's index was written to."""
    return [each for each in (schema.pandas_metadata or {}).get("index_columns", ()) if isinstance(each, str)]


def read_workbook(file: SourceFile, memory: int | None = None) -> Table:
    """The first sheet of an .xlsx file, with one header row: cells as a spreadsheet last showed them, formulas by their values.

    Raises InputError without openpyxl and for any fault of the file; a GenzWarning names the sheet if there are several.
    """
    try:
        from openpyxl import load_workbook
        from openpyxl.utils.exceptions import InvalidFileException
    except ImportError:
        raise InputError(f"{file}: needs openpyxl: pip install 'genz-ppl[excel]', or save it as .csv") from None
    try:
        book = load_workbook(file.path, data_only=True)
    except (InvalidFileException, zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise InputError(f"{file}: not a readable workbook ({first_line(error)}); save it again, as .xlsx or .csv") from None
    sheet = book.worksheets[0] if book.worksheets else None
    rows = [list(row) for row in sheet.values if any(plain(cell) is not None for cell in row)] if sheet is not None else []
    if sheet is None or not rows:
        raise InputError(f"{file}: the first sheet is empty; a header row and at least one row of data are needed")
    if len(book.worksheets) > 1:
        said = f"{file}: the sheet {shorten(sheet.title)} is read, the first of {len(book.worksheets)}; save another one as .csv"
        warnings.warn(said, GenzWarning, stacklevel=2)
    filled = [column for column in zip(*rows, strict=True) if any(plain(cell) is not None for cell in column)]
    names = [plain(column[0]) for column in filled]
    columns = [f"Unnamed: {place}" if name is None else str(name).strip() for place, name in enumerate(names)]
    check_columns(columns, file.name)
    cells = {name: pd.Series(list(column[1:]), dtype=object) for name, column in zip(columns, filled, strict=True)}
    table = table_from_frame(pd.DataFrame(cells), file.name, file.folder)
    unnamed = frozenset(name for name, given in zip(columns, names, strict=True) if given is None)
    return Table(table.frame, table.name, table.folder, unread=unnamed)
