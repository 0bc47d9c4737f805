from __future__ import annotations

import socket
import sys
from datetime import UTC, datetime, time
from decimal import Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import (
    ClauseEquals,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from hypothesis import given
from hypothesis import strategies as st

from genz_ppl.errors import OptionError
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.prices import Price, Step, _dearest, find_price
from genz_ppl.llm.served.settings import ModelSettings

tokens = st.integers(0, 10**7)
rates = st.floats(0, 1000)


def chat_models() -> list[str]:
    """OpenAI's models that read and write text at a price a token."""
    provider = get_snapshot().find_provider(None, "openai", None)
    tables = {model.id: vars(model.get_prices(datetime.now(UTC))) for model in provider.models if model.is_match(model.id)}
    return [name for name, table in tables.items() if table.get("input_mtok") and table.get("output_mtok")]


def test_cost_is_linear_in_tokens() -> None:
    price = Price(0.15, 0.6)
    assert price.cost(1_000_000, 0) == pytest.approx(0.15)
    assert price.cost(0, 1_000_000) == pytest.approx(0.6)
    assert price.cost(2_000, 500) == pytest.approx(2_000 * 0.15e-6 + 500 * 0.6e-6)
    assert price.cost(0, 0) == 0


def test_a_long_call_pays_the_dearer_rate_for_all_its_tokens() -> None:
    price = Price(1.0, 2.0, (Step(100, 10.0, 20.0),))
    assert price.cost(100, 7) == pytest.approx(114e-6)
    assert price.cost(101, 7) == pytest.approx(1150e-6)


@given(st.tuples(rates, rates), st.lists(st.tuples(tokens, rates, rates), max_size=3), tokens, tokens, tokens, tokens)
def test_more_tokens_never_cost_less(
    base: tuple[float, float], steps: list[tuple[int, float, float]], read: int, written: int, more_read: int, more_written: int
) -> None:
    price = Price(*base, tuple(Step(*step) for step in sorted(steps)))
    few, many = price.cost(read, written), price.cost(read + more_read, written + more_written)
    assert few <= many * (1 + 1e-12)


@given(tokens, tokens)
def test_a_batch_costs_half(read: int, written: int) -> None:
    price = Price(1.5, 7.0, (Step(1000, 3.0, 9.0),))
    assert price.batch().cost(read, written) == pytest.approx(price.cost(read, written) / 2)


def test_the_users_price_wins_and_needs_no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    assert find_price("gpt-4o-mini", (1.0, 2.0)) == Price(1.0, 2.0)
    assert find_price("unheard-of", (0.0, 0.0), "http://127.0.0.1:8080/v1") == Price(0.0, 0.0)


@pytest.mark.parametrize(("read", "written"), [(1000, 200), (150_000, 3), (900_000, 10_000)])
def test_the_table_is_never_undercut(read: int, written: int) -> None:
    names = chat_models()
    assert "gpt-4o-mini" in names
    for name in names:
        price = find_price(name)
        assert price is not None, name
        usage = genai_prices.types.Usage(input_tokens=read, output_tokens=written)
        expected = float(genai_prices.calc_price(usage, name, provider_id="openai").total_price)
        assert price.cost(read, written) >= expected * (1 - 1e-12), name


def test_a_plain_price_is_that_of_the_table() -> None:
    expected = vars(genai_prices.calc_price(genai_prices.Usage(), "gpt-4o-mini", provider_id="openai").model_price)
    assert find_price("gpt-4o-mini") == Price(float(expected["input_mtok"]), float(expected["output_mtok"]))
    assert find_price("GPT-4o-mini-2024-07-18") == find_price("gpt-4o-mini")
    assert find_price("gpt-4o-mini", None, "https://api.openai.com/v1") == find_price("gpt-4o-mini")


@pytest.mark.parametrize(
    ("model", "base_url"),
    [
        ("unheard-of", None),
        ("", None),
        ("gpt-4o-miniature", None),
        ("text-embedding-3-small", None),  # writes no text
        ("gpt-4o-mini", "http://127.0.0.1:8080/v1"),  # a name says nothing about the price at another server
        ("gpt-4o-mini", "https://example.org/v1"),
        ("sonar", "https://api.perplexity.ai/v1"),  # charges for the call itself, too
        ("unheard-of", "https://openrouter.ai/api/v1"),
    ],
)
def test_what_is_not_known_has_no_price(model: str, base_url: str | None) -> None:
    assert find_price(model, None, base_url) is None


def test_other_servers_have_their_own_prices() -> None:
    assert find_price("openai/gpt-4o-mini", None, "https://openrouter.ai/api/v1") is not None
    assert find_price("mistral-small-latest", None, "https://api.mistral.ai/v1") is not None


def test_the_environments_server_has_the_price_that_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls go there, too, where no address is given."""
    usual = find_price("gpt-4o-mini")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:8080/v1")
    assert find_price("gpt-4o-mini") is None
    assert find_price("gpt-4o-mini", None, "https://api.openai.com/v1") == usual
    with pytest.raises(OptionError, match="the price of gpt-4o-mini is not known"):
        OpenAIModel(ModelSettings(model="gpt-4o-mini", max_cost=1.0))
    monkeypatch.setenv("OPENAI_BASE_URL", "https://openrouter.ai/api/v1")
    assert find_price("openai/gpt-4o-mini") == find_price("openai/gpt-4o-mini", None, "https://openrouter.ai/api/v1") is not None


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a price was fetched")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    for name in ("gpt-4o-mini", "unheard-of"):
        find_price(name)
        find_price(name, None, "https://openrouter.ai/api/v1")


def model_of(prices: ModelPrice | list[ConditionalPrice]) -> ModelInfo:
    return ModelInfo(id="made", match=ClauseEquals("made"), prices=prices)


NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def test_the_dearest_hour_counts_at_any_hour() -> None:
    cheap = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(5))
    night = TimeOfDateConstraint(start_time=time(0, 30, tzinfo=UTC), end_time=time(1, tzinfo=UTC))
    dear = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(4))
    model = model_of([ConditionalPrice(prices=cheap), ConditionalPrice(constraint=night, prices=dear)])
    assert _dearest(model, NOON) == _dearest(model, NOON.replace(hour=0, minute=45)) == Price(2.0, 5.0)


def test_text_that_enters_a_cache_may_cost_more() -> None:
    table = ModelPrice(input_mtok=Decimal(4), cache_write_mtok=Decimal(5), cache_read_mtok=Decimal(1), output_mtok=Decimal(6))
    assert _dearest(model_of(table), NOON) == Price(5.0, 6.0)


def test_steps_of_either_side_are_kept() -> None:
    table = ModelPrice(
        input_mtok=TieredPrices(base=Decimal(1), tiers=[Tier(100, Decimal(2)), Tier(300, Decimal(3))]),
        output_mtok=TieredPrices(base=Decimal(10), tiers=[Tier(200, Decimal(20))]),
    )
    price = _dearest(model_of(table), NOON)
    assert price == Price(1.0, 10.0, (Step(100, 2.0, 10.0), Step(200, 2.0, 20.0), Step(300, 3.0, 20.0)))


@pytest.mark.parametrize("extra", ["requests_kcount", "output_citation_mtok"])
def test_charges_beyond_tokens_make_the_price_unknown(extra: str) -> None:
    table = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(1), **{extra: Decimal(1)})
    assert _dearest(model_of(table), NOON) is None
    assert _dearest(model_of(ModelPrice()), NOON) is None
