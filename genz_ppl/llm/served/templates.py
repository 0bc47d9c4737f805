"""The prompts: versioned template files, checked when loaded, filled with items and features as lines of JSON.

A file is `version: N`, then a block `--- system` and a block `--- user`. A placeholder such as {items} stands alone on its
line in the user block and becomes lines of JSON; a number such as {n} may stand anywhere. A paragraph (lines between empty
ones) whose placeholder turns out empty is left out. Braces around anything but one word are plain text.

A change of the code here that changes what a model is sent goes with a higher `version: N` in the built-in files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from genz_ppl.errors import OptionError
from genz_ppl.types import Tried

SUFFIX = ".txt"
_VERSION = re.compile(r"version: ([1-9][0-9]{0,5})[ \t]*")
_BLOCK = re.compile(r"^--- (\S+)[ \t]*$", re.MULTILINE)
_PLACEHOLDER = re.compile(r"\{[ \t]*([^\W\d]\w*)[ \t]*\}")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("[\x80-\x9f\u2028\u2029]")  # JSON leaves them as they are, and some readers end a line there
_MOST_LISTED = 200  # numbers in a schema; servers limit them, and the reply is checked anyway


@dataclass(frozen=True)
class _Places:
    """The placeholders of a template. lines, empty: each once, the latter with nothing to show at times; later: as those, but
    prompts of an earlier version do without. numbers: the first `needed` of them must be there."""

    lines: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    later: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    needed: int = 0
    json: bool = True


_PLACES = {
    "extract_one": _Places(("items", "features"), numbers=("n_features",)),
    "extract_many": _Places(("items", "features"), numbers=("n_items", "n_features")),
    "extract_one_short": _Places(("items", "features"), numbers=("n_features",)),
    "extract_many_short": _Places(("items", "features"), numbers=("n_items", "n_features")),
    "mine": _Places(("positive", "negative"), ("context", "existing"), ("tried", "improved"), ("n",), 1),
    "suggest": _Places(("task",), ("items",), numbers=("n",), needed=1),
    "describe": _Places(json=False),
}
NAMES = tuple(_PLACES)
# For items whose text is short, in place of the prompt that has them described first.
_SHORT = {"extract_one": "extract_one_short", "extract_many": "extract_many_short"}
# The key of a reply that holds descriptions of items; a prompt that names it asks for them.
_DESCRIBED = "characteristics"
# The same of thoughts before questions.
_THOUGHTS = "thoughts"
# Prompts of an earlier version, by name.
EARLIER = ("mine", "suggest")


@dataclass(frozen=True)
class Prompt:
    """One template. version: its number and the first 8 hex digits of the file's sha-256 ("1-0a1b2c3d"; line ends count as
    \\n): part of every answer's key. source: the file, None for a built-in one."""

    name: str
    version: str
    system: str
    user: str
    source: Path | None = None


@dataclass(frozen=True)
class Rendered:
    """One filled prompt. schema: strict JSON schema of the reply, None for free text; schema_name: the prompt's name."""

    name: str
    version: str
    system: str
    user: str
    schema: dict[str, Any] | None
    schema_name: str


@dataclass(frozen=True)
class Prompts:
    """The prompts by name: extract_one, extract_many (Fig. 1), the same with _short for items that need no description, mine
    (Fig. 2), suggest (0-shot), describe (images)."""

    by_name: Mapping[str, Prompt]

    @classmethod
    def load(cls, folder: Path | str | None = None) -> Prompts:
        """The built-in prompts, each replaced by the file of its name in `folder` where there is one.

        A user's own extract_one or extract_many is that of short items, too, unless there is one of theirs.
        Raises OptionError, with the file, for a folder without templates, a file of another name, and a template without its
        version line, its two blocks or its placeholders, or with unknown ones.
        """
        own = {} if folder is None else _files(Path(folder))
        prompts = {name: _parse(name, *_read(name, own.get(name))) for name in NAMES}
        prompts |= {short: prompts[name] for name, short in _SHORT.items() if name in own and short not in own}
        return cls(prompts)

    def version(self, name: str) -> str:
        """The version of one prompt; "extract" and "extract_short" give that of both, since either may ask a question."""
        if name in ("extract", "extract_short"):
            return "+".join(self.by_name[part].version for part in (_SHORT if name == "extract" else _SHORT.values()))
        return self.by_name[name].version

    @property
    def shows_tried(self) -> bool:
        """Whether the prompt for wordings has a place for those that were tried, or for one to be improved."""
        return any(f"{{{name}}}" in self.by_name["mine"].user for name in _PLACES["mine"].later)

    def extract(self, items: Sequence[str], features: Sequence[str], described: bool = True) -> Rendered:
        """Ask every feature about every item: `extract_one` for a single item, else `extract_many`.

        described: whether the items are described first, unless the prompt is a user's own.
        """
        _some(items=items, features=features)
        one = len(items) == 1
        values = {
            "items": _lines("item", items),
            "features": _lines("feature", features),
            "n_items": str(len(items)),
            "n_features": str(len(features)),
        }
        entry = {"applies": _integers([0, 1])} if one else {"matched_items": _list(_numbers(len(items)), most=len(items))}
        n = len(features)
        entries = _list(_object({"feature": _numbers(n), **entry}), least=n, most=n)
        name = "extract_one" if one else "extract_many"
        shown = name if described else _SHORT[name]
        first = {_DESCRIBED: {"type": "string"}} if f'"{_DESCRIBED}"' in self.by_name[shown].user else {}
        schema = _object({**first, "answers" if one else "features": entries})
        return self._fill(shown, values, schema, name)

    def mine(
        self,
        contrast_positive: Sequence[str],
        contrast_negative: Sequence[str],
        context: Sequence[str],
        existing: Sequence[str],
        n: int,
        tried: Sequence[Tried] = (),
        improved: str = "",
        moved: Sequence[int] = (),
    ) -> Rendered:
        """Ask for up to n wordings of what the positive items share and the negative ones lack.

        context: features that all shown items share (Algorithm 2), existing: features not to be repeated; both may be empty.
        Items are numbered through both groups. For the other polarity, give the groups in reverse.
        tried: wordings with how well they do; improved: the one in use that a better one is sought for, with the numbers of the
        items that it puts in the other group. A prompt without a place for it has it among the existing ones.
        """
        _some(positive=contrast_positive, negative=contrast_negative)
        placed = improved if "{improved}" in self.by_name["mine"].user else ""
        existing = [text for text in existing if text != placed]
        values = {
            "positive": _lines("item", contrast_positive),
            "negative": _lines("item", contrast_negative, first=1 + len(contrast_positive)),
            "context": _lines("feature", context),
            "existing": _lines("feature", existing, first=1 + len(context)),
            "tried": "\n".join(map(_tried, tried)),
            "improved": as_line({"text": placed, "items": ", ".join(map(str, moved))}) if placed else "",
            "n": str(n),
        }
        schema = _object({"description": {"type": "string"}, "characteristics": _list({"type": "string"}, most=n)})
        return self._fill("mine", values, schema)

    def suggest(self, items: Sequence[str], task: str, n: int) -> Rendered:
        """Ask for n yes/no questions from a description of the task and a sample of items, which may be empty."""
        if not task.strip():
            raise OptionError("task: expected a description of what is to be predicted, got none; say it in a sentence")
        values = {"task": as_line({"task": task}), "items": _lines("item", items), "n": str(n)}
        thoughts = {_THOUGHTS: {"type": "string"}} if f'"{_THOUGHTS}"' in self.by_name["suggest"].user else {}
        return self._fill("suggest", values, _object({**thoughts, "questions": _list({"type": "string"}, most=n)}))

    def describe(self) -> Rendered:
        """Ask for a description of the image that is sent along; the reply is free text."""
        return self._fill("describe", {}, None)

    def _fill(self, name: str, values: Mapping[str, str], schema: dict[str, Any] | None, called: str = "") -> Rendered:
        """called: the name of the schema, if not the prompt's."""
        prompt = self.by_name[name]
        texts = _filled(prompt.system, values), _filled(prompt.user, values)
        return Rendered(name, prompt.version, *texts, schema, called or name)


def built_in(name: str, earlier: bool = False) -> str:
    """The text of a template that comes with the package; earlier: of its version before, where there is one (`EARLIER`)."""
    place = ("earlier", name + SUFFIX) if earlier and name in EARLIER else (name + SUFFIX,)
    return resources.files("genz_ppl.llm.served").joinpath("prompts", *place).read_text(encoding="utf-8")


def cut_text(text: str, limit: int) -> str:
    """The text, or its start and a mark that says how much is left out, together at most `limit` characters.

    A limit below the mark's own length (some 50 characters) leaves the mark alone.
    """
    if len(text) <= limit:
        return text
    kept = max(0, limit - len(_mark(len(text), len(text))))
    return text[:kept] + _mark(len(text) - kept, len(text))


def _mark(left_out: int, total: int) -> str:
    return f" [... {left_out} of {total} characters left out]"


def _tried(one: Tried) -> str:
    shares = {"positive group": f"{100 * one.positive:.0f} %", "negative group": f"{100 * one.negative:.0f} %"}
    return as_line({"text": one.text, **shares})


def _lines(kind: str, texts: Sequence[str], first: int = 1) -> str:
    return "\n".join(as_line({kind: number, "text": text}) for number, text in enumerate(texts, start=first))


def as_line(values: Mapping[str, str | int]) -> str:
    """One line of JSON that any reader takes as one line and that can be sent as UTF-8, whatever the texts hold."""
    line = json.dumps(values, ensure_ascii=False)
    if line.isascii():
        return line  # most lines; the searches below take far longer
    line = _SURROGATE.sub("\ufffd", line)
    return _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _filled(template: str, values: Mapping[str, str]) -> str:
    """One pass over the template: what is filled in is not looked at again."""
    paragraphs = (part for part in template.split("\n\n") if all(values[name] for name in _PLACEHOLDER.findall(part)))
    return _PLACEHOLDER.sub(lambda found: values[found[1]], "\n\n".join(paragraphs))


def _some(**groups: Sequence[str]) -> None:
    for name, group in groups.items():
        if not group:
            raise ValueError(f"{name}: expected at least one text, got none")


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _list(entries: dict[str, Any], least: int = 0, most: int = 10**9) -> dict[str, Any]:
    """An array. Small models go on listing where nothing ends them; long limits would make a large grammar, and are left out."""
    limits = {"minItems": least} if 0 < least <= _MOST_LISTED else {}
    if most <= _MOST_LISTED:
        limits["maxItems"] = most
    return {"type": "array", "items": entries, **limits}


def _integers(allowed: Sequence[int]) -> dict[str, Any]:
    return {"type": "integer", "enum": list(allowed)}


def _numbers(count: int) -> dict[str, Any]:
    return _integers(range(1, count + 1)) if count <= _MOST_LISTED else {"type": "integer"}


def _files(folder: Path) -> dict[str, Path]:
    """The templates in a folder by name; hidden files and editors' copies are passed over."""
    known = [name + SUFFIX for name in NAMES]
    expected = ", ".join(known)
    try:
        paths = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and not path.name.endswith("~"))
    except OSError as error:
        reason = error.strerror or "an error"
        raise OptionError(f"{folder}: expected a folder of prompts, found: {reason}; 'genz prompts --write' makes one") from error
    for path in paths:
        if path.name not in known:
            raise OptionError(f"{path}: expected prompts of the names {expected}; rename or remove this one")
    if not paths:
        raise OptionError(f"{folder}: expected at least one of {expected}, found none; 'genz prompts --write' makes them")
    return {path.name.removesuffix(SUFFIX): path for path in paths}


def _read(name: str, file: Path | None) -> tuple[str, Path | None]:
    if file is None:
        return built_in(name), None
    try:
        return file.read_text(encoding="utf-8-sig"), file
    except OSError as error:
        raise OptionError(f"{file}: cannot be read: {error.strerror or error}; make it readable") from error
    except UnicodeDecodeError as error:
        raise OptionError(f"{file}: expected UTF-8, found other bytes; save the file as UTF-8") from error


def _parse(name: str, text: str, source: Path | None) -> Prompt:
    where = source or name + SUFFIX
    first, _, rest = text.partition("\n")
    version = _VERSION.fullmatch(first)
    if version is None:
        raise OptionError(f"{where}: expected 'version: 1' (or a higher number) as the first line, found {first[:40]!r}; add it")
    before, *parts = _BLOCK.split(rest)
    blocks = parts[::2]
    if before.strip() or blocks != ["system", "user"] or not all(part.strip() for part in parts[1::2]):
        found = ", ".join(f"--- {block}" for block in blocks) or "none"
        raise OptionError(f"{where}: expected two blocks with text, --- system and then --- user, found {found}; correct it")
    system, user = (_tidy(part) for part in parts[1::2])
    _check_places(where, _PLACES[name], system, user)
    digest = hashlib.sha256(text.encode("utf-8")).hexdigest()[:8]
    return Prompt(name, f"{version[1]}-{digest}", system, user, source)


def _tidy(block: str) -> str:
    """Without blanks at line ends, and with one empty line between paragraphs."""
    lines = "\n".join(line.rstrip() for line in block.strip().split("\n"))
    return re.sub(r"\n{3,}", "\n\n", lines)


def _check_places(where: Path | str, places: _Places, system: str, user: str) -> None:
    there = tuple(name for name in places.later if f"{{{name}}}" in user)
    lines = (*places.lines, *places.empty, *there)
    for block, known in ((system, places.numbers), (user, (*lines, *places.numbers))):
        for found in _PLACEHOLDER.finditer(block):
            if found[0] not in {f"{{{name}}}" for name in known}:
                part = "system" if block is system else "user"
                offer = ", ".join(f"{{{name}}}" for name in known) or "none"
                raise OptionError(f"{where}: {found[0]} is no placeholder of the {part} block (known: {offer}); correct it")
    for name in lines:
        if user.count(f"{{{name}}}") != 1 or f"{{{name}}}" not in user.split("\n"):
            raise OptionError(f"{where}: expected {{{name}}} once, alone on a line of the user block; put it there")
    for name in places.numbers[: places.needed]:
        if f"{{{name}}}" not in user:
            raise OptionError(f"{where}: expected {{{name}}} in the user block, found none; add it")
    for paragraph in user.split("\n\n"):
        names = _PLACEHOLDER.findall(paragraph)
        if len(names) > 1 and set(names) & {*places.empty, *there}:
            raise OptionError(
                f"{where}: {{{names[0]}}} and {{{names[1]}}} are in one paragraph, and one of them may be left out with it; "
                "put an empty line between them"
            )
    if places.json and "json" not in (system + user).lower():
        raise OptionError(f"{where}: expected the word JSON, since servers ask for it before they reply in JSON; add it")
