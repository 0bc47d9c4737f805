"""The calls of a run on a served model by kind, from prompts rendered as they would be sent: the most, and a typical run's."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from genz_ppl.data import Items, Split
from genz_ppl.discovery.asking import Asked, Batches, Shape, most_asked, polarities, together, typically_asked, typically_mined
from genz_ppl.discovery.mine.tried import MOST_TRIED
from genz_ppl.discovery.planned import Part, Use
from genz_ppl.discovery.run.record import Brief
from genz_ppl.discovery.task import SHOWN, task_of
from genz_ppl.llm.served.budget import BYTES_A_TOKEN, MOST_TOKENS_AN_IMAGE, TOKENS_A_MESSAGE, TOKENS_AN_IMAGE
from genz_ppl.llm.served.prices import Price, find_price
from genz_ppl.llm.served.replies import LONGEST_WORDING
from genz_ppl.llm.served.requests import (
    ANSWER_OUT,
    FEATURE_OUT,
    ITEM_OUT,
    LEAST_OUT,
    PLAIN_OUT,
    WORDS_OUT,
    Request,
    described,
    is_short,
    most_items,
    words_out,
)
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.templates import MOST_LISTED, Prompts, as_line, cut_text
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Item, Tried

# A wording as long as most are, and one as long as any, with a token for each letter.
TYPICAL_WORDING = "The living room has large windows and a floor of light wood that looks new or restored"
LONGEST = "x" * LONGEST_WORDING
# Tokens of typical replies, by live runs: what is said of an item, the frame of a feature, one answer; thoughts before wordings,
# one wording; the description of an image. And tokens that are read for each that plain text of the length would have.
SAID_OUT, FRAME_OUT, YES_OUT, THOUGHTS_OUT, WORDING_OUT, DESCRIPTION_OUT, JSON_SHARE = 12, 5, 1, 120, 12, 400, 1.2
# Of a typical run: the share of its additions that keep a wording that is new to the test items, and of the most features those
# that it ends with; of the questions of a baseline, those that are neither too rare, too common nor repetitions.
KEPT, USABLE = 0.5, 0.9
# The names of parts.
ANSWERS, DESCRIPTIONS = "answers, ", "descriptions of images"
# Sums of many fractions are off by less.
ROUNDING = 1e-6
# What leads to an image, or to its description.
_HEADING = "An image of item 1000000:"


@dataclass(frozen=True)
class Tokens:
    """Calls of one kind, the tokens of them all, and those read by the largest; said: of those written, what describes items."""

    calls: float
    read: float
    written: float
    largest: float = 0.0
    said: float = 0.0

    def times(self, count: int) -> Tokens:
        """So many calls for each."""
        return Tokens(count * self.calls, count * self.read, count * self.written, self.largest, count * self.said)


class Weights:
    """The tokens that items bring into a prompt: at the most those of so many of them, and what is likely."""

    def __init__(self, items: Sequence[Item], served: ModelSettings) -> None:
        blank = len(as_line({"": ""}))
        texts = [len(as_line({"": cut_text(item.text, served.text_limit)}).encode()) - blank for item in items]
        described = len(_HEADING) + BYTES_A_TOKEN * (served.max_output_tokens or WORDS_OUT)
        shown = len(_HEADING) + TOKENS_A_MESSAGE + MOST_TOKENS_AN_IMAGE
        image = {"direct": shown, "describe": described}.get(served.images, 0)
        likely = {"direct": TOKENS_AN_IMAGE, "describe": DESCRIPTION_OUT}.get(served.images, 0)
        numbers = [len(item.images) for item in items]
        each = sorted((text + number * image for text, number in zip(texts, numbers, strict=True)), reverse=True)
        self._sums = [0, *accumulate(each)]
        self._mean = (JSON_SHARE * sum(texts) / BYTES_A_TOKEN + sum(numbers) * likely) / max(1, len(items))

    def most(self, count: int) -> float:
        """Of so many items, those that bring most."""
        return self._sums[min(count, len(self._sums) - 1)]

    def likely(self, count: int) -> float:
        """Of so many items."""
        return count * self._mean


class Reckoning:
    """What is asked in a run, part by part. additions: times a feature is looked for at the most; usual: where each time one is
    found; features: the most at a time."""

    def __init__(
        self,
        items: Items,
        split: Split,
        settings: DiscoverSettings,
        served: ModelSettings,
        additions: int,
        usual: int,
        features: int,
    ) -> None:
        self.items, self.settings, self.served = items, settings, served
        self.additions, self.usual, self.features = additions, usual, features
        self.prompts = Prompts.load(served.prompts)
        sides = (split.train, split.test, split.held, split.rest)
        self.train, self.test, self.held, self.rest = ([items[int(t)] for t in side] for side in sides)
        described_items = [described(item, served) for item in items]
        kinds = set(described_items)
        short = all(is_short(item, served) for item in items)
        said = any(map(self.prompts.describes, kinds))
        most = tuple(most_items(served, 1 + count, short, said) for count in range(served.most_features))
        self.batches = Batches(most, len(kinds), twins(self.train))
        self.kinds, self.item_out = sorted(kinds), ITEM_OUT if said else PLAIN_OUT
        self.said = SAID_OUT * sum(described_items) / len(items)
        self.price = find_price(served.model, served.price, served.base_url)
        self.mining_price = find_price(served.miner, served.price, served.base_url)

    def parts(self) -> Iterator[Part]:
        """The calls by kind, in the order in which a run makes them; kinds without a call included."""
        yield self.describing()
        suggested = self.settings.suggestions or 0
        if suggested:
            yield self.suggesting(Brief(task_of(self.items), suggested, SHOWN))
        yield self.proposing()
        wordings, n = self.settings.proposals * polarities(self.settings), len(self.train)
        weights = Weights(self.train, self.served)
        most = most_asked(self.settings, self.additions, wordings, n, self.batches, weights.most)
        typical = typically_asked(self.settings, self.usual, n, self.batches, weights.likely)
        yield self.answering(f"{ANSWERS}training", most, typical)
        parts = self.settings.combine
        if self.settings.test_at_end:
            yield self.testing(parts * self.features, 1, max(1, round(KEPT * self.features)), 1)
        else:
            yield self.testing(parts, self.additions, parts, KEPT * self.usual)
        for name, some in (("held back", self.held), ("other training items", self.rest)):
            if some:
                yield self.testing(parts * self.features, 1, max(1, round(KEPT * self.features)), 1, f"{ANSWERS}{name}", some)

    def baseline_parts(self, brief: Brief) -> Iterator[Part]:
        """The same of a 0-shot baseline: all its questions at once, those of use about the test items, too."""
        yield self.describing()
        yield self.suggesting(brief)
        weights, n = Weights(self.train, self.served), len(self.train)
        most, typical = (together(n, brief.n_questions, self.batches, weigh) for weigh in (weights.most, weights.likely))
        yield self.answering("answers, training", most, typical)
        yield self.testing(brief.n_questions, 1, brief.n_questions, USABLE)

    def suggesting(self, brief: Brief) -> Part:
        """One call, which shows some training items."""
        count, weights = min(brief.examples, len(self.train)), Weights(self.train, self.served)
        request = Request("suggest", self.served.miner, self.prompts.suggest([""] * count, brief.task, brief.n_questions), 0)
        largest = request.most_tokens_in + weights.most(count)
        most = Tokens(1, largest, self.limit(words_out(brief.n_questions)), largest)
        written = THOUGHTS_OUT + WORDING_OUT * brief.n_questions
        read = JSON_SHARE * request.likely_tokens_in + weights.likely(count)
        typical = Tokens(1, read, min(self.limit(words_out(brief.n_questions)), written))
        return self.part("suggestions", self.served.miner, self.mining_price, most, typical)

    def describing(self) -> Part:
        """Images, each once."""
        count = len({path for item in self.items for path in item.images}) if self.served.images == "describe" else 0
        request = Request("describe", self.served.miner, self.prompts.describe(), 0, (("", ""),))
        most = Tokens(count, count * request.most_tokens_in, count * self.limit(WORDS_OUT), request.most_tokens_in)
        typical = Tokens(count, count * request.likely_tokens_in, count * min(DESCRIPTION_OUT, self.limit(WORDS_OUT)))
        return self.part(DESCRIPTIONS, self.served.miner, self.mining_price, most, typical)

    def proposing(self) -> Part:
        """Wordings for contrasts, both ways round in one call where the prompts can; those in use may stand in a prompt twice."""
        settings, weights = self.settings, Weights(self.train, self.served)
        positive = min(settings.exemplars, len(self.train) - 1)
        negative = min(settings.exemplars, len(self.train) - positive)
        sides, both = polarities(settings), self.prompts.asks_both and polarities(settings) == 2

        def shown(known: list[str], tried: int = 0, improved: str = "") -> Request:
            moved = range(1, positive + negative + 1) if improved else ()
            more = [Tried(LONGEST, 1.0, 1.0)] * tried, improved, moved
            shared = known[1:] or known if both else known  # both ways round each stands there once, the more in two paragraphs
            rendered = self.prompts.mine([""] * positive, [""] * negative, shared, known, settings.proposals, *more, both)
            return Request("mine", self.served.miner, rendered, 0)

        times, n_wordings = (1, 2 * settings.proposals) if both else (sides, settings.proposals)
        calls, usual = self.additions * times, times * typically_mined(settings, self.usual)
        improved = LONGEST.upper() if settings.refinements else ""
        longest = [f"{number:x<{LONGEST_WORDING}}" for number in range(self.features)]
        largest = shown(longest, MOST_TRIED, improved).most_tokens_in + weights.most(positive + negative)
        likely = shown([f"{TYPICAL_WORDING} {number}" for number in range(self.features // 4)]).likely_tokens_in
        read = JSON_SHARE * likely + weights.likely(positive + negative)
        out, written = self.limit(words_out(n_wordings)), THOUGHTS_OUT + WORDING_OUT * n_wordings
        most = Tokens(calls, calls * largest, calls * out, largest)
        typical = Tokens(usual, usual * read, usual * min(out, written))
        return self.part("proposals", self.served.miner, self.mining_price, most, typical)

    def testing(
        self,
        features: int,
        times: int,
        usual: int,
        usually: float,
        name: str = "answers, test",
        items: Sequence[Item] | None = None,
    ) -> Part:
        """So many features, or parts of some, at a time about all test items, or these, so often; usual, usually: in a typical
        run."""
        items = self.test if items is None else items
        weights, n = Weights(items, self.served), len(items)
        most = together(n, features, self.batches, weights.most).times(times)
        typical = together(n, usual, self.batches, weights.likely).times(usually)
        return self.answering(name, most, typical)

    def answering(self, name: str, most: Asked, typical: Asked) -> Part:
        """Questions about items, each as often as there are draws."""
        price = self.price.batch() if self.price is not None and self.served.batch else self.price
        return self.part(
            name, self.served.model, price, self.most_of(most), self.typical_of(typical), most.answers, typical.answers
        )

    def most_of(self, asked: Asked) -> Tokens:
        """The limits of calls, as the caps of a run reckon."""
        frames = [self.request(shape, LONGEST).most_tokens_in for shape in asked.shapes]
        parts = [self.parts_of_frame(shape) for shape in asked.shapes]
        full = sum(shape.calls * frame for shape, frame in zip(asked.shapes, frames, strict=True))
        filled = sum(shape.calls * first for shape, (first, _) in zip(asked.shapes, parts, strict=True))
        filled += asked.items * max((each for _, each in parts), default=0.0)
        read = min(full, filled) + asked.weight
        features = sum(shape.calls * shape.features for shape in asked.shapes)
        written = LEAST_OUT * asked.calls + self.item_out * asked.items + FEATURE_OUT * features + ANSWER_OUT * asked.answers
        if self.served.max_output_tokens is not None:
            written = self.served.max_output_tokens * asked.calls
        most = most_items(self.served, 1, short=True)
        largest = max(frames, default=0) + Weights([*self.train, *self.test, *self.held, *self.rest], self.served).most(most)
        return Tokens(asked.calls, read, written, largest).times(self.served.draws)

    def typical_of(self, asked: Asked) -> Tokens:
        """The same of calls of usual length."""
        frames = [JSON_SHARE * self.request(shape, TYPICAL_WORDING).likely_tokens_in for shape in asked.shapes]
        read = sum(shape.calls * frame for shape, frame in zip(asked.shapes, frames, strict=True)) + asked.weight
        features = sum(shape.calls * shape.features for shape in asked.shapes)
        said = self.said * asked.items
        written = said + FRAME_OUT * features + YES_OUT * asked.answers
        limit = (self.served.max_output_tokens or math.inf) * asked.calls
        return Tokens(asked.calls, read, min(written, limit), 0.0, min(said, limit)).times(self.served.draws)

    def parts_of_frame(self, shape: Shape) -> tuple[float, float]:
        """The most tokens of a call with so few items as may be, and those that each further one brings whatever it says.

        Numbers with more digits bring more, up to where schemas name them no longer.
        """
        few, ends = min(shape.items, 2), {shape.items, min(shape.items, MOST_LISTED)}
        first = self.request(Shape(1, few, shape.features), LONGEST).most_tokens_in
        each = [(self.request(Shape(1, n, shape.features), LONGEST).most_tokens_in - first) / (n - few) for n in ends if n > few]
        return first, max(each, default=0.0)

    def request(self, shape: Shape, wording: str) -> Request:
        """A call of this form about items that say nothing; the longer prompt where one item may be asked about alone."""
        forms = [(shape.items, shape.features), (1, shape.features)] if shape.items > 1 else [(1, shape.features)]
        requests = [
            Request("extract", self.served.model, self.prompts.extract([""] * items, [wording] * features, kind), 0)
            for items, features in forms
            for kind in self.kinds
        ]
        return max(requests, key=lambda request: request.most_tokens_in)

    def limit(self, tokens: int) -> int:
        """The most tokens of a reply that could have so many."""
        most = self.served.max_output_tokens
        return most or tokens

    def part(
        self, name: str, model: str, price: Price | None, most: Tokens, typical: Tokens, answers: float = 0, usual: float = 0
    ) -> Part:
        """In whole numbers; the most rounded up, dollars at the rates of the largest call."""
        dollars = cost = None
        if price is not None:
            rate = price.cost(most.largest, 1) - price.cost(most.largest, 0)
            dollars = most.read * price.cost(most.largest, 0) / max(1, most.largest) + most.written * rate
            cost = typical.calls * price.cost(typical.read / max(1, typical.calls), typical.written / max(1, typical.calls))
        typically = Use(
            round(typical.calls),
            round(min(usual, answers)),
            round(typical.read),
            round(typical.written),
            cost,
            round(typical.said),
        )
        calls, read, written = (math.ceil(value - ROUNDING) for value in (most.calls, most.read, most.written))
        return Part(name, model, calls, round(answers), read, written, dollars, typically)


def twins(items: Sequence[Item]) -> int:
    """How many of these items say the same as another one."""
    counts = Counter((item.text, tuple(map(str, item.fields.items())), item.images) for item in items)
    return sum(count for count in counts.values() if count > 1)
