"""What `openai:NAME` asks a server, what it keeps, and what it does not ask again."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from answerers import kind_of, numbered_lines
from fault_server import FaultServer, contains_truth, either, first, hash_truth, truthful_answerer, when

from genz_ppl.errors import ModelError, OptionError
from genz_ppl.llm.base import FoundationModel
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.prompt_files import built_in
from genz_ppl.llm.served.requests import is_short, most_items, most_out
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.spending import Spending
from genz_ppl.types import Contrast, Item

TRUE = truthful_answerer(contains_truth)


def test_answers_in_as_few_calls_as_they_fit_in(serving: Any, world: Any, asked: Any) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url, items_per_call=5, features_per_call=3)
        for_typing: FoundationModel = model
        assert isinstance(for_typing, FoundationModel)
        told: list[tuple[int, int]] = []
        model.progress = lambda known, wanted: told.append((known, wanted))
        answers = model.answer(world.items, world.features)
        np.testing.assert_array_equal(answers, world.truth)
        assert answers.dtype == np.float64
        assert server.total == 5 * 2
        assert sorted(asked(server.requests)) == sorted((i.text, f) for i in world.items for f in world.features)
        assert told == sorted(told)
        assert len(told) == 10
        assert told[-1] == (92, 92)
        assert server.requests[0].headers["authorization"] == "Bearer sk-planted-0123456789"
        assert {request.body["model"] for request in server.requests} == {"m"}
        assert model.spent.calls == 10
        assert model.spent.tokens_in > 0


@pytest.mark.parametrize(
    ("length", "n_items", "n_features", "sizes"),
    [
        (20, 250, 1, [120, 120, 10]),
        (20, 100, 5, [80, 20]),
        (20, 60, 16, [25, 25, 10]),
        (301, 25, 1, [10, 10, 5]),  # described first
        (20, 40, 18, [25, 15, 40]),  # sixteen questions, and two
    ],
)
def test_short_items_are_asked_about_together(serving: Any, length: int, n_items: int, n_features: int, sizes: list[int]) -> None:
    items = [Item(str(number), f"house {number} ".ljust(length, "x")) for number in range(n_items)]
    with FaultServer(truthful_answerer(hash_truth)) as server:
        model = serving(server.base_url, workers=1, items_per_call=None, features_per_call=16)
        answers = model.answer(items, [f"feature {number}" for number in range(n_features)])
        assert [len(numbered_lines(request.body)[0]) for request in server.requests] == sizes
    assert not np.isnan(answers).any()


def test_a_prompt_of_ones_own_that_describes_short_items_shows_fewer(serving: Any, tmp_path: Path) -> None:
    (tmp_path / "extract_many.txt").write_text(built_in("extract_many"), encoding="utf-8")
    items = [Item(str(number), f"house {number}") for number in range(60)]
    with FaultServer(truthful_answerer(hash_truth)) as server:
        model = serving(server.base_url, workers=1, items_per_call=None, prompts=str(tmp_path))
        model.answer(items, ["feature"])
        assert [len(numbered_lines(request.body)[0]) for request in server.requests] == [47, 13]
        assert all(request.body["max_tokens"] <= 4096 for request in server.requests)


@pytest.mark.parametrize("limit", [None, 500, 3000, 20_000])
@pytest.mark.parametrize("short", [True, False])
@pytest.mark.parametrize("said", [True, False])
def test_a_call_has_no_more_items_than_its_reply_has_room_for(limit: int | None, short: bool, said: bool) -> None:
    settings = ModelSettings(max_output_tokens=limit)
    sizes = [most_items(settings, count, short, said) for count in range(1, 17)]
    assert sizes == sorted(sizes, reverse=True)
    room = limit or 4096
    assert all(size == 10 or most_out(size, count, said) <= room for count, size in enumerate(sizes, start=1))
    assert {most_items(ModelSettings(items_per_call=70), count, short) for count in range(1, 17)} == {70}
    assert most_items(ModelSettings(log_probabilities=True), 1, short) == 1


@pytest.mark.parametrize(
    ("item", "settings", "short"),
    [
        (Item("a", "x" * 300), {}, True),
        (Item("a", "x" * 301), {}, False),
        (Item("a", "x" * 301), {"describe_above": 1000}, False),
        (Item("a", "x"), {"describe_above": 0}, False),
        (Item("a", "x", images=(Path("a.jpg"),)), {}, False),
        (Item("a", "x", images=(Path("a.jpg"),)), {"images": "none"}, True),
    ],
)
def test_what_a_short_item_is(item: Item, settings: dict[str, Any], short: bool) -> None:
    assert is_short(item, ModelSettings(**settings)) == short


def test_no_more_calls_at_a_time_than_workers(serving: Any, world: Any) -> None:
    with FaultServer(TRUE, latency=0.02) as server:
        serving(server.base_url, items_per_call=1, workers=7).answer(world.items, world.features)
        assert server.peak_in_flight == 7
        assert server.connected == 7


def test_a_full_store_is_not_asked_past(serving: Any, world: Any) -> None:
    with FaultServer(TRUE) as server:
        serving(server.base_url).answer(world.items, world.features)
        made = server.total
        other = serving(server.base_url, workers=1, items_per_call=2, features_per_call=1)
        renamed = [Item(f"other {item.id}", item.text) for item in world.items]
        np.testing.assert_array_equal(other.answer(renamed, world.features), world.truth)
        assert server.total == made
        assert other.spent == Spending()


def test_only_gaps_are_asked(serving: Any, world: Any, asked: Any) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url)
        model.answer(world.items[:20], world.features[:2])
        model.answer(world.items[10:], world.features[1:3])
        server.requests.clear()
        np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
        pairs = asked(server.requests)
    expected = {(item.text, world.features[3]) for item in world.items}
    expected |= {(item.text, world.features[2]) for item in world.items[:10]}
    expected |= {(item.text, world.features[0]) for item in world.items[20:]}
    assert len(pairs) == len(expected)
    assert set(pairs) == expected


def test_the_same_item_and_feature_twice(serving: Any, world: Any, asked: Any) -> None:
    items = [world.items[k] for k in (3, 1, 3, 0, 1)]
    features = ["pool", "granite", "pool"]
    with FaultServer(TRUE) as server:
        answers = serving(server.base_url).answer(items, features)
        assert len(asked(server.requests)) == 3 * 2
    expected = [[contains_truth(item.text, feature) for feature in features] for item in items]
    np.testing.assert_array_equal(answers, np.array(expected, dtype=float))


def test_nothing_to_ask(serving: Any, world: Any) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url)
        assert model.answer([], world.features).shape == (0, 4)
        assert model.answer(world.items, []).shape == (23, 0)
        assert server.total == 0


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"temperature": 0.5},
        {"text_limit": 100},
        {"images": "none"},
        {"log_probabilities": True},
        {"draws": 2},
    ],
    ids=str,
)
def test_what_could_change_an_answer_is_asked_anew(serving: Any, world: Any, change: dict[str, Any]) -> None:
    with FaultServer(TRUE) as server:
        serving(server.base_url).answer(world.items[:3], world.features)
        serving(server.base_url, **change).answer(world.items[:3], world.features)
        assert server.total == (13 if "log_probabilities" in change else 2)


def test_another_server_or_field_is_another_question(serving: Any) -> None:
    with FaultServer(TRUE) as server, FaultServer(TRUE) as other:
        items = [Item("a", "text", {"rooms": 3}), Item("a", "text", {"rooms": 4})]
        serving(server.base_url).answer(items, ["x"])
        assert len(numbered_lines(server.requests[0].body)[0]) == 2
        serving(other.base_url).answer(items, ["x"])
        assert (server.total, other.total) == (1, 1)


def test_draws(serving: Any, world: Any, asked: Any) -> None:
    """Draws of one question are asked and kept apart; the majority counts."""
    said: dict[tuple[str, str], list[bool]] = {}

    def truth(item: str, feature: str) -> bool:
        draws = said.setdefault((item, feature), [])
        draws.append(hash_truth(f"{item} {len(draws)}", feature))
        return draws[-1]

    with FaultServer(truthful_answerer(truth)) as server:
        three = serving(server.base_url, draws=3, temperature=1.0, workers=1)
        answers = three.answer(world.items, world.features)
        pairs = [(item.text, feature) for item in world.items for feature in world.features]
        assert sorted(asked(server.requests)) == sorted(3 * pairs)
        majority = [[sum(said[item.text, feature]) >= 2 for feature in world.features] for item in world.items]
        np.testing.assert_array_equal(answers, np.array(majority, dtype=float))
        assert len(set(map(tuple, said.values()))) == 8  # the draws differ
        made = server.total
        one = serving(server.base_url, draws=1, temperature=1.0).answer(world.items, world.features)
        np.testing.assert_array_equal(one.ravel(), [said[pair][0] for pair in pairs])
        two = serving(server.base_url, draws=2, temperature=1.0).answer(world.items, world.features)
        even = np.array([said[pair][0] if said[pair][0] == said[pair][1] else np.nan for pair in pairs])
        np.testing.assert_array_equal(two.ravel(), even)
        assert server.total == made
        serving(server.base_url, draws=5, temperature=1.0).answer(world.items, world.features)
        assert {len(draws) for draws in said.values()} == {5}
        assert server.requests[0].body["temperature"] == 1.0


def test_log_probabilities(serving: Any, world: Any) -> None:
    with FaultServer(TRUE, certainty=0.8) as server:
        model = serving(server.base_url, log_probabilities=True)
        np.testing.assert_array_equal(model.answer(world.items[:4], world.features), world.truth[:4])
        assert server.total == 16  # one question a call
        assert server.requests[0].body["logprobs"] is True
        assert server.requests[0].body["top_logprobs"] >= 2
    rows = serving.rows("SELECT value, probability FROM answers")
    assert {value for value, _ in rows} == {0, 1}
    for value, probability in rows:
        assert probability == pytest.approx(0.8 if value else 0.2)


CONTRAST = Contrast(
    (Item("a", "brick and granite"), Item("b", "granite")), (Item("c", "wood"),), ("It is a house",), ("It is old", "It is red")
)


def test_mining_from_both_sides_with_context(serving: Any) -> None:
    wordings = [" It has  granite ", "It is large", "it is LARGE", "", "It is new"]
    with FaultServer(truthful_answerer(contains_truth, wordings)) as server:
        model = serving(server.base_url, mining_model="miner")
        assert model.propose(CONTRAST, 3) == ["It has granite", "It is large", "It is new"]
        assert model.propose(CONTRAST.reversed(), 2) == ["It has granite", "It is large"]
        assert [kind_of(request.body) for request in server.requests] == ["mine", "mine"]
        assert {request.body["model"] for request in server.requests} == {"miner"}
        sides = [numbered_lines(request.body) for request in server.requests]
        assert sides[0] == (
            {1: "brick and granite", 2: "granite", 3: "wood"},
            {1: "It is a house", 2: "It is old", 3: "It is red"},
        )
        assert sides[1][0] == {1: "wood", 2: "brick and granite", 3: "granite"}
        users = [request.body["messages"][1]["content"] for request in server.requests]
        assert users[0].index("brick and granite") < users[0].index("Negative group") < users[0].index("wood")
        assert users[1].index("wood") < users[1].index("Negative group") < users[1].index("brick and granite")
        for user in users:
            assert user.index("in common") < user.index("It is a house") < user.index("in use already") < user.index("It is old")
        assert "up to 3 " in users[0]
        assert "up to 2 " in users[1]


def test_both_polarities_are_asked_for_in_one_call(serving: Any, tmp_path: Path) -> None:
    said = iter([["It has granite", "It is big"], ["It is of wood"], ["It has granite"], ["It is of wood"]])
    with FaultServer(truthful_answerer(contains_truth, lambda _: next(said))) as server:
        model = serving(server.base_url, mining_model="miner")
        found = model.propose_both(CONTRAST, 3)
        assert found == (["It has granite", "It is big"], ["It is of wood"])
        assert serving(server.base_url, mining_model="miner").propose_both(CONTRAST, 3) == found  # from the store
        assert [kind_of(request.body) for request in server.requests] == ["mine_both"]
        shown = numbered_lines(server.requests[0].body)
        assert shown[0] == {1: "brick and granite", 2: "granite", 3: "wood"}
        (tmp_path / "own").mkdir()
        (tmp_path / "own" / "mine.txt").write_text(built_in("mine"), encoding="utf-8")
        own = serving(server.base_url, mining_model="miner", prompts=str(tmp_path / "own"))
        assert own.propose_both(CONTRAST, 3) == (["It has granite"], ["It is of wood"])
        assert [kind_of(request.body) for request in server.requests[1:]] == ["mine", "mine"]
        assert model.propose(CONTRAST.reversed(), 3) == ["It is of wood"]  # what one polarity was told before is found
        assert server.total == 3


def test_more_wordings_have_room_in_a_reply(serving: Any) -> None:
    with FaultServer(TRUE) as server:
        model = serving(server.base_url)
        for n in (8, 500):
            model.propose_both(CONTRAST, n)
            model.propose(CONTRAST, n)
        limits = [request.body["max_tokens"] for request in server.requests]
    assert limits == [4000, 4000, 1000 + 30 * 1000, 1000 + 30 * 500]


def test_mining_without_context_says_nothing_of_it(serving: Any) -> None:
    with FaultServer(TRUE) as server:
        serving(server.base_url).propose(Contrast(CONTRAST.positive, CONTRAST.negative), 3)
        user = server.requests[0].body["messages"][1]["content"]
    assert "in common" not in user
    assert "in use already" not in user


def test_words_are_asked_for_once(serving: Any, world: Any) -> None:
    with FaultServer(TRUE, first(1, "prose")) as server:
        model = serving(server.base_url)
        proposed, suggested = model.propose(CONTRAST, 3), model.suggest(world.items[:3], "the price of houses", 2)
        assert len(proposed) == 3
        assert len(suggested) == 2
        assert [kind_of(request.body) for request in server.requests] == ["mine", "mine", "suggest"]
        assert "the price of houses" in server.requests[2].body["messages"][1]["content"]
        other = serving(server.base_url)
        assert other.propose(CONTRAST, 3) == proposed
        assert other.suggest(world.items[:3], "the price of houses", 2) == suggested
        assert server.total == 3
        other.propose(CONTRAST, 4)
        other.propose(CONTRAST.reversed(), 3)
        other.propose(Contrast(CONTRAST.positive, CONTRAST.negative, (), CONTRAST.existing), 3)
        other.suggest(world.items[:3], "another task", 2)
        serving(server.base_url, temperature=0.0).propose(CONTRAST, 3)
        serving(server.base_url, mining_model="miner").propose(CONTRAST, 3)
        assert server.total == 3 + 6


def test_exemplars_that_are_too_many_become_fewer(serving: Any, world: Any) -> None:
    contrast = Contrast(tuple(world.items[:12]), tuple(world.items[12:20]))
    for name, tries in (("400_context", 1), ("length_invalid", 3)):  # what it would not even try is not asked again as it was

        def too_many(_: int, body: Any, name: str = name) -> str | None:
            return name if len(numbered_lines(body)[0]) > 6 else None

        with FaultServer(TRUE, too_many) as server:
            serving(server.base_url).propose(contrast, 3)
            assert [len(numbered_lines(request.body)[0]) for request in server.requests] == [*[20] * tries, 10, 10, 5]


@pytest.mark.parametrize("name", ["400_policy", "403_firewall", "422_policy", "451_policy", "refusal", "hang"])
def test_an_exemplar_that_is_refused_is_left_out(serving: Any, world: Any, name: str) -> None:
    """Wherever it stands, and two of them: some part of the exemplars is without."""
    contrast = Contrast(tuple(world.items[:8]), tuple(world.items[8:16]))
    for poison in (("number 0 ",), ("number 7 ",), ("number 12 ",), ("number 0 ", "number 15 ")):
        with FaultServer(TRUE, either(*(when(text, name) for text in poison))) as server:
            model = serving(server.base_url, timeout=0.1 if name == "hang" else 5)
            assert len(model.propose(contrast, 3)) == 3
            shown = numbered_lines(server.requests[-1].body)[0].values()
            assert len(shown) >= 4
            assert len(model.suggest(world.items[:16], "the price", 2)) == 2
        assert not any(text in one for text in poison for one in shown)


def test_no_words_at_all_is_an_error(serving: Any) -> None:
    with FaultServer(truthful_answerer(contains_truth, [])) as server:
        with pytest.raises(ModelError, match="m gave no usable reply to 10 calls of the kind 'mine'"):
            serving(server.base_url).propose(CONTRAST, 3)
        assert server.total == 10


def test_two_threads_share_a_model(serving: Any, world: Any, asked: Any) -> None:
    """One is stopped by an error of its own; the other gets all of its answers."""
    found: dict[str, Any] = {}
    with FaultServer(TRUE, lambda _, body: "429_quota" if "poison" in str(body) else None, latency=0.01) as server:
        model = serving(server.base_url, items_per_call=1, features_per_call=1)

        def run(name: str, items: list[Item]) -> None:
            try:
                found[name] = model.answer(items, world.features)
            except ModelError as error:
                found[name] = error

        poisoned = [*world.items[:6], Item("p", "poison"), *world.items[6:9]]
        threads = [threading.Thread(target=run, args=job) for job in (("poisoned", poisoned), ("healthy", world.items))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(set(asked(server.requests))) == server.total
    assert "quota" in str(found["poisoned"])
    np.testing.assert_array_equal(found["healthy"], world.truth)


def test_a_key_is_needed_where_no_server_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OptionError, match="needs a key: set the environment variable OPENAI_API_KEY"):
        OpenAIModel(ModelSettings(model="m"), tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_a_cap_on_cost_needs_a_price(serving: Any) -> None:
    with pytest.raises(OptionError, match="the price of m is not known"):
        serving("http://127.0.0.1:1/v1", max_cost=1.0)
    assert not serving.path.exists()


def test_short_items_are_judged_without_a_description(serving: Any, make_world: Any) -> None:
    """Long ones are described first, in calls and under keys of their own; the two never share a call."""
    world = make_world([f"house {i} pool" + " and so on" * (40 * (i % 2)) for i in range(6)], ["pool", "house 1"])
    with FaultServer(truthful_answerer(contains_truth)) as server:
        model = serving(server.base_url)
        np.testing.assert_array_equal(model.answer(world.items, world.features), world.truth)
        schemas = [request.body["response_format"]["json_schema"]["schema"]["properties"] for request in server.requests]
        assert [list(schema) for schema in schemas] == [["1", "2"], ["characteristics", "1", "2"]]
        prompts = [request.body["messages"][1]["content"] for request in server.requests]
        assert ["describe" in prompt for prompt in prompts] == [False, True]
        assert [prompt.count('{"item": ') for prompt in prompts] == [3, 3]
        np.testing.assert_array_equal(model.answer(world.items[::-1], world.features), world.truth[::-1])
        assert server.total == 2  # all of it stored
        always_described = serving(server.base_url, describe_above=0)
        np.testing.assert_array_equal(always_described.answer(world.items, world.features), world.truth)
        assert server.total == 3  # the short ones are asked again, described
