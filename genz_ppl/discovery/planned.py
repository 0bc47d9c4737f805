"""What `plan` says of a run: the most it can use, what a typical one does, and the caps that either would pass."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from typing import Any

from genz_ppl.llm.served.budget import Caps
from genz_ppl.llm.served.spending import Spending


@dataclass(frozen=True)
class Use:
    """Calls, answers, tokens and dollars. descriptions: tokens written to describe items before they are judged.

    dollars: None where the price is not known.
    """

    calls: int = 0
    answers: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float | None = 0.0
    descriptions: int = 0


def together(uses: Iterable[Use]) -> Use:
    """The sum; dollars are not known where those of one are not."""
    listed = list(uses)
    sums = {one.name: sum(getattr(use, one.name) for use in listed) for one in fields(Use) if one.name != "dollars"}
    known = [use.dollars for use in listed if use.dollars is not None]
    return Use(**sums, dollars=sum(known) if len(known) == len(listed) else None)


@dataclass(frozen=True)
class Part:
    """Calls of one kind: what for, by which model, and the most of each. typical: what a typical run uses of them."""

    name: str
    model: str
    calls: int
    answers: int
    tokens_in: int
    tokens_out: int
    dollars: float | None
    typical: Use = Use()


@dataclass(frozen=True)
class Plan:
    """An upper limit of what a run uses, and what a typical one does, with nothing stored before it.

    additions: times a feature is looked for, none in a baseline. features: the most at a time. wordings: that may be proposed.
    held_items: held back (`honest`), rest_items: training items beside `sample`; both asked about the features of the end only.
    answers: repeated draws are one answer. parts: the calls by kind, none for a model that is not behind a server.

    The most: every addition is made, every proposal brings new wordings, each takes part in every round of its race and in no
    call with another; prompts count with one token for each byte and the longest texts, replies with all tokens they may
    have, as the caps of a run reckon. Only calls that fail and are made again come on top. A typical run: by what runs
    on films and on made data took, with texts of usual length; what reasoning models write unseen is not in it.
    """

    items: int
    training_items: int
    test_items: int
    additions: int
    features: int
    wordings: int
    answers: int
    parts: tuple[Part, ...] = ()
    held_items: int = 0
    rest_items: int = 0

    @property
    def calls(self) -> int:
        """The most calls of all parts."""
        return sum(part.calls for part in self.parts)

    @property
    def tokens_in(self) -> int:
        """The most tokens read in all parts."""
        return sum(part.tokens_in for part in self.parts)

    @property
    def tokens_out(self) -> int:
        """The most tokens written in all parts."""
        return sum(part.tokens_out for part in self.parts)

    @property
    def dollars(self) -> float | None:
        """The most dollars of all parts; None where the price of a model is not known."""
        known = [part.dollars for part in self.parts if part.dollars is not None]
        return sum(known) if len(known) == len(self.parts) else None

    @property
    def typical(self) -> Use:
        """What a typical run uses of all that."""
        return together(part.typical for part in self.parts)

    @property
    def unpriced(self) -> tuple[str, ...]:
        """The models whose price is not known."""
        return tuple(dict.fromkeys(part.model for part in self.parts if part.dollars is None))

    def passes(self, caps: Caps) -> str | None:
        """The option whose cap the most would pass, None where a run keeps within all."""
        return caps.passed(Spending(self.calls, self.tokens_in, self.tokens_out, self.dollars or 0.0))

    def typically_passes(self, caps: Caps) -> str | None:
        """The option whose cap a typical run would pass, None where it keeps within all."""
        use = self.typical
        return caps.passed(Spending(use.calls, use.tokens_in, use.tokens_out, use.dollars or 0.0))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the totals included."""
        totals = {name: getattr(self, name) for name in ("calls", "tokens_in", "tokens_out", "dollars")}
        return {**asdict(self), "parts": [asdict(part) for part in self.parts], **totals, "typical": asdict(self.typical)}
