"""A served model of numbers written as digits: it answers and proposes what `rules` says of a field n."""

from __future__ import annotations

from answerers import Body, numbered_lines, truthful_answerer, user_texts

from genz_ppl.llm.rules.model import RulesModel
from genz_ppl.types import Contrast, Item

_RULES = RulesModel()


def _item(text: str) -> Item:
    return Item(text, text, {"n": int(text)})


def _truth(item: str, feature: str) -> bool:
    return bool(_RULES.answer([_item(item)], [feature])[0, 0] == 1.0)


def _wordings(body: Body) -> list[str]:
    above, _, below = "\n".join(user_texts(body)).partition("Negative group")
    groups = [
        tuple(_item(text) for text in numbered_lines({"messages": [{"role": "user", "content": part}]})[0].values())
        for part in (above, below)
    ]
    return _RULES.propose(Contrast(groups[0], groups[1]), 8) if all(groups) else _RULES.suggest([*groups[0], *groups[1]], "", 8)


#: For `fault_server.py --answerer numbers_answerer:answer`.
answer = truthful_answerer(_truth, _wordings)
