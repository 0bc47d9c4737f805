"""What the fault server's model says when nothing is wrong: reads a request's numbered lines, replies in the asked format."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

Body = dict[str, Any]
Answerer = Callable[[Body], str]
Truth = Callable[[str, str], "bool | None"]

KINDS = ("extract_one", "extract_many", "mine", "mine_both", "suggest", "describe")
DATA = re.compile(r'\{"(item|feature)": \d+, "text": |\{"task": ')
DEFAULT_WORDINGS = ("Does it have a garden?", "Is it near a station?", "Was it renovated?", "Does it have a view?")


def user_texts(body: Body) -> list[str]:
    """The texts of the user's messages, those in content parts included."""
    return [text for message in body.get("messages", ()) if message.get("role") == "user" for text in message_texts(message)]


def message_texts(message: dict[str, Any]) -> list[str]:
    """The texts of one message: its content, or the text parts of its content."""
    content = message.get("content")
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or () if part.get("type") == "text"]


def images(body: Body) -> list[str]:
    """The URLs of the images in a request, in order."""
    parts = [
        part for message in body.get("messages", ()) if isinstance(message.get("content"), list) for part in message["content"]
    ]
    return [part["image_url"]["url"] for part in parts if part.get("type") == "image_url"]


def numbered_lines(body: Body) -> tuple[dict[int, str], dict[int, str]]:
    """The items and the features of a request by number: lines that are JSON objects {"item" or "feature": n, "text": ...}.

    Where a request has images and no item lines, the images' URLs stand for the items, numbered from 1.
    """
    items: dict[int, str] = {}
    features: dict[int, str] = {}
    for text in user_texts(body):
        for line in text.split("\n"):  # not splitlines(): U+2028 and its kind may stand unescaped inside an item's text
            if line[:1] != "{":
                continue
            try:
                entry = json.loads(line)
            except ValueError:
                continue
            if entry.keys() == {"item", "text"}:
                items[entry["item"]] = entry["text"]
            elif entry.keys() == {"feature", "text"}:
                features[entry["feature"]] = entry["text"]
    if not items:
        items = dict(enumerate(images(body), start=1))
    return items, features


def schema_name(body: Body) -> str | None:
    """The name of the JSON schema a request asks for; None where it asks for none."""
    schema = (body.get("response_format") or {}).get("json_schema") or {}
    name = schema.get("name")
    return name if isinstance(name, str) else None


def kind_of(body: Body) -> str:
    """Which of KINDS a request is: by its schema's name, else by the keys of the format that its messages mention.

    Lines of data are passed over, since items may mention anything.
    """
    name = schema_name(body)
    if name in KINDS:
        return name
    lines = (line for message in body.get("messages", ()) for text in message_texts(message) for line in text.split("\n"))
    mentioned = "\n".join(line for line in lines if not DATA.match(line))
    if "matched_items" in mentioned or '"1":[' in mentioned:
        return "extract_many"
    if '"applies"' in mentioned or '"1":0' in mentioned:
        return "extract_one"
    if '"questions"' in mentioned:
        return "suggest"
    if '"positive"' in mentioned:
        return "mine_both"
    items, features = numbered_lines(body)
    if images(body) and not features:
        return "describe"
    if '"characteristics"' in mentioned or not features:
        return "mine"
    return "extract_one" if len(items) == 1 else "extract_many"


def is_numbered(body: Body) -> bool:
    """Whether answers are to stand under the numbers of features, and not in entries as earlier prompts ask."""
    form = (body.get("response_format") or {}).get("json_schema") or {}
    shown = [line for message in body.get("messages", ()) for text in message_texts(message) for line in text.split("\n")]
    return "1" in form.get("schema", {}).get("properties", {}) or any('"1":' in line and not DATA.match(line) for line in shown)


def numbered(content: dict[str, Any]) -> dict[str, Any]:
    """A reply with entries by feature as the present prompts ask for it."""
    entries = content.get("answers") or content.get("features") or []
    rest = {name: value for name, value in content.items() if name not in ("answers", "features")}
    return rest | {str(entry["feature"]): entry.get("applies", entry.get("matched_items")) for entry in entries}


def as_asked(body: Body, content: dict[str, Any]) -> str:
    """The text of a reply with entries by feature, in the form that a request asks for."""
    return json.dumps(numbered(content), separators=(",", ":")) if is_numbered(body) else json.dumps(content)


def truthful_answerer(
    truth: Truth,
    wordings: Sequence[str] | Callable[[Body], Sequence[str]] = DEFAULT_WORDINGS,
    description: str | Callable[[Body], str] = "A brick house with a garden, a garage and a bay window.",
) -> Answerer:
    """An answerer that says what `truth(item text, feature text)` says, whatever the prompt's format.

    Where truth is None the model cannot tell: that feature is left out of the reply, so the reply is invalid, in any grouping.
    Mining and 0-shot prompts get `wordings`, image descriptions get `description`; both may be functions of the request's body.
    """

    def extract_one(items: dict[int, str], features: dict[int, str]) -> dict[str, Any]:
        (item,) = items.values()
        found = {number: truth(item, feature) for number, feature in features.items()}
        answers = [{"feature": number, "applies": int(applies)} for number, applies in found.items() if applies is not None]
        return {"characteristics": "as the text says", "answers": answers}

    def extract_many(items: dict[int, str], features: dict[int, str]) -> dict[str, Any]:
        entries = []
        for number, feature in features.items():
            found = {item: truth(text, feature) for item, text in items.items()}
            if None not in found.values():
                entries.append({"feature": number, "matched_items": [item for item, applies in found.items() if applies]})
        return {"characteristics": "as the texts say", "features": entries}

    def answer(body: Body) -> str:
        kind = kind_of(body)
        if kind == "describe":
            return description(body) if callable(description) else description
        if kind in ("mine", "mine_both", "suggest"):
            lists = [list(wordings(body) if callable(wordings) else wordings) for _ in range(2 if kind == "mine_both" else 1)]
            keys = {"mine": ["characteristics"], "mine_both": ["positive", "negative"], "suggest": ["questions"]}[kind]
            thoughts = {} if kind == "suggest" else {"description": "as the texts say"}
            return json.dumps(thoughts | dict(zip(keys, lists, strict=True)))
        items, features = numbered_lines(body)
        return as_asked(body, (extract_one if kind == "extract_one" else extract_many)(items, features))

    return answer


def hash_truth(item: str, feature: str) -> bool:
    """An arbitrary but fixed truth, the same in every process: the last bit of a hash of the two texts."""
    text = f"{item}\0{feature}".encode(errors="surrogatepass")
    return bool(hashlib.blake2b(text, digest_size=1).digest()[0] & 1)


def contains_truth(item: str, feature: str) -> bool:
    """True where the item's text contains the feature's, without its question mark and whatever the case."""
    return feature.rstrip("?").lower() in item.lower()


def constant_answerer(content: str) -> Answerer:
    """An answerer that always says the same."""
    return lambda body: content
