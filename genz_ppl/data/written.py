"""Items as JSON, item by item, for what is told by a hash of it; of columns without making the items."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii
from typing import cast

from genz_ppl.data.values import readable
from genz_ppl.rows import Rows, rows_of
from genz_ppl.types import FieldValue, Item


def written(items: Sequence[Item], with_id: bool) -> Iterator[str]:
    """`[id, text, fields]` of each item, its fields in their order; or, without its id, `[text, fields, names of images]`, the
    fields in the order of their names."""
    rows = rows_of(items)
    if rows is None:
        for item in items:
            yield _one(item, with_id)
        return
    yield from _of_columns(rows, with_id)


def _one(item: Item, with_id: bool) -> str:
    if with_id:
        return json.dumps([item.id, item.text, dict(item.fields)], default=readable)
    return json.dumps([item.text, dict(item.fields), [path.name for path in item.images]], sort_keys=True, default=readable)


def _of_columns(rows: Rows, with_id: bool) -> Iterator[str]:
    if rows.store.images:
        yield from (_one(item, with_id) for item in rows)
        return
    names = rows.names if with_id else sorted(rows.names)
    for part in rows.parts():
        ids, columns, texts = rows.store.read(part)
        fields = [", ".join(row) for row in zip(*(_pieces(name, columns[name]) for name in names), strict=True)]
        for name, text, row in zip(ids, map(encode_basestring_ascii, texts), fields or [""] * len(ids), strict=True):
            yield f"[{encode_basestring_ascii(name)}, {text}, {{{row}}}]" if with_id else f"[{text}, {{{row}}}, []]"


def _pieces(name: str, values: Sequence[FieldValue]) -> list[str]:
    """`"name": value` for each value of a column."""
    start, kinds = f"{encode_basestring_ascii(name)}: ", set(map(type, values))
    if kinds == {str}:
        return [start + encode_basestring_ascii(cast("str", value)) for value in values]
    if kinds == {int} or (kinds == {float} and all(map(math.isfinite, cast("list[float]", values)))):
        return [f"{start}{value!r}" for value in values]
    return [start + json.dumps(value, default=readable) for value in values]
