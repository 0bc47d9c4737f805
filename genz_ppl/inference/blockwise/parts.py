"""Blocks from a table in parquet files, of whatever sizes: read a little at a time, so that it may be larger than memory."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from genz_ppl.errors import InputError, OptionError
from genz_ppl.inference.blockwise.files import KINDS, ROWS, block_name, write_table, write_whole

NAMES_FILE = "columns.json"


def blocks_from(
    source: str | Path,
    folder: str | Path,
    questions: Sequence[str],
    targets: Sequence[str],
    covariates: Sequence[str] = (),
    rows: int = ROWS,
) -> list[Path]:
    """Write the items of a .parquet file, or of all those of a folder in the order of their names, as blocks into a new folder.

    questions: columns of answers, 1 and 0 or true and false, empty where there is none; targets, covariates: of numbers, which
    are kept as float32. rows: of a block. The columns' names are kept beside the blocks, see `column_names`. Returns the files.
    Raises InputError for a column that is not there or of another kind, OptionError for a folder that holds blocks already.
    """
    there, names = Path(folder), dict(zip(KINDS, (questions, targets, covariates), strict=True))
    if there.exists() and any(there.glob("*.parquet")):
        raise OptionError(f"{there}: holds blocks already; name a new folder")
    parts = parts_in(source)
    files: list[Path] = []
    waiting: list[pa.Table] = []
    for table in _read(parts, names):
        waiting.append(table)
        while (there_are := sum(map(len, waiting))) >= rows:
            whole = pa.concat_tables(waiting)
            files.append(_written(there, len(files), whole.slice(0, rows)))
            waiting = [whole.slice(rows)] if there_are > rows else []
    if any(map(len, waiting)):
        files.append(_written(there, len(files), pa.concat_tables(waiting)))
    write_whole(there / NAMES_FILE, json.dumps({kind: list(some) for kind, some in names.items()}))
    return files


def parts_in(source: str | Path) -> list[Path]:
    """A .parquet file, or those of a folder in the order of their names. Raises InputError where there are none."""
    parts = sorted(Path(source).glob("*.parquet")) if Path(source).is_dir() else [Path(source)]
    if not parts or not parts[0].exists():
        raise InputError(f"{source}: expected a .parquet file, or a folder of them, found none")
    return parts


def column_names(folder: str | Path) -> dict[str, list[str]]:
    """What the columns of blocks that `blocks_from` wrote were called: by "answer", "target" and "covariate", in their order."""
    found: dict[str, list[str]] = json.loads((Path(folder) / NAMES_FILE).read_text())
    return found


def _written(folder: Path, number: int, table: pa.Table) -> Path:
    file = folder / block_name(number)
    write_table(file, table.combine_chunks())
    return file


def _read(parts: Sequence[Path], names: dict[str, Sequence[str]]) -> Iterator[pa.Table]:
    """A few ten thousand items at a time, with the columns that blocks have."""
    wanted = [name for some in names.values() for name in some]
    for part in parts:
        try:
            file = pq.ParquetFile(part)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{part}: cannot be read as parquet ({' '.join(str(error).split())})") from None
        with file:
            lacking = [name for name in wanted if name not in file.schema_arrow.names]
            if lacking:
                raise InputError(f"{part}: expected a column {lacking[0]!r}, found none; name columns that all parts have")
            before = 0
            for batch in file.iter_batches(batch_size=ROWS, columns=list(dict.fromkeys(wanted)), use_threads=False):
                columns = {
                    f"{kind}_{number}": _column(part, name, batch.column(name), kind, before)
                    for kind, some in names.items()
                    for number, name in enumerate(some)
                }
                yield pa.table(columns)
                before += len(batch)


def _column(part: Path, name: str, values: pa.Array, kind: str, before: int) -> pa.Array:
    """As a block has it. before: how many rows of the part come before these."""
    numeric = pa.types.is_integer(values.type) or pa.types.is_floating(values.type)
    if kind != KINDS[0]:
        if not numeric:
            raise InputError(f"{part}: column {name!r}: expected numbers, found {values.type}; name another column")
        numbers = pc.cast(values, pa.float32(), safe=False)
        _refuse(part, name, values, pc.is_finite(numbers), before, "a finite number", "fill it in, or leave the row out")
        return numbers
    if not numeric and not pa.types.is_boolean(values.type):
        raise InputError(f"{part}: column {name!r}: expected answers 1 and 0, or true and false, found {values.type}")
    answers = pc.cast(values, pa.float32(), safe=False)
    fits = pc.or_kleene(pc.is_null(answers, nan_is_null=True), pc.or_kleene(pc.equal(answers, 1.0), pc.equal(answers, 0.0)))
    _refuse(part, name, values, fits, before, "1, 0 or nothing", "correct the cell")
    return values if pa.types.is_floating(values.type) else pc.cast(values, pa.int8(), safe=False)


def _refuse(part: Path, name: str, values: pa.Array, fits: pa.Array, before: int, expected: str, remedy: str) -> None:
    """Raise InputError for the first value that does not fit; nothing there does not, unless `fits` says so."""
    wrong = pc.index(pc.fill_null(fits, False), False).as_py()
    if wrong >= 0:
        found = values[wrong].as_py()
        shown = "nothing" if found is None else f"{found:g}"
        raise InputError(f"{part}: row {before + wrong + 1}, column {name!r}: expected {expected}, found {shown}; {remedy}")
