"""What a run would ask and cost at the most, reckoned without a call: nothing leaves this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from genz_ppl.data import Items
from genz_ppl.llm.served.budget import Caps, likely_tokens
from genz_ppl.llm.served.prices import Price, find_price
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.served.templates import Prompts, cut_text
from genz_ppl.settings import DiscoverSettings

# A wording as long as most are; items read to see how long they are.
TYPICAL_WORDING = "The living room has large windows and a floor of light wood that looks new or restored"
SAMPLED = 50
# Tokens of replies: what is said of an item, the frame of a feature, one answer; thoughts before wordings, one wording; the
# description of an image.
ITEM_OUT, FEATURE_OUT, ANSWER_OUT, THOUGHTS_OUT, WORDING_OUT, DESCRIPTION_OUT = 60, 30, 4, 500, 40, 400


@dataclass(frozen=True)
class Part:
    """Calls of one kind: what for, by which model, and the totals. dollars: None where the price is not known."""

    name: str
    model: str
    calls: int
    answers: int
    tokens_in: int
    tokens_out: int
    dollars: float | None


@dataclass(frozen=True)
class Plan:
    """An upper limit of what a run asks, every wording being new and nothing stored yet.

    additions: times a feature is looked for. features: the most at a time. wordings: worded and answered on all training
    items. answers: repeated draws are one answer. parts: the calls by kind, none for a model that is not behind a server.
    Tokens and dollars are estimates for calls that succeed the first time, from prompts as they would be sent; what
    reasoning models write unseen is not in them. `max_cost` is the cap that holds.
    """

    items: int
    training_items: int
    test_items: int
    additions: int
    features: int
    wordings: int
    answers: int
    parts: tuple[Part, ...] = ()

    @property
    def calls(self) -> int:
        """Calls of all parts."""
        return sum(part.calls for part in self.parts)

    @property
    def tokens_in(self) -> int:
        """Tokens read in all parts."""
        return sum(part.tokens_in for part in self.parts)

    @property
    def tokens_out(self) -> int:
        """Tokens written in all parts."""
        return sum(part.tokens_out for part in self.parts)

    @property
    def dollars(self) -> float | None:
        """Dollars of all parts; None where the price of a model is not known."""
        known = [part.dollars for part in self.parts if part.dollars is not None]
        return sum(known) if len(known) == len(self.parts) else None

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models whose price is not known."""
        return tuple(dict.fromkeys(part.model for part in self.parts if part.dollars is None))

    def passes(self, caps: Caps) -> str | None:
        """The option whose cap such a run would pass, None where it keeps within all."""
        return caps.passed(Spending(self.calls, self.tokens_in, self.tokens_out, self.dollars or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the totals included."""
        totals = {name: getattr(self, name) for name in ("calls", "tokens_in", "tokens_out", "dollars")}
        return {**asdict(self), "parts": [asdict(part) for part in self.parts], **totals}


def plan(items: Items, settings: DiscoverSettings, model_settings: ModelSettings | None = None) -> Plan:
    """Count what discovery on `items` would ask at the most.

    model_settings: of a served model; None for one that answers on this machine, which makes no calls.
    Raises OptionError for a split that leaves too few items and for prompts that are not usable.
    """
    split = items.split_indices(settings.seed, settings.test_fraction)
    n_train, n_test = len(split.train), len(split.test)
    additions = most_additions(settings)
    wordings = additions * settings.proposals * polarities(settings)
    outline = Plan(
        items=len(items),
        training_items=n_train,
        test_items=n_test,
        additions=additions,
        features=most_features(settings),
        wordings=wordings,
        answers=wordings * n_train + additions * n_test,
    )
    if model_settings is None:
        return outline
    parts = _Reckoning(items, outline, settings, model_settings).parts()
    return Plan(**{**vars(outline), "parts": tuple(part for part in parts if part.calls)})


def polarities(settings: DiscoverSettings) -> int:
    """How many ways round a contrast is asked."""
    return 2 if settings.polarity == "both" else 1


def most_additions(settings: DiscoverSettings) -> int:
    """The most times a feature is looked for. A cycle that adds none is the last one."""
    cycles, most = settings.cycles, settings.max_features
    if most is not None and settings.updates == settings.refinements == 0 and (settings.cut == 0 or most == 1):
        cycles = min(cycles, most)  # nothing is ever taken out, so each cycle but the last fills a place for good
    return cycles * (settings.add + settings.updates + settings.refinements)


def most_features(settings: DiscoverSettings) -> int:
    """The most features at a time, all additions being kept. Cuts leave one feature."""
    cycles, add, cut = settings.cycles, settings.add, settings.cut
    highest = cycles * add - (cycles - 1) * cut if add > cut else add + (cycles > 1)
    return highest if settings.max_features is None else min(highest, settings.max_features)


class _Reckoning:
    """The calls of a run on a served model, from the sizes of prompts rendered with texts of typical length."""

    def __init__(self, items: Items, outline: Plan, settings: DiscoverSettings, served: ModelSettings) -> None:
        self.items, self.outline, self.settings, self.served = items, outline, settings, served
        self.prompts = Prompts.load(served.prompts)
        self.images = len({path for item in items for path in item.images})
        images_an_item = sum(len(item.images) for item in items) / len(items)
        self.shown_images = images_an_item if served.images == "direct" else 0.0
        described = images_an_item * DESCRIPTION_OUT if served.images == "describe" else 0.0
        self.item_tokens = _mean_tokens(items, served.text_limit) + described
        self.price = find_price(served.model, served.price, served.base_url)
        self.mining_price = find_price(served.miner, served.price, served.base_url)

    def parts(self) -> Iterator[Part]:
        """The calls by kind, in the order in which a run makes them; kinds without a call included."""
        outline, per_addition = self.outline, self.settings.proposals * polarities(self.settings)
        if self.served.images == "describe":
            yield self._describing()
        yield self._proposing()
        yield self._answering("answers, training", outline.training_items, per_addition)
        yield self._answering("answers, test", outline.test_items, 1)

    def _describing(self) -> Part:
        request = Request("describe", self.served.miner, self.prompts.describe(), 0, (("", ""),))
        sizes = [(self.images, request.likely_tokens_in, DESCRIPTION_OUT)]
        return self._part("descriptions of images", self.served.miner, 0, sizes, self.mining_price)

    def _proposing(self) -> Part:
        settings, outline = self.settings, self.outline
        positive = min(settings.exemplars, outline.training_items - 1)
        negative = min(settings.exemplars, outline.training_items - positive)
        known = [TYPICAL_WORDING] * outline.features
        rendered = self.prompts.mine([""] * positive, [""] * negative, known, known, settings.proposals)
        read = Request("mine", self.served.miner, rendered, 0).likely_tokens_in + (positive + negative) * self.item_tokens
        calls = outline.additions * polarities(settings)
        sizes = [(calls, read, THOUGHTS_OUT + WORDING_OUT * settings.proposals)]
        return self._part("proposals", self.served.miner, 0, sizes, self.mining_price)

    def _answering(self, name: str, n_items: int, n_features: int) -> Part:
        """Each addition's questions, cut into calls."""
        served, times = self.served, self.outline.additions * self.served.draws
        most_items, most_features = (1, 1) if served.log_probabilities else (served.items_per_call, served.features_per_call)
        sizes = [
            (times * some * others, self._read(asked, features), self._written(asked, features))
            for some, asked in _cuts(n_items, most_items)
            for others, features in _cuts(n_features, most_features)
        ]
        price = self.price.batch() if self.price is not None and served.batch else self.price
        return self._part(name, served.model, self.outline.additions * n_items * n_features, sizes, price)

    def _read(self, n_items: int, n_features: int) -> float:
        rendered = self.prompts.extract([""] * n_items, [TYPICAL_WORDING] * n_features)
        images = round(n_items * self.shown_images)
        request = Request("extract", self.served.model, rendered, 0, (("An image of item 10:", ""),) * images)
        return request.likely_tokens_in + n_items * self.item_tokens

    @staticmethod
    def _written(n_items: int, n_features: int) -> int:
        return ITEM_OUT * n_items + FEATURE_OUT * n_features + ANSWER_OUT * n_items * n_features

    def _part(self, name: str, model: str, answers: int, sizes: list[tuple[int, float, int]], price: Price | None) -> Part:
        """The sum over (calls, tokens read by each, tokens written by each)."""
        limit = self.served.max_output_tokens
        cut = [(calls, read, written if limit is None else min(written, limit)) for calls, read, written in sizes]
        dollars = None if price is None else sum(calls * price.cost(read, written) for calls, read, written in cut)
        return Part(
            name=name,
            model=model,
            calls=sum(calls for calls, _, _ in cut),
            answers=answers,
            tokens_in=round(sum(calls * read for calls, read, _ in cut)),
            tokens_out=sum(calls * written for calls, _, written in cut),
            dollars=dollars,
        )


def _cuts(total: int, most: int) -> list[tuple[int, int]]:
    """(how many, of what size) pieces `total` is cut into, none larger than `most`."""
    whole, rest = divmod(total, most)
    return [(count, size) for count, size in ((whole, most), (1, rest)) if count and size]


def _mean_tokens(items: Items, limit: int) -> float:
    """Tokens of an item's text as a string of JSON, the mean of items spread over the table."""
    positions = np.unique(np.linspace(0, len(items) - 1, SAMPLED).round().astype(int))
    texts = [json.dumps(cut_text(items[int(position)].text, limit), ensure_ascii=False)[1:-1] for position in positions]
    return (likely_tokens(texts) - likely_tokens([""] * len(texts))) / len(texts)
