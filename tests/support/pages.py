"""A page of HTML as a browser sees it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any

VOID = {"meta", "input", "link", "br", "img"}


@dataclass
class Parsed:
    """A page as a browser sees it: words outside of scripts, tags with their attributes, scripts by id."""

    words: str = ""
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: dict[str, str] = field(default_factory=dict)

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.scripts["report-data"])
        return found


class _Parser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.page, self.open = Parsed(), list[str]()
        self.script = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.page.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.script = dict(attrs).get("id") or "program"

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        inside = self.open[-1] if self.open else ""
        if inside == "script":
            self.page.scripts[self.script] = self.page.scripts.get(self.script, "") + data
        elif inside != "style":
            self.page.words += data


def parsed(page: str) -> Parsed:
    parser = _Parser()
    parser.feed(page)
    parser.close()
    assert parser.open == []
    return parser.page
