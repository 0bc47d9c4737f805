"""What tokens cost: the user's own price, or the table that the package genai-prices carries. Nothing is fetched, ever."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from genz_ppl.llm.served.address import server_address

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, Tier

MILLION = 1_000_000
# What the Batch endpoint takes of the usual price.
BATCH_SHARE = 0.5
# All that one token read, or written, may be charged as: some servers take more for text that enters their cache.
_READ = ("input_mtok", "cache_write_mtok", "input_image_mtok")
_WRITTEN = ("output_mtok", "output_reasoning_mtok")
# Charges that tokens read and written do not tell: with one of them the price counts as unknown.
_BEYOND_TOKENS = ("requests_kcount", "output_citation_mtok")


@dataclass(frozen=True)
class Step:
    """The rates of calls that read more than `above` tokens, dollars per million; they hold for all tokens of such a call."""

    above: int
    input_rate: float
    output_rate: float


@dataclass(frozen=True)
class Price:
    """Dollars per million tokens read (`input_rate`) and written (`output_rate`); `steps`: dearer rates of long calls."""

    input_rate: float
    output_rate: float
    steps: tuple[Step, ...] = ()

    def cost(self, tokens_in: float, tokens_out: float) -> float:
        """Dollars of one call; more tokens never cost less."""
        rate_in, rate_out = self.input_rate, self.output_rate
        for step in self.steps:
            if tokens_in > step.above:
                rate_in, rate_out = max(rate_in, step.input_rate), max(rate_out, step.output_rate)
        return (tokens_in * rate_in + tokens_out * rate_out) / MILLION

    def batch(self) -> Price:
        """The price of the same call through the Batch endpoint."""
        steps = tuple(Step(step.above, BATCH_SHARE * step.input_rate, BATCH_SHARE * step.output_rate) for step in self.steps)
        return Price(BATCH_SHARE * self.input_rate, BATCH_SHARE * self.output_rate, steps)


def find_price(model: str, override: tuple[float, float] | None = None, base_url: str | None = None) -> Price | None:
    """The price of a model as its server names it, or None where it is not known.

    override: dollars per million tokens read and written; it wins. base_url: the server, as calls take it (`server_address`);
    the models of one that the table does not know, such as one's own, have no known price. Prices that change by the hour
    count as in the dearest hour of the day to come; discounts for cached text are left out: the result is an upper limit.
    """
    if override is not None:
        return Price(*override)
    known = _known(model, base_url)
    return None if known is None else _dearest(known, datetime.now(UTC))


def find_embedding_price(model: str, base_url: str | None = None) -> Price | None:
    """The same of a model that writes no text."""
    known = _known(model, base_url)
    return None if known is None else _dearest(known, datetime.now(UTC), writes=False)


def _known(model: str, base_url: str | None) -> ModelInfo | None:
    from genai_prices.data_snapshot import get_snapshot  # a large table: read only when a price is asked for

    try:
        return get_snapshot().find_provider_model(model, None, None, str(server_address(base_url)))[1]
    except LookupError:
        return None


def _dearest(model: ModelInfo, now: datetime, writes: bool = True) -> Price | None:
    """The most that the model costs within a day."""
    tables = [vars(model.get_prices(now + timedelta(minutes=30 * half_hour))) for half_hour in range(48)]
    if any(table.get(key) for table in tables for key in _BEYOND_TOKENS):
        return None
    if any(table.get(key) is None for table in tables for key in (_READ[0], *_WRITTEN[: int(writes)])):
        return None  # known by name only, or writes no text
    starts = sorted({tier.start for table in tables for key in (*_READ, *_WRITTEN) for tier in _tiers(table.get(key))})
    base, *steps = ((_rate(tables, _READ, start), _rate(tables, _WRITTEN, start)) for start in (-1, *starts))
    return Price(*base, tuple(Step(start, *rates) for start, rates in zip(starts, steps, strict=True)))


def _rate(tables: list[dict[str, object]], keys: tuple[str, ...], start: int) -> float:
    """The highest rate of calls that read more than `start` tokens, up to the next step."""
    rates = (_rate_above(table[key], start) for table in tables for key in keys if table.get(key) is not None)
    return max(rates, default=0.0)


def _rate_above(price: object, start: int) -> float:
    rates = [getattr(price, "base", price), *(tier.price for tier in _tiers(price) if tier.start <= start)]
    return float(str(rates[-1]))


def _tiers(price: object) -> list[Tier]:
    tiers: list[Tier] = getattr(price, "tiers", [])
    return tiers
