"""split.parquet: on which side of a run each item is, and a hash of what it says; beside run.json, since it never changes."""

from __future__ import annotations

import hashlib
from io import BytesIO
from pathlib import Path

import pyarrow
import pyarrow.compute
import pyarrow.parquet

from genz_ppl.discovery.run.record import AllSides, RunRecord, SideSizes
from genz_ppl.errors import RunDirectoryError

# Texts that are hashed together.
_AT_ONCE = 1 << 16
_ID, _SIDE, _CONTENT = "id", "side", "content"


def sides_bytes(record: RunRecord) -> bytes:
    """The content of the file: ids side by side, in the order of the run, and the first eight bytes of hashes."""
    sides = list(AllSides.model_fields)
    names = [name for side in sides for name in getattr(record.split, side)]
    hashes = [bytes.fromhex(each) for side in sides for each in getattr(record.contents, side)]
    codes = [code for code, side in enumerate(sides) for _ in getattr(record.split, side)]
    columns = {
        _ID: pyarrow.array(names, pyarrow.string()),
        _SIDE: pyarrow.DictionaryArray.from_arrays(pyarrow.array(codes, pyarrow.int8()), pyarrow.array(sides)),
        _CONTENT: pyarrow.array(hashes, pyarrow.binary(8)),
    }
    file = BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), file, compression="zstd", use_dictionary=[_SIDE])
    return file.getvalue()


def with_sides(record: RunRecord, path: Path) -> RunRecord:
    """The record of a run.json that leaves the sides to the file. Raises RunDirectoryError where that is not its file."""
    try:
        table = pyarrow.parquet.read_table(path)
        found: dict[str, dict[str, list[str]]] = {_ID: {}, _CONTENT: {}}
        for side in AllSides.model_fields:
            part = table.filter(pyarrow.compute.equal(table[_SIDE].cast(pyarrow.string()), side))
            found[_ID][side] = part[_ID].to_pylist()
            found[_CONTENT][side] = [each.hex() for each in part[_CONTENT].to_pylist()]
        whole = record.changed(split=AllSides(**found[_ID]), contents=AllSides(**found[_CONTENT]))
    except FileNotFoundError:
        raise RunDirectoryError(f"{path}: is missing; take an intact copy of the folder") from None
    except (pyarrow.ArrowException, OSError, LookupError, ValueError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise RunDirectoryError(f"{path}: cannot be read: {reason}; take an intact copy of the folder") from None
    if sizes_of(whole) != record.sides:
        raise RunDirectoryError(f"{path}: is damaged, or that of another run; take an intact copy of the folder")
    return whole


def sizes_of(record: RunRecord) -> SideSizes:
    """What run.json says of the sides."""
    digest, counts = hashlib.sha256(), {}
    for side in AllSides.model_fields:
        names, hashes = getattr(record.split, side), getattr(record.contents, side)
        counts[side] = len(names)
        for texts in (names, hashes):
            for start in range(0, len(texts), _AT_ONCE):
                digest.update("".join(f"{len(text)}:{text}" for text in texts[start : start + _AT_ONCE]).encode())
            digest.update(b"\n")
    return SideSizes(**counts, sha256=digest.hexdigest())
