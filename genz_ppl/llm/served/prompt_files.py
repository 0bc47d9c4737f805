"""The files of the prompts: which there are, what they must hold, and how they are read."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from genz_ppl.errors import OptionError

SUFFIX = ".txt"
#: A word in braces, for which something is filled in.
PLACEHOLDER = re.compile(r"\{[ \t]*([^\W\d]\w*)[ \t]*\}")
_VERSION = re.compile(r"version: ([1-9][0-9]{0,5})[ \t]*")
_BLOCK = re.compile(r"^--- (\S+)[ \t]*$", re.MULTILINE)


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


#: What a prompt for wordings has a place for since its second version.
LATER = ("tried", "improved")
_MINE = _Places(("positive", "negative"), ("context", "existing"), LATER, ("n",), 1)
_PLACES = {
    "extract_one": _Places(("items", "features"), numbers=("n_features",)),
    "extract_many": _Places(("items", "features"), numbers=("n_items", "n_features")),
    "extract_one_short": _Places(("items", "features"), numbers=("n_features",)),
    "extract_many_short": _Places(("items", "features"), numbers=("n_items", "n_features")),
    "mine": _MINE,
    "mine_both": _MINE,
    "suggest": _Places(("task",), ("items",), numbers=("n",), needed=1),
    "describe": _Places(json=False),
    "profile_item": _Places(("items",), numbers=("n_tags",)),
    "profile_user": _Places(("items",), numbers=("n_tags",)),
}
NAMES = tuple(_PLACES)
#: For items whose text is short, in place of the prompt that has them described first.
SHORT = {"extract_one": "extract_one_short", "extract_many": "extract_many_short"}
# A user's own prompt takes the place of these, too, unless there is one of theirs.
_ALSO = {**SHORT, "mine": "mine_both"}
#: Prompts of an earlier version, by name.
EARLIER = ("mine", "suggest", "extract_one", "extract_many", *SHORT.values())


@dataclass(frozen=True)
class Prompt:
    """One template. version: its number and the first 8 hex digits of the file's sha-256 ("1-0a1b2c3d"; line ends count as
    \\n): part of every answer's key. source: the file, None for a built-in one."""

    name: str
    version: str
    system: str
    user: str
    source: Path | None = None


def read_prompts(folder: Path | str | None = None) -> dict[str, Prompt]:
    """The built-in prompts by name, each replaced by the file of its name in `folder` where there is one.

    A user's own extract_one or extract_many is that of short items, too, and their own mine is asked either way round, unless
    there is an extract_..._short or mine_both of theirs.
    Raises OptionError, with the file, for a folder without templates, a file of another name, and a template without its
    version line, its two blocks or its placeholders, or with unknown ones.
    """
    own = {} if folder is None else _files(Path(folder))
    prompts = {name: _parse(name, *_read(name, own.get(name))) for name in NAMES}
    return prompts | {other: prompts[name] for name, other in _ALSO.items() if name in own and other not in own}


def built_in(name: str, earlier: bool = False) -> str:
    """The text of a template that comes with the package; earlier: of its version before, where there is one (`EARLIER`)."""
    place = ("earlier", name + SUFFIX) if earlier and name in EARLIER else (name + SUFFIX,)
    return resources.files("genz_ppl.llm.served").joinpath("prompts", *place).read_text(encoding="utf-8")


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
        for found in PLACEHOLDER.finditer(block):
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
        names = PLACEHOLDER.findall(paragraph)
        if len(names) > 1 and set(names) & {*places.empty, *there}:
            raise OptionError(
                f"{where}: {{{names[0]}}} and {{{names[1]}}} are in one paragraph, and one of them may be left out with it; "
                "put an empty line between them"
            )
    if places.json and "json" not in (system + user).lower():
        raise OptionError(f"{where}: expected the word JSON, since servers ask for it before they reply in JSON; add it")
