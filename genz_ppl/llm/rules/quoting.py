"""Names and values inside statements: plain words and numbers as they are, anything else in double quotes."""

from __future__ import annotations

import re

_PLAIN = r"-?\w(?:[\w.\-/+:&]*\w)?"
_DOUBLE = r'"(?:[^"\\]|\\.)*"'
SINGLE = r"'(?:[^'\\]|\\.)*'"
NAME = rf"(?:{_DOUBLE}|{_PLAIN})"
_RESERVED = frozenset({"is", "not", "at", "less", "between", "starts", "mentions", "modulo"})
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNESCAPES = {"\\": "\\", '"': '"', "'": "'", "n": "\n", "r": "\r", "t": "\t"}


def quoted(text: str) -> str:
    """A name or value as it stands in a statement."""
    if re.fullmatch(_PLAIN, text) and text.casefold() not in _RESERVED:
        return text
    return '"' + "".join(_ESCAPES.get(character, character) for character in text) + '"'


def unquoted(token: str) -> str:
    """The inverse of `quoted`."""
    if token[0] not in "\"'":
        return token
    return re.sub(r"\\(.)", lambda match: _UNESCAPES.get(match[1], match[0]), token[1:-1], flags=re.DOTALL)
