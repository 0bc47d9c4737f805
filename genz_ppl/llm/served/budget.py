"""Hard caps on calls, tokens and dollars: what a call may take is set aside before it is made, and what it took counts after."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from genz_ppl.errors import BudgetError, OptionError
from genz_ppl.llm.served.prices import Price
from genz_ppl.llm.served.spending import Spending

TOKENS_A_MESSAGE = 16
# An image: about as many for most models, and the most that one of OpenAI's counts for a large photograph (2 833 + 8 x 5 667).
TOKENS_AN_IMAGE, MOST_TOKENS_AN_IMAGE = 2_000, 50_000
BYTES_A_TOKEN = 4
# Sums of many small costs are off by less than this share of them.
_ROUNDING = 1e-12


class CapReachedError(BudgetError):
    """The next call might pass a cap; `option` names it: "max_cost", "max_calls" or "max_tokens"."""

    def __init__(self, message: str, option: str) -> None:
        super().__init__(message)
        self.option = option


@dataclass(frozen=True)
class Caps:
    """The most a run may use: cost in dollars, calls, tokens (read and written together). None: no cap."""

    cost: float | None = None
    calls: int | None = None
    tokens: int | None = None

    def passed(self, total: Spending) -> str | None:
        """The option whose cap `total` passes: "max_cost", "max_calls", "max_tokens"; None where it keeps within all."""
        for option, cap, used in (
            ("max_cost", self.cost, total.cost),
            ("max_calls", self.calls, total.calls),
            ("max_tokens", self.tokens, total.tokens_in + total.tokens_out),
        ):
            if cap is not None and used > cap * (1 + _ROUNDING):
                return option
        return None


@dataclass(frozen=True)
class Limits:
    """The most a minute: requests, tokens (read and written together), cost in dollars. None: no limit."""

    requests: float | None = None
    tokens: float | None = None
    cost: float | None = None


@dataclass(frozen=True, eq=False)
class Reservation:
    """What a call may use at most, set aside until the call is settled.

    attempt: its entry in the journal, where it has one already. wait: seconds before it may be sent.
    """

    most: Spending
    attempt: int | None = None
    wait: float = 0.0


class Budget:
    """Spending within caps, shared by all workers of one event loop.

    caps: of the run as a whole. price: of the answering model; None where it is not known. spent: by the run so far.
    reserved: what the calls under way have set aside.
    model: the name the user knows it by, for messages. While each call stays within its reservation no cap is passed; a
    call that used more than it reserved counts with what it used.
    A worker must hold one reservation at a time: two that wait for each other's second one would wait for ever.
    Raises OptionError for a cap on cost without a price.
    """

    def __init__(self, caps: Caps, price: Price | None, spent: Spending | None = None, model: str = "") -> None:
        check_priced(caps, price, model)
        self.caps, self.price, self.spent = caps, price, spent or Spending()
        self.reserved, self._open = Spending(), set[Reservation]()
        self._turn, self._settled = asyncio.Lock(), asyncio.Event()

    async def reserve(self, tokens_in: int, tokens_out: int, *, calls: int = 1, cost: float | None = None) -> Reservation:
        """Set aside what a call may use at most, first come first served.

        cost: dollars, where it is not that of one call at the budget's price (a mining model, a batch of calls).
        Waits while it does not fit beside the calls under way. Raises CapReachedError if none is and it still does not fit.
        """
        if cost is None:
            cost = 0.0 if self.price is None else self.price.cost(tokens_in, tokens_out)
        reservation = Reservation(Spending(calls, tokens_in, tokens_out, cost))
        async with self._turn:
            while self.caps.passed(self.spent + self.reserved + reservation.most) is not None:
                if not self._open:
                    raise self.stop(self.spent, reservation.most)
                self._settled.clear()
                await self._settled.wait()
            self._open.add(reservation)
            self.reserved += reservation.most
        return reservation

    def settle(self, reservation: Reservation, spent: Spending) -> None:
        """Replace a reservation by what was used: `Spending()` for a call that was never sent.

        Raises ValueError for a reservation that is settled already.
        """
        if reservation not in self._open:
            raise ValueError("the reservation is settled already, or another budget's")
        self._open.remove(reservation)
        left, most = self.reserved, reservation.most
        cost = math.fsum(other.most.cost for other in self._open)  # afresh, so that rounding cannot build up
        tokens = left.tokens_in - most.tokens_in, left.tokens_out - most.tokens_out
        self.reserved = Spending(left.calls - most.calls, *tokens, cost)
        self.spent += spent
        self._settled.set()

    def stop(self, spent: Spending, most: Spending) -> CapReachedError:
        """The error of a call that may use so much, for which there is no room beside what is spent."""
        option = self.caps.passed(spent + most) or ""
        tokens = spent.tokens_in + spent.tokens_out, most.tokens_in + most.tokens_out
        cap, used, wanted = {
            "max_cost": (f"{self.caps.cost or 0:g}", f"{spent.cost:.4g} dollars", f"{most.cost:.2g}"),
            "max_calls": (f"{self.caps.calls}", f"{spent.calls}", f"{most.calls}"),
            "max_tokens": (f"{self.caps.tokens}", f"{tokens[0]}", f"{tokens[1]}"),
        }[option]
        flag = f"--{option.replace('_', '-')}"
        reason = f"{used} used so far, and the next call may take up to {wanted}"
        return CapReachedError(f"stopped by {flag} {cap}: {reason}; raise {flag} to go on", option)


def check_priced(caps: Caps, price: Price | None, model: str = "") -> None:
    """Raise OptionError if cost is capped and the price of a model is not known."""
    if caps.cost is not None and price is None:
        name = f" of {model}" if model else ""
        raise OptionError(
            f"max_cost: the price{name} is not known, so its cost cannot be kept below {caps.cost:g} dollars; "
            "give it with --price IN,OUT (dollars per million tokens read and written)"
        )


def most_tokens(texts: Sequence[str], n_images: int = 0) -> int:
    """An upper limit of the tokens that a model reads: no token is shorter than a byte.

    texts: the messages, and the schema of the reply as one more.
    """
    return sum(_bytes(text) + TOKENS_A_MESSAGE for text in texts) + n_images * MOST_TOKENS_AN_IMAGE


def likely_tokens(texts: Sequence[str], n_images: int = 0) -> float:
    """About the tokens that a model reads, for plans and pacing: one for four bytes, so four letters or a Chinese character."""
    return sum(_bytes(text) / BYTES_A_TOKEN + TOKENS_A_MESSAGE / BYTES_A_TOKEN for text in texts) + n_images * TOKENS_AN_IMAGE


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
