"""Candidates that are combinations of questions which have answers already: they cost no further ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.run.progress import Progress, asked, pack, unpack, unpacked
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.worth.candidates import Candidate, finalists, is_balanced, quick_gains
from genz_ppl.inference.worth.products import Product, best_products
from genz_ppl.llm.combined import Combination, answers_by_parts, conjunction, parse, parts_of, stated
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray, Item

# Questions whose products are looked at, those that tell most first, and combinations that get a full refit.
FACTORS, FINALISTS = 64, 4
Counts = Callable[[list[str]], FloatArray]


def combinations(
    settings: DiscoverSettings, progress: Progress, judge: State, data: Data, counts: Counts
) -> dict[str, FloatArray]:
    """The combinations that tell most of what the judge's model misses, (T,) answers each; by least squares, the best first.

    Of questions that have answers on all training items, in use or not, every pair with or without "not" is tried, and the best
    ones with a third. counts: how many wordings each of some texts was chosen from.
    """
    if settings.combine < 2:
        return {}
    used = {record.text for record in progress.active}
    simple = [text for text, entry in progress.pool.items() if asked(entry).all() and parse(text) is None]
    balanced = [text for text in simple if text in used or is_balanced(unpack(progress.pool[text]), settings.smallest_share)]
    # One of a question and its opposite is enough: products try both ways round.
    known = {plain: (text, negated) for text in balanced for plain, negated in [stated(text)]}
    texts = list(known)
    if len(texts) < 2:
        return {}
    answers = unpacked([progress.pool[text] for text, _ in known.values()])
    for column, (_, negated) in enumerate(known.values()):
        if negated:
            answers[:, column] = 1 - answers[:, column]
    chosen = finalists(quick_gains(judge, data, answers), answers, answers[:, :0], FACTORS)
    texts, answers = [texts[index] for index in chosen], answers[:, chosen]
    columns = torch.from_numpy(answers).to(data.targets.device)
    tried = counts(texts).tolist()
    products = best_products(judge, data, columns, FINALISTS, settings.combine, settings.smallest_share, tried)
    found = {}
    for product in products:
        combination = _worded(product, texts)
        if combination.is_readable and combination.text not in progress.pool:
            found[combination.text] = combination.answer(answers[:, [texts.index(part.text) for part in combination.parts]])
    return {text: values for text, values in found.items() if is_balanced(values, settings.smallest_share)}


def complete(pool: dict[str, NDArray[np.int8]], texts: Sequence[str], ask: Callable[[list[str]], FloatArray]) -> None:
    """Put texts into a pool; asked about are their parts that are not in it yet, all at once."""
    missing = list(dict.fromkeys(part for text in texts for part in parts_of(text) if part not in pool))
    for part, column in zip(missing, ask(missing).T if missing else [], strict=True):
        pool[part] = pack(column)
    for text in texts:
        if text not in pool:
            columns = answers_by_parts([text], lambda parts: np.stack([unpack(pool[part]) for part in parts], axis=1))
            pool[text] = pack(columns[:, 0])


def searched(oracle: Oracle, items: Sequence[Item], texts: Sequence[str], n_tried: int, beside: bool) -> FloatArray:
    """How many wordings each was chosen from for every one tried: combinations as many as all of their parts make.

    beside: see `Oracle.searched`.
    """
    parts = {text: [text] if (found := parse(text)) is None else [part.text for part in found.parts] for text in texts}
    asked = list(dict.fromkeys(part for some in parts.values() for part in some))
    known = dict(zip(asked, oracle.searched(items, asked, beside).tolist(), strict=True))
    partners = 2 * min(FACTORS, n_tried)  # each question and its opposite
    return np.array([prod(known[part] for part in some) * partners ** (len(some) - 1) for some in parts.values()])


def _worded(product: Product, texts: Sequence[str]) -> Combination:
    return conjunction([(texts[column], negated) for column, negated in product.factors])


def counted(progress: Progress, oracle: Oracle, items: Sequence[Item], found: Sequence[Candidate]) -> list[Candidate]:
    """Candidates with how many wordings each was chosen from, beside others and alone; notes how many kinds the pool has."""
    progress.n_kinds, texts = oracle.n_kinds(list(progress.pool)), [one.text for one in found]
    alone, beside = (searched(oracle, items, texts, progress.n_tried, others) for others in (False, progress.one_by_one))
    each = zip(found, beside.tolist(), alone.tolist(), strict=True)
    return [replace(one, searched=count, searched_alone=whole) for one, count, whole in each]
