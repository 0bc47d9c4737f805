"""What decides an answer, hashed: the item's content, and everything else that a stored reply depends on."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from genz_ppl.errors import InputError
from genz_ppl.types import Item

# How their files begin.
_IMAGES = {
    "image/png": rb"\x89PNG\r\n\x1a\n",
    "image/jpeg": rb"\xff\xd8\xff",
    "image/webp": rb"RIFF....WEBP",
    "image/gif": rb"GIF8[79]a",
    "image/bmp": rb"BM....\0\0\0\0",
    "image/tiff": rb"II\*\0|MM\0\*",
    "image/avif": rb"....ftypavi[fs]",
    "image/heic": rb"....ftyp(hei[cx]|mif1)",
}


def canonical(value: object) -> str:
    """JSON with one spelling for one value."""
    return json.dumps(value, sort_keys=True, ensure_ascii=True, separators=(",", ":"))


def digest(value: object) -> bytes:
    """The sha-256 of a value that JSON can hold, 32 bytes."""
    return hashlib.sha256(canonical(value).encode()).digest()


def item_hash(item: Item, with_images: bool) -> bytes:
    """The sha-256 of what an item says: text, fields and the bytes of its images; its id has no part in it."""
    images = [image_hash(path).hex() for path in item.images] if with_images else []
    return digest([item.text, plain_fields(item.fields), images])


def plain_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as JSON can hold them."""
    return {name: value if isinstance(value, str | int | float | bool | None) else str(value) for name, value in fields.items()}


def image_hash(path: Path) -> bytes:
    """The sha-256 of an image's bytes. Raises InputError if it cannot be read or is no image."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from None
    return _hashed(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=100_000)
def _hashed(path: Path, _changed: int, _size: int) -> bytes:
    check_image(path)
    return hashlib.sha256(_read(path)).digest()


def data_address(path: Path) -> str:
    """An image as a data: address, by what the file holds. Raises InputError if it is no image or cannot be read."""
    return f"data:{check_image(path)};base64,{base64.b64encode(_read(path)).decode()}"


def check_image(path: Path) -> str:
    """What kind of image a file holds, such as image/png, by its first bytes; whatever it is called, nothing else is sent.

    Raises InputError for any other file, and one that cannot be read.
    """
    head = _read(path, 12)
    found = next((kind for kind, start in _IMAGES.items() if re.match(start, head, re.DOTALL)), None)
    if found is None:
        raise InputError(f"{path}: expected an image (png, jpeg, webp, gif, ...), found another kind of file; leave it out")
    return found


def _read(path: Path, size: int = -1) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(f"{path}: the image cannot be read ({error.strerror}); correct the path, or leave images out")
