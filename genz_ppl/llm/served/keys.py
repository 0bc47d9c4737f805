"""What decides an answer, hashed: the item's content, and everything else that a stored reply depends on."""

from __future__ import annotations

import base64
import hashlib
import json
import mimetypes
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from genz_ppl.errors import InputError
from genz_ppl.types import Item


def canonical(value: object) -> str:
    """JSON with one spelling for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def digest(value: object) -> bytes:
    """The sha-256 of a value that JSON can hold, 32 bytes."""
    return hashlib.sha256(canonical(value).encode()).digest()


def item_hash(item: Item, with_images: bool) -> bytes:
    """The sha-256 of what an item says: text, fields and the bytes of its images; its id has no part in it."""
    images = [image_hash(path).hex() for path in item.images] if with_images else []
    return digest([item.text, _plain(item.fields), images])


def _plain(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value if isinstance(value, str | int | float | bool | None) else str(value) for name, value in fields.items()}


def image_hash(path: Path) -> bytes:
    """The sha-256 of an image's bytes. Raises InputError if it cannot be read."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return _hashed(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _hashed(path: Path, _changed: int, _size: int) -> bytes:
    return hashlib.sha256(_read(path)).digest()


def data_address(path: Path) -> str:
    """An image as a data: address. Raises InputError if it cannot be read or its name does not tell what it is."""
    kind, _ = mimetypes.guess_type(path.name)
    if kind is None or not kind.startswith("image/"):
        raise InputError(f"{path}: expected an image by its suffix (.jpg, .png, .webp), got {path.suffix or 'none'}; rename it")
    return f"data:{kind};base64,{base64.b64encode(_read(path)).decode()}"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: the image cannot be read ({error.strerror}); correct the path, or leave images out")
