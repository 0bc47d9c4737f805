"""What a refresh would do and cost, said before it is done."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from genz_ppl.llm.served.budget import likely_tokens
from genz_ppl.llm.served.embeddings import TEXTS_PER_CALL
from genz_ppl.llm.served.prices import Price
from genz_ppl.llm.served.requests import Request
from genz_ppl.output import plural
from genz_ppl.profiles.written import USUAL_OUT

# Tokens of a profile that is not written yet: as a rule, and at the most.
USUAL_PROFILE, MOST_PROFILE = 70, 1200


@dataclass(frozen=True)
class Cost:
    """Calls with their tokens and dollars: likely ones and the most. dollars are None where the price is not known."""

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    most_tokens_in: int = 0
    most_tokens_out: int = 0
    dollars: float | None = 0.0
    most_dollars: float | None = 0.0

    def line(self) -> str:
        """In words."""
        if not self.calls:
            return "0 calls"
        tokens = f"about {_count(self.tokens_in)} tokens read and {_count(self.tokens_out)} written"
        if self.dollars is None or self.most_dollars is None:
            return f"{plural(self.calls, 'call')}, {tokens}, of unknown price (--price IN,OUT tells it)"
        return f"{plural(self.calls, 'call')}, {tokens}, about ${self.dollars:.2g}, at most ${self.most_dollars:.2g}"


def cost_of_profiles(requests: Sequence[Request], price: Price | None, batch: bool) -> Cost:
    """Of one call each. price: None where it is not known."""
    price = price.batch() if price is not None and batch else price
    likely = [round(request.likely_tokens_in) for request in requests]
    most = [(request.most_tokens_in, request.tokens_out) for request in requests]
    usual = [min(USUAL_OUT, request.tokens_out) for request in requests]
    dollars = most_dollars = None
    if price is not None:
        dollars = math.fsum(price.cost(read, written) for read, written in zip(likely, usual, strict=True))
        most_dollars = math.fsum(price.cost(*one) for one in most)
    return Cost(len(requests), sum(likely), sum(usual), sum(a for a, _ in most), sum(b for _, b in most), dollars, most_dollars)


def cost_of_vectors(texts: Sequence[str], unwritten: int, price: Price | None) -> Cost:
    """Of the vectors of texts that are known and of others that are to be written first."""
    count = len(texts) + unwritten
    likely = round(sum(likely_tokens([text]) for text in texts)) + USUAL_PROFILE * unwritten
    most = sum(len(text.encode("utf-8", "surrogatepass")) + 16 for text in texts) + (4 * MOST_PROFILE + 16) * unwritten
    dollars = (None, None) if price is None else (price.cost(likely, 0), price.cost(most, 0))
    return Cost(math.ceil(count / TEXTS_PER_CALL), likely, 0, most, 0, *dollars)


@dataclass(frozen=True)
class ProfilePlan:
    """What a refresh of `out` would do.

    items: all; new, changed, kept, gone: of them, and of the rows that are there. profiles: texts to be made, of them stored ones
    cost nothing; vectors: to be made. answers: that the questions' model is asked for at the most, at its own price.
    questions: how many are answered in the file, and would be, where they are others.
    reasons: why all are made again, in words.
    """

    out: str
    kind: str
    items: int
    new: int
    changed: int
    kept: int
    gone: int
    profiles: int
    vectors: int
    model: str
    prompt_version: str
    encoder: str
    answers: int = 0
    questions: tuple[int, int] = (0, 0)
    reasons: tuple[str, ...] = ()
    writing: Cost = Cost()
    encoding: Cost = Cost()

    @property
    def dollars(self) -> float | None:
        """The most, of texts and vectors; None where a price is not known."""
        parts = [self.writing.most_dollars, self.encoding.most_dollars]
        return None if None in parts else math.fsum(part or 0.0 for part in parts)

    @property
    def calls(self) -> int:
        """Of texts and vectors."""
        return self.writing.calls + self.encoding.calls

    @property
    def is_nothing(self) -> bool:
        """Whether all is as it should be."""
        return not (self.profiles or self.vectors or self.new or self.changed or self.gone or self.answers or any(self.questions))

    def lines(self) -> list[str]:
        """In words, one thought a line."""
        found = [
            f"{self.out}: {plural(self.items, self.kind)}: {self.new} new, {self.changed} changed, {self.kept} as they are"
            f"{f', {self.gone} gone' if self.gone else ''}"
        ]
        found += [f"{reason}: all {self.items} are made again" for reason in self.reasons]
        if self.profiles:
            cost = f": {self.writing.line()}" if self.model != "rules" else ""
            found.append(f"{plural(self.profiles, 'profile')} by {self.model}, prompt {self.prompt_version}{cost}")
        if self.vectors:
            cost = f": {self.encoding.line()}" if self.encoding.calls else ""
            found.append(f"{plural(self.vectors, 'vector')} by {self.encoder}{cost}")
        if any(self.questions):
            found.append(f"answers to {plural(self.questions[1], 'question')}, {self.questions[0]} before")
        if self.answers:
            found.append(f"at most {_count(self.answers)} answers by the model of the questions' run, at its price")
        if self.is_nothing:
            found.append("nothing to do: 0 calls")
        return found

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "calls": self.calls, "dollars": self.dollars}


def _count(number: int) -> str:
    return f"{number:,}".replace(",", " ")
