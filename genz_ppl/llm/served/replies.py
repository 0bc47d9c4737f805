"""What a model's reply must look like, and nothing else is taken: a wrong answer is worse than none.

one item    {"characteristics": "...", "1": 0, "2": 1, ...}
many items  {"characteristics": "...", "1": [1, 3], "2": [], ...}, by number the items that a feature applies to
            where the items are short, "characteristics" need not be there
the same    {"characteristics": "...", "answers": [{"feature": 1, "applies": 0}, ...]} and
            {"characteristics": "...", "features": [{"feature": 1, "matched_items": [1, 3]}, ...]}, as earlier prompts ask
wordings    {"description": "...", "characteristics": ["...", ...]} or {"thoughts": "...", "questions": ["...", ...]}
both ways   {"description": "...", "positive": ["...", ...], "negative": ["...", ...]}
a profile   {"profile": "...", "tags": ["...", ...]}
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from typing import Annotated, Any, NoReturn, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from genz_ppl.errors import ModelError
from genz_ppl.types import IntArray

LONGEST_REPLY = 1_000_000  # characters; 500 items by 50 features need a tenth of it
LONGEST_WORDING = 300  # characters
# Characters of a profile, which is to be two sentences, at the least and at the most; and of a tag. The most tags.
SHORTEST_PROFILE, LONGEST_PROFILE, LONGEST_TAG, MOST_TAGS = 15, 1200, 60, 8
_MOST_DIGITS = 9
_NUMBER = re.compile(r"[1-9][0-9]{0,8}")  # one spelling for one number
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HALF_LETTER = re.compile("[\ud800-\udfff]")  # cannot be written as UTF-8
# How a model marks what it thinks aloud, in the spellings of the day, and how it marks the end of it.
_THOUGHT = r"(?:\w+:)?(?:think(?:ing)?|thoughts?|reasoning)\b"
_THINKING = re.compile(rf"[<◁]\|?(?:start_|begin_of_)?{_THOUGHT}[^<>]*?[>▷]|\[think\]|<\|channel\|>", re.IGNORECASE)
_THOUGHT_OUT = re.compile(
    rf"[<◁](?:/|\|end_(?:of_)?){_THOUGHT}\s*\|?[>▷]|\[/think\]|<\|channel\|>final(?:<\|message\|>)?", re.IGNORECASE
)
# What is a call of a tool, or inside of something else, and no reply.
_INSIDE = re.compile(r"[<\[][|｜]?(?i:tool|function|python_tag)|<[^<>]*>$|\[[A-Z_]+\]$")
_FAULTS = {"missing": "a key is missing", "extra_forbidden": "an unknown key"}


class InvalidReplyError(ModelError):
    """A reply is not in the form that was asked for. `reason` is short and holds no text of the reply."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"invalid reply: {reason}")
        self.reason = reason


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, hide_input_in_errors=True)


class _Answer(_Strict):
    feature: int
    applies: Annotated[int, Field(ge=0, le=1)]


class _OneItem(_Strict):
    characteristics: str
    answers: Annotated[list[_Answer], FailFast()]


class _Match(_Strict):
    feature: int
    matched_items: Annotated[list[int], FailFast()]


class _ManyItems(_Strict):
    characteristics: str
    features: Annotated[list[_Match], FailFast()]


class _Shared(_Strict):
    characteristics: str = ""


class _Said(_Strict):
    characteristics: str


class _One(_Strict):
    answers: Annotated[list[Annotated[int, Field(ge=0, le=1)]], FailFast()]


class _Many(_Strict):
    answers: Annotated[list[Annotated[list[int], FailFast()]], FailFast()]


class _OneShort(_OneItem):
    characteristics: str = ""


class _ManyShort(_ManyItems):
    characteristics: str = ""


class _Characteristics(_Strict):
    description: str
    characteristics: Annotated[list[str], FailFast()]


class _Profile(_Strict):
    profile: str
    tags: Annotated[list[str], FailFast()]


class _BothSides(_Strict):
    description: str
    positive: Annotated[list[str], FailFast()]
    negative: Annotated[list[str], FailFast()]


class _Questions(_Strict):
    thoughts: str = ""
    questions: Annotated[list[str], FailFast()]


_Shape = TypeVar("_Shape", bound=_Strict)


def parse_extract(text: str, n_items: int, n_features: int, described: bool = True) -> IntArray:
    """The answers of a reply to `Prompts.extract`: (n_items, n_features) int64 of 1 and 0.

    The form is that of one item when n_items is 1, else that of many; either is taken as the present prompts ask for it or as
    earlier ones did. Every feature must be there exactly once, in any order.
    described: whether a description of the items must be there.
    Raises InvalidReplyError for anything else: other or repeated keys, numbers as text, booleans or decimals, numbers out of
    range or repeated, an unfinished or surrounded object.
    """
    answers = np.zeros((n_items, n_features), dtype=np.int64)
    for feature, found in _by_feature(_load(text), n_items == 1, n_features, described):
        if isinstance(found, int):
            answers[0, feature - 1] = found
        else:
            _check_numbers(found, n_items, "an item", complete=False)
            answers[[item - 1 for item in found], feature - 1] = 1
    return answers


def _by_feature(value: dict[str, Any], one: bool, n_features: int, described: bool) -> list[tuple[int, int | list[int]]]:
    """Each feature's number with what a reply says of it: 1 or 0 of one item, else numbers of items, which may be any."""
    found: list[tuple[int, int | list[int]]]
    if "answers" in value and one:
        found = [(entry.feature, entry.applies) for entry in _read(_OneItem if described else _OneShort, value).answers]
    elif "features" in value and not one:
        found = [(entry.feature, entry.matched_items) for entry in _read(_ManyItems if described else _ManyShort, value).features]
    else:
        numbered = {key: said for key, said in value.items() if key != "characteristics"}
        _read(_Said if described else _Shared, {key: said for key, said in value.items() if key not in numbered})
        if any(not _NUMBER.fullmatch(key) for key in numbered):
            raise InvalidReplyError(_FAULTS["extra_forbidden"])
        listed = {"answers": list(numbered.values())}
        answers: Sequence[int | list[int]] = _read(_One, listed).answers if one else _read(_Many, listed).answers
        found = list(zip(map(int, numbered), answers, strict=True))
    _check_numbers([feature for feature, _ in found], n_features, "a feature", complete=True)
    return found


def parse_wordings(text: str, n: int) -> list[str]:
    """The feature texts of a reply to `Prompts.mine` or `Prompts.suggest`, in its order.

    At most n, each on one line and cut at `LONGEST_WORDING` characters; empty ones, repeats (letter case aside) and ones that
    are no valid Unicode are passed over. Raises InvalidReplyError for another form, and when no wording is left.
    """
    value = _load(text)
    found = _read(_Questions, value).questions if "questions" in value else _read(_Characteristics, value).characteristics
    return _some(_cleaned(found))[:n]


def parse_both(text: str, n: int) -> tuple[list[str], list[str]]:
    """The same of a reply to `Prompts.mine` both ways round: what the positive items share, and what the negative ones do.

    Each list is as in `parse_wordings`, but one may be empty.
    """
    found = _read(_BothSides, _load(text))
    positive, negative = _cleaned(found.positive)[:n], _cleaned(found.negative)[:n]
    _some([*positive, *negative])
    return positive, negative


def parse_profile(text: str) -> tuple[str, tuple[str, ...]]:
    """The profile, on one line, and the tags of a reply to `Prompts.profile`: in small letters, each once.

    Raises InvalidReplyError for another form, a profile that is much shorter or longer than two sentences, one that is no valid
    Unicode, no tag at all, more than `MOST_TAGS`, or one that is longer than a tag.
    """
    found = _read(_Profile, _load(text))
    profile = " ".join(_CONTROL.sub(" ", found.profile).split())
    if not SHORTEST_PROFILE <= len(profile) <= LONGEST_PROFILE or _HALF_LETTER.search(profile):
        raise InvalidReplyError("a profile that is not two sentences")
    tags = tuple(dict.fromkeys(tag.casefold() for tag in _cleaned(found.tags)))
    if not tags or len(found.tags) > MOST_TAGS or any(len(tag) > LONGEST_TAG for tag in tags):
        raise InvalidReplyError("no tags, too many or too long ones")
    return profile, tags


def stored_profile(text: str) -> str:
    """The profile of a reply as the store keeps it. Raises InvalidReplyError as `parse_profile` does."""
    profile, tags = parse_profile(text)
    return json.dumps({"profile": profile, "tags": tags}, ensure_ascii=False)


def _cleaned(found: Sequence[str]) -> list[str]:
    wordings: dict[str, str] = {}
    for wording in found:
        cleaned = " ".join(_CONTROL.sub(" ", wording).split())[:LONGEST_WORDING].rstrip()
        if cleaned and not _HALF_LETTER.search(cleaned):
            wordings.setdefault(cleaned.casefold(), cleaned)
    return list(wordings.values())


def _some(wordings: list[str]) -> list[str]:
    if not wordings:
        raise InvalidReplyError("no wording in it")
    return wordings


def after_thinking(text: str) -> str:
    """What a reply says once the model has thought aloud, without white space around; all of it where it does not.

    A block of thoughts may lack its beginning, which a prompt's template can hold. One JSON object is no thought, whatever
    its strings hold.
    """
    ends = [mark.end() for mark in _THOUGHT_OUT.finditer(text)]
    return text.strip() if not ends or is_object(text) else text[ends[-1] :].strip()


def own_words(text: str) -> str:
    """A reply in words without the model's thoughts. Raises InvalidReplyError where nothing else is there."""
    said = after_thinking(text)
    if not said or _THINKING.search(said):
        raise InvalidReplyError("thoughts and no reply")
    return said


def is_object(text: str) -> bool:
    """Whether a text is one JSON object and nothing else."""
    try:
        _load(text)
    except InvalidReplyError:
        return False
    return True


def find_object(text: str) -> str:
    """The JSON text of the only object in a reply with thoughts, words or an opened fence before it: the end of the reply.

    A second object, a part of one, any brace elsewhere, or words after it make the reply ambiguous (it may be a draft, or quote
    an item that holds an answer, and break off before its own); so does a tag right before it, such as that of a call of a
    tool, or thoughts without an end: InvalidReplyError.
    """
    _check_length(text)
    text = after_thinking(text)
    start = text.find("{")
    if start < 0:
        raise InvalidReplyError("no JSON object")
    end = start + _decode(text, start)[1]
    before, after = text[:start], text[end:]
    if _THINKING.search(before):
        raise InvalidReplyError("thoughts without an end")
    if "}" in before or "{" in after or "}" in after:
        raise InvalidReplyError("more than one JSON object")
    if before.rstrip().endswith(("[", ",")) or after.lstrip().startswith(("]", ",")):
        raise InvalidReplyError("a list, not a JSON object")
    if _INSIDE.search(before.rstrip()) or after.strip() not in ("", "```"):
        raise InvalidReplyError("a JSON object amid other text")
    return text[start:end]


def _load(text: str) -> dict[str, Any]:
    """The one object that the text is, with JSON's white space around it at most."""
    _check_length(text)
    bare = text.strip(" \t\r\n")
    value, length = _decode(bare, 0)
    if length < len(bare):
        raise InvalidReplyError("text around the JSON object")
    if not isinstance(value, dict):
        raise InvalidReplyError("not a JSON object")
    return value


def _check_length(text: str) -> None:
    if len(text) > LONGEST_REPLY:
        raise InvalidReplyError("too long")


def _decode(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that starts at `start`, and its length. Nothing of the text stays in the error, its context included."""
    reason = "not JSON"
    try:
        value, end = _DECODER.raw_decode(text, start)
        return value, end - start
    except RecursionError:
        reason = "nested too deep"
    except ValueError:
        pass
    raise InvalidReplyError(reason)


def _read(shape: type[_Shape], value: dict[str, Any]) -> _Shape:
    try:
        return shape.model_validate(value)
    except ValidationError as error:
        kind = error.errors(include_url=False, include_context=False, include_input=False)[0]["type"]
    raise InvalidReplyError(_FAULTS.get(kind, "a value of the wrong type or range"))


def _check_numbers(numbers: Collection[int], count: int, what: str, complete: bool) -> None:
    """All within 1 to count, none twice; with `complete`, all of them."""
    if any(not 1 <= number <= count for number in numbers):
        raise InvalidReplyError(f"{what} out of range")
    if len(set(numbers)) < len(numbers):
        raise InvalidReplyError(f"{what} twice")
    if complete and len(numbers) < count:
        raise InvalidReplyError(f"{what} is missing")


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Raises InvalidReplyError for a key that is there twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        raise InvalidReplyError("a key twice")
    return found


def _whole(digits: str) -> int:
    """Numbers count features and items, or are 0 or 1: a sign or many digits are wrong, however the rest looks."""
    if digits.startswith("-") or len(digits) > _MOST_DIGITS:
        raise InvalidReplyError("a number out of range")
    return int(digits)


def _no_decimal(_digits: str) -> NoReturn:
    raise InvalidReplyError("a number that is not whole")


_DECODER = json.JSONDecoder(object_pairs_hook=unique_keys, parse_int=_whole, parse_float=_no_decimal, parse_constant=_no_decimal)
