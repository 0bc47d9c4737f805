"""A server that refuses three calls in ten for being too many: nothing is lost, nothing is asked twice, all wait together."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer, hash_truth, share, truthful_answerer

from genz_ppl.errors import GenzWarning

pytestmark = pytest.mark.slow

PAUSE = 0.5
# What may still come in after a refusal: calls on their way, before the client has read it. The machine may be busy.
NOTICE = 0.3


@pytest.fixture
def town(make_world: Any) -> Any:
    """2 000 items and 10 features: 20 000 answers."""
    return make_world([f"house {i}" for i in range(2000)], [f"feature {k}" for k in range(10)])


@pytest.mark.parametrize("names", [["429_seconds"], ["429", "429_seconds", "429_nonsense"]], ids=["told", "told at times"])
def test_a_storm_of_429s(serving: Any, town: Any, asked: Any, watched: Any, names: list[str]) -> None:
    with FaultServer(truthful_answerer(hash_truth), share(0.3, names), latency=0.005, retry_after=PAUSE) as server:
        model = serving(server.base_url, items_per_call=2, features_per_call=10, workers=32, timeout=60)
        sent, pauses = watched(model)
        answers = model.answer(town.items, town.features)
        requests = server.requests
    truth = [[hash_truth(item.text, feature) for feature in town.features] for item in town.items]
    np.testing.assert_array_equal(answers, np.array(truth, dtype=float))
    pairs = asked([request for request in requests if request.fault is None])
    assert len(pairs) == len(set(pairs)) == 20_000
    assert server.counts["right"] == 1000
    refused = [request.time for request in requests if request.fault == "429_seconds"]
    assert len(refused) > (250 if len(names) == 1 else 80)
    assert model.spent.calls == server.total
    assert serving.rows("SELECT count(*) FROM answers") == [(20_000,)]
    assert len(sent) == server.total
    assert len(pauses) >= len(refused)
    for moment, seconds in pauses:  # by the client's clock: from the moment it knows, not one call is sent
        assert not watched.between(sent, moment, moment + seconds)
    # By the server's clock, too, but for calls that were on their way while a busy machine had not read the refusal yet.
    disturbed = [
        moment for moment in refused if watched.between([request.time for request in requests], moment + NOTICE, moment + PAUSE)
    ]
    assert len(disturbed) < 0.2 * len(refused)


def test_the_rest_of_the_world_of_faults(serving: Any, town: Any) -> None:
    """Three calls in ten go wrong in any of many ways, and some take others with them: still every answer is right."""
    names = ["429", "500", "503_html", "reset_amid", "close_before", "bad_json", "refusal", "truncated", "index_string", "prose"]
    names += ["length_valid", "choices_two", "bad_utf8", "duplicate_keys", "400_context", "content_length_long", "usage_wrong"]
    with FaultServer(truthful_answerer(hash_truth), share(0.3, names, 3), retry_after=0.01) as server:
        model = serving(server.base_url, items_per_call=10, features_per_call=10, workers=32, timeout=60, attempts=12)
        with pytest.warns(GenzWarning, match="how many tokens"):
            answers = model.answer(town.items, town.features)
        assert model.spent.calls == server.total
    truth = np.array([[hash_truth(item.text, feature) for feature in town.features] for item in town.items], dtype=float)
    missing = np.isnan(answers)
    np.testing.assert_array_equal(answers[~missing], truth[~missing])
    assert missing.sum() == model.failures.total() <= 20
