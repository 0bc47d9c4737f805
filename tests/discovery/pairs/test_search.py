"""The searches of both sides share the caps of a served model."""

from __future__ import annotations

import pytest

from genz_ppl.discovery.pairs.search import Searcher
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.errors import BudgetError
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.settings import DiscoverSettings

SERVED = "openai:some-model"


def test_what_one_side_spent_is_not_there_for_the_other() -> None:
    searcher = Searcher(DiscoverSettings(), (SERVED, "rules"), {"max_calls": 10, "max_tokens": 1000})
    spent = Counters(calls=4, tokens_in=300, tokens_out=100)
    settings = searcher.service(0, spent).settings
    assert settings is not None
    assert (settings.max_calls, settings.max_tokens, settings.max_cost) == (6, 600, None)
    assert searcher.service(1, spent).settings is None  # an embedded model has no caps
    with pytest.raises(BudgetError, match="the cap max_calls of 10 is reached by the search of the other side"):
        searcher.service(0, Counters(calls=10))


def test_caps_that_nothing_was_spent_of_are_whole() -> None:
    given = ModelSettings(max_cost=2.5)
    settings = Searcher(DiscoverSettings(), (SERVED, SERVED), given).service(1, Counters()).settings
    assert settings is not None
    assert settings.max_cost == 2.5
