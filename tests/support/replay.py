"""A served model that is replayed: what it said once it says again, and what it was never asked a table of wordings answers.

    replay = Replay(items, table, conversations=read_conversations(file))
    with FaultServer(replay) as server: ... server.base_url ...

The table answers by the ids of the items, and proposes by ranking its wordings on those that a prompt shows, as a good miner
would; with `weak` it draws from the better half of them, and with `noise` its answers err.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from answerers import Body, as_asked, kind_of, numbered_lines, user_texts
from imperfect import Noise, better_half

from genz_ppl import Items
from genz_ppl.llm.table import TableModel
from genz_ppl.types import Contrast, FloatArray, Item

# As many characters of thoughts before wordings as a live model writes.
THOUGHTS = 480
EVERY = 10**6
Messages = list[dict[str, Any]]


def key_of(messages: Messages) -> str:
    """What a request asks, whatever else it says."""
    return hashlib.sha256(json.dumps(messages, sort_keys=True).encode()).hexdigest()


def read_conversations(file: Path) -> list[dict[str, Any]]:
    """Lines of JSON, each with `messages` and the `reply` to them."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def write_conversations(file: Path, conversations: Iterable[Mapping[str, Any]]) -> None:
    """The same lines."""
    file.write_text("".join(json.dumps(one) + "\n" for one in conversations), encoding="utf-8")


def suggested_in(conversations: Iterable[Mapping[str, Any]]) -> list[str]:
    """What the model said to a task alone, in the first conversation where it was asked; nothing if it never was."""
    replies = (one["reply"] for one in conversations if one.get("kind") == "suggest")
    return list(json.loads(next(replies, '{"questions": []}'))["questions"])


class Replay:
    """An answerer. items: all that it may be asked about, known by their texts; conversations: as `read_conversations` gives
    them, of several about the same the first counts.

    table: None where nothing but what was asked before may be asked. spoken: what was said, as conversations; known, new: how
    many requests were in the conversations and how many were not, by kind.
    """

    def __init__(
        self,
        items: Items,
        table: TableModel | None = None,
        conversations: Iterable[Mapping[str, Any]] = (),
        noise: Noise | None = None,
        weak: bool = False,
        seed: int = 0,
    ) -> None:
        self.items: dict[str, Item] = {item.text: item for item in items}
        self.table, self.noise, self.weak, self.seed = table, noise, weak, seed
        self.replies: dict[str, str] = {}
        for one in conversations:
            self.replies.setdefault(key_of(one["messages"]), one["reply"])
        self.spoken: list[dict[str, Any]] = []
        self.known, self.new = Counter[str](), Counter[str]()

    def __call__(self, body: Body) -> str:
        kind, key = kind_of(body), key_of(body["messages"])
        if (reply := self.replies.get(key)) is not None:
            self.known[kind] += 1
        else:
            self.new[kind] += 1
            # Said again if it is asked again.
            said = self.said(kind, body, key)
            reply = self.replies[key] = as_asked(body, said) if kind.startswith("extract") else json.dumps(said)
        self.spoken.append({"kind": kind, "messages": body["messages"], "reply": reply})
        return reply

    def said(self, kind: str, body: Body, key: str) -> dict[str, Any]:
        """What the table says."""
        if self.table is None:
            raise LookupError(f"{kind}: this was never asked, and there is no table of wordings to tell")
        properties = body["response_format"]["json_schema"]["schema"]["properties"]
        texts = {name: "x" * THOUGHTS for name, form in properties.items() if form.get("type") == "string"}
        numbered, features = numbered_lines(body)
        shown = [self.items[text] for text in numbered.values()]
        if kind == "suggest":
            n = properties["questions"]["maxItems"]
            return texts | {"questions": self.chosen(self.table.suggest(shown, "", EVERY), n, key)}
        if kind in ("mine", "mine_both"):
            return texts | self.wordings(kind, body, shown, tuple(features.values()), properties, key)
        return dict.fromkeys(texts, "x") | self.answered(kind, shown, list(features.values()))

    def wordings(
        self, kind: str, body: Body, shown: Sequence[Item], existing: tuple[str, ...], properties: Mapping[str, Any], key: str
    ) -> dict[str, list[str]]:
        """One list, or one for either group."""
        assert self.table is not None
        (user,) = user_texts(body)
        n_positive = user.split("\nNegative group:\n")[0].count('{"item": ')
        contrast = Contrast(tuple(shown[:n_positive]), tuple(shown[n_positive:]), (), existing)
        if kind == "mine":
            n = properties["characteristics"]["maxItems"]
            return {"characteristics": self.chosen(self.table.propose(contrast, EVERY), n, key, "characteristics")}
        sides = zip(("positive", "negative"), self.table.propose_both(contrast, EVERY), strict=True)
        return {name: self.chosen(ranked, properties[name]["maxItems"], key, name) for name, ranked in sides}

    def chosen(self, ranked: list[str], n: int, *occasion: str) -> list[str]:
        """The best, or of a weak miner some of the better half."""
        return better_half(ranked, n, self.seed, *occasion) if self.weak else ranked[:n]

    def answered(self, kind: str, shown: Sequence[Item], features: list[str]) -> dict[str, Any]:
        """As the form for one item or for many wants them."""
        yes = self.answers(shown, features) == 1.0
        if kind == "extract_one":
            return {"answers": [{"feature": k, "applies": int(applies)} for k, applies in enumerate(yes[0], start=1)]}
        matched = [[int(t) + 1 for t in column.nonzero()[0]] for column in yes.T]
        return {"features": [{"feature": k, "matched_items": found} for k, found in enumerate(matched, start=1)]}

    def answers(self, shown: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """(len(shown), len(features)) of 1., 0. and NaN, wrong where the noise has it."""
        assert self.table is not None
        truth = self.table.answer(shown, features)
        if self.noise is None:
            return truth
        prevalence = np.nanmean(self.table.answer(list(self.items.values()), features), axis=0)
        return self.noise.applied([item.id for item in shown], features, truth, prevalence)
