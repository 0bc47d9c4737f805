"""The prompts: versioned template files, checked when loaded, filled with items and features as lines of JSON.

A file is `version: N`, then a block `--- system` and a block `--- user`. A placeholder such as {items} stands alone on its
line in the user block and becomes lines of JSON; a number such as {n} may stand anywhere. A paragraph (lines between empty
ones) whose placeholder turns out empty is left out. Braces around anything but one word are plain text.

A change of the code here that changes what a model is sent goes with a higher `version: N` in the built-in files.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.prompt_files import LATER, PLACEHOLDER, SHORT, Prompt, read_prompts
from genz_ppl.llm.served.replies import MOST_TAGS
from genz_ppl.types import Tried

_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_ENDS = re.compile("[\x80-\x9f\u2028\u2029]")  # JSON leaves them as they are, and some readers end a line there
#: Numbers in a schema; servers limit them, and the reply is checked anyway.
MOST_LISTED = 200

#: Whom profiles are of, with the tags that are asked for.
N_TAGS = {"item": 4, "user": 5}
# The key of a reply that holds descriptions of items; a prompt that names it asks for them.
_DESCRIBED = "characteristics"
# What a schema calls the answer to one feature, which all of them share.
_SHARED = "answer"
# The key of thoughts before questions.
_THOUGHTS = "thoughts"
#: Those of wordings for either group, asked for in one call.
SIDES = ("positive", "negative")


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
    (Fig. 2), mine_both (the same both ways round), suggest (0-shot), describe (images), profile_item and profile_user."""

    by_name: Mapping[str, Prompt]

    @classmethod
    def load(cls, folder: Path | str | None = None) -> Prompts:
        """The built-in prompts, each replaced by the file of its name in `folder` where there is one.

        See `read_prompts`, also for what is raised.
        """
        return cls(read_prompts(folder))

    def version(self, name: str) -> str:
        """The version of one prompt; "extract" and "extract_short" give that of both, since either may ask a question."""
        if name in ("extract", "extract_short"):
            return "+".join(self.by_name[part].version for part in (SHORT if name == "extract" else SHORT.values()))
        return self.by_name[name].version

    @property
    def asks_both(self) -> bool:
        """Whether one call asks for wordings both ways round: not by a user's own `mine`."""
        return self.by_name["mine_both"].name == "mine_both"

    def describes(self, described: bool) -> bool:
        """Whether replies to `extract` describe the items: where items need it, or, if not `described`, where they do not."""
        asked = SHORT if described else SHORT.values()
        return any(f'"{_DESCRIBED}"' in self.by_name[name].user for name in asked)

    def shows_tried(self, name: str) -> bool:
        """Whether that prompt for wordings has a place for those that were tried, or for one to be improved."""
        return any(f"{{{place}}}" in self.by_name[name].user for place in LATER)

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
        name = "extract_one" if one else "extract_many"
        shown = name if described else SHORT[name]
        first = {_DESCRIBED: {"type": "string"}} if f'"{_DESCRIBED}"' in self.by_name[shown].user else {}
        answer = _integers([0, 1]) if one else _list(_numbers(len(items)), most=len(items))
        return self._fill(shown, values, _answers(first, answer, one, len(features), self.by_name[shown].user), name)

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
        both: bool = False,
    ) -> Rendered:
        """Ask for up to n wordings of what the positive items share and the negative ones lack.

        context: features that all shown items share (Algorithm 2), existing: features not to be repeated; both may be empty.
        Items are numbered through both groups. For the other polarity, give the groups in reverse; both: for either in one reply,
        where the prompts can, see `asks_both`.
        tried: wordings with how well they do; improved: the one in use that a better one is sought for, with the numbers of the
        items that it puts in the other group. A prompt without a place for it has it among the existing ones.
        """
        _some(positive=contrast_positive, negative=contrast_negative)
        name = "mine_both" if both else "mine"
        placed = improved if "{improved}" in self.by_name[name].user else ""
        existing = [text for text in existing if text != placed and not (both and text in context)]
        values = {
            "positive": _lines("item", contrast_positive),
            "negative": _lines("item", contrast_negative, first=1 + len(contrast_positive)),
            "context": _lines("feature", context),
            "existing": _lines("feature", existing, first=1 + len(context)),
            "tried": "\n".join(map(_tried, tried)),
            "improved": as_line({"text": placed, "items": ", ".join(map(str, moved))}) if placed else "",
            "n": str(n),
        }
        lists = dict.fromkeys(SIDES if both else ("characteristics",), _list({"type": "string"}, most=n))
        return self._fill(name, values, _object({"description": {"type": "string"}, **lists}))

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

    def profile(self, text: str, kind: str) -> Rendered:
        """Ask for a profile of two sentences and tags: of an item, or of the user whose history this is. kind: of `N_TAGS`."""
        values = {"items": _lines("item", [text]), "n_tags": str(N_TAGS[kind])}
        schema = _object({"profile": {"type": "string"}, "tags": _list({"type": "string"}, most=MOST_TAGS)})
        return self._fill(f"profile_{kind}", values, schema)

    def _fill(self, name: str, values: Mapping[str, str], schema: dict[str, Any] | None, called: str = "") -> Rendered:
        """called: the name of the schema, if not the prompt's."""
        prompt = self.by_name[name]
        texts = _filled(prompt.system, values), _filled(prompt.user, values)
        return Rendered(name, prompt.version, *texts, schema, called or name)


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
    paragraphs = (part for part in template.split("\n\n") if all(values[name] for name in PLACEHOLDER.findall(part)))
    return PLACEHOLDER.sub(lambda found: values[found[1]], "\n\n".join(paragraphs))


def _some(**groups: Sequence[str]) -> None:
    for name, group in groups.items():
        if not group:
            raise ValueError(f"{name}: expected at least one text, got none")


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _answers(first: dict[str, Any], answer: dict[str, Any], one: bool, n: int, prompt: str) -> dict[str, Any]:
    """The form of answers to n features: each under the feature's number, or, where a prompt says so, as a list of entries.

    What a list of items may hold is said once for all of them: by number, that would be most of the schema.
    """
    key = "applies" if one else "matched_items"
    if f'"{key}"' in prompt:
        entries = _list(_object({"feature": _numbers(n), key: answer}), least=n, most=n)
        return _object({**first, "answers" if one else "features": entries})
    shared = {"$ref": f"#/$defs/{_SHARED}"}
    return _object({**first, **{str(number): shared for number in range(1, n + 1)}}) | {"$defs": {_SHARED: answer}}


def _list(entries: dict[str, Any], least: int = 0, most: int = 10**9) -> dict[str, Any]:
    """An array. Small models go on listing where nothing ends them; long limits would make a large grammar, and are left out."""
    limits = {"minItems": least} if 0 < least <= MOST_LISTED else {}
    if most <= MOST_LISTED:
        limits["maxItems"] = most
    return {"type": "array", "items": entries, **limits}


def _integers(allowed: Sequence[int]) -> dict[str, Any]:
    return {"type": "integer", "enum": list(allowed)}


def _numbers(count: int) -> dict[str, Any]:
    return _integers(range(1, count + 1)) if count <= MOST_LISTED else {"type": "integer"}
