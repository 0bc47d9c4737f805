"""A server's chat without a server: replies at once, counts calls and the most tokens that they could have, and repeats itself.

It writes as much as it may, reads a token for each byte, and its wordings are as long as they may be or words of the items.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from answerers import contains_truth, hash_truth, kind_of, truthful_answerer, user_texts

from genz_ppl.llm.served.reading import Reply
from genz_ppl.llm.served.settings import LIMITS
from genz_ppl.llm.served.spending import Usage


class CountingChat:
    """Stands for `ChatClient.chat`. words: of items, proposed again and again; fresh: the share of wordings never seen before."""

    def __init__(self, seed: int, words: Sequence[str], fresh: float) -> None:
        self.random, self.words, self.fresh = np.random.default_rng(seed), list(words), fresh
        self.kinds: Counter[str] = Counter()
        self.usage = Usage(0, 0)
        self._answer = truthful_answerer(self._truth, self._wordings)

    @property
    def calls(self) -> int:
        return sum(self.kinds.values())

    async def __call__(self, body: Mapping[str, Any], _most: int) -> Reply:
        sent = dict(body)
        self.kinds[kind_of(sent)] += 1
        texts = [*user_texts(sent), sent["messages"][0]["content"], json.dumps(sent.get("response_format") or {})]
        usage = Usage(sum(len(text.encode()) for text in texts), next(sent[name] for name in LIMITS if name in sent))
        self.usage = Usage(self.usage.tokens_in + usage.tokens_in, self.usage.tokens_out + usage.tokens_out)
        return Reply(self._answer(sent), usage)

    def _wordings(self, body: Mapping[str, Any]) -> list[str]:
        """More than are asked for."""
        number = self.random.integers(10**9)
        made = [f"wording {number} {place} ".ljust(300, "x") for place in range(12)]
        known = self.random.permutation(self.words)
        return [new if self.random.random() < self.fresh else str(known[place % len(known)]) for place, new in enumerate(made)]

    @staticmethod
    def _truth(item: str, feature: str) -> bool:
        return hash_truth(item, feature) if feature.startswith("wording") else contains_truth(item, feature)
