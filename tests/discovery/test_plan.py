from __future__ import annotations

import itertools
import json
import math
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from genz_ppl.data import Items
from genz_ppl.discovery.asking import MADE, Batches, Shape, raced
from genz_ppl.discovery.discover import discover
from genz_ppl.discovery.mine.rounds import growing
from genz_ppl.discovery.mine.tried import MOST_TRIED
from genz_ppl.discovery.plan import Part, Plan, most_additions, most_features, plan, usual_additions
from genz_ppl.discovery.reckoning import DESCRIPTION_OUT, JSON_SHARE, KEPT, LONGEST, Reckoning
from genz_ppl.errors import OptionError
from genz_ppl.llm.served.budget import Caps
from genz_ppl.llm.served.prices import find_price
from genz_ppl.llm.served.prompt_files import built_in
from genz_ppl.llm.served.requests import WORDS_OUT, Request, most_items, most_out
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.templates import Prompts
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Contrast, Item, Tried

# Nothing left to choose on the way, which a plan has to leave room for.
SMALL: dict[str, Any] = {"cycles": 3, "add": 2, "cut": 1, "proposals": 3, "seed": 4, "combine": 1}
SMALL |= {"likelihood": "gaussian", "link": "linear"}
SERVED = ModelSettings(model="gpt-4o-mini", price=(1.0, 2.0))


class Inventive:
    """Always has new words, half of whose answers are yes: a model that costs the most there is to cost."""

    def __init__(self) -> None:
        self.numbers = itertools.count()
        self.proposals = self.answers = self.words = 0

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> NDArray[np.float64]:
        self.answers += len(items) * len(features)
        random = np.random.default_rng([int(text.split()[-1]) for text in features])
        return np.stack([random.permutation(np.arange(len(items)) % 2.0) for _ in features], axis=1)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        self.proposals += 1
        self.words += n
        return [f"wording {next(self.numbers)}" for _ in range(n)]

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        raise NotImplementedError


@pytest.mark.parametrize("polarity", ["both", "negative"])
@pytest.mark.parametrize("more", [{}, {"updates": 1, "max_features": 3}, {"cut": 0, "max_features": 2}])
def test_a_run_that_never_runs_out_of_words_asks_what_was_planned(items: Items, polarity: str, more: dict[str, Any]) -> None:
    settings = {**SMALL, **more, "polarity": polarity}
    planned = plan(items, DiscoverSettings(**settings))
    model = Inventive()
    run = discover(items, model, **settings, smallest_gain=-1e9, reconsider=False, inner_steps=2, refit_steps=2, final_steps=2)
    assert int(run.curve["n_features"].max()) == planned.features
    counted = (model.answers, model.words, model.proposals)
    sides = 2 if polarity == "both" else 1
    expected = (planned.answers, planned.wordings, planned.additions * sides)
    if more.get("max_features"):  # no room at times: fewer are looked for
        assert all(count <= most for count, most in zip(counted, expected, strict=True))
    else:
        assert counted == expected


@pytest.mark.slow
def test_a_run_with_rules_stays_below_its_plan(items: Items, recorder: Any) -> None:
    planned = plan(items, DiscoverSettings(**SMALL))
    discover(items, recorder, **SMALL)
    assert 0 < sum(len(ids) * len(texts) for ids, texts in recorder.asked) <= planned.answers
    assert 0 < len(recorder.contrasts) <= 2 * planned.additions


@pytest.mark.parametrize(
    ("options", "additions", "features"),
    [
        ({}, 50, 32),
        ({"cycles": 1, "add": 4, "cut": 4}, 4, 4),
        ({"cycles": 3, "add": 2, "cut": 5}, 6, 3),  # one feature is never cut
        ({"cycles": 10, "add": 1, "cut": 1}, 10, 2),
        ({"cycles": 2, "add": 3, "cut": 0, "updates": 2}, 10, 6),
        ({"cycles": 2, "add": 3, "cut": 0, "updates": 2, "refinements": 1}, 12, 6),
        ({"cycles": 10, "add": 3, "cut": 0, "max_features": 4}, 12, 4),
        ({"cycles": 10, "add": 3, "cut": 1, "max_features": 4}, 30, 4),
        ({"cycles": 10, "add": 3, "cut": 1, "max_features": 1}, 3, 1),
        ({"cycles": 10**9, "add": 1, "cut": 3}, 10**9, 2),
        ({"cycles": 10**9, "add": 2, "cut": 1}, 2 * 10**9, 10**9 + 1),
    ],
)
def test_additions_and_features_by_hand(options: dict[str, Any], additions: int, features: int) -> None:
    settings = DiscoverSettings(**options)
    assert (most_additions(settings), most_features(settings)) == (additions, features)


@pytest.mark.parametrize(
    ("options", "usual"),
    [
        ({}, 50),
        ({"max_features": 12}, 5 + 5 + 5 + 3 + 6 * 2),
        ({"max_features": 12, "updates": 1, "refinements": 2}, 30 + 10 * 3),
        ({"max_features": 3, "cycles": 1}, 3),
        ({"max_features": 1, "cut": 5}, 1),  # one feature is never cut
        ({"max_features": 4, "add": 2, "cut": 0}, 4),
        ({"max_features": 5, "cycles": 10**9}, 5 + 2 * (10**9 - 1)),
        ({"max_features": 10**9, "cycles": 10**9}, 5 * 10**9),
    ],
)
def test_usual_additions_by_hand(options: dict[str, Any], usual: int) -> None:
    settings = DiscoverSettings(**options)
    assert usual_additions(settings) == usual <= most_additions(settings) + 3 * (options.get("cut") == 0)


def test_a_model_on_this_machine_makes_no_calls(items: Items) -> None:
    planned = plan(items, DiscoverSettings(**SMALL))
    assert (planned.items, planned.training_items, planned.test_items) == (60, 48, 12)
    assert (planned.additions, planned.wordings) == (6, 36)
    assert planned.answers == 36 * 48 + 6 * 12
    assert (planned.parts, planned.calls, planned.tokens_in, planned.tokens_out, planned.dollars) == ((), 0, 0, 0, 0)
    assert planned.unpriced == ()


def by_name(planned: Plan) -> dict[str, Part]:
    return {part.name: part for part in planned.parts}


def walked(items: Items, settings: DiscoverSettings, served: ModelSettings, side: str) -> tuple[int, int, int, int]:
    """Calls, answers, the most tokens read and written of one side, by going through all calls with the items themselves."""
    split, prompts = items.split_indices(settings.seed, settings.test_fraction), Prompts.load()
    rows = list(split.train if side == "train" else split.test)
    features = [LONGEST] * (2 * settings.proposals if side == "train" else 1)
    calls = answers = read = written = 0
    for _ in range(most_additions(settings)):
        answers += len(rows) * len(features)
        for _ in range(served.draws):
            for start in range(0, len(features), served.features_per_call):
                asked = features[start : start + served.features_per_call]
                size = most_items(served, len(asked), short=True)
                for first in range(0, len(rows), size):
                    texts = [items[int(row)].text for row in rows[first : first + size]]
                    read += Request("extract", "m", prompts.extract(texts, asked, described=False), 0).most_tokens_in
                    written += most_out(len(texts), len(asked), False)
                    calls += 1
    return calls, answers, read, written


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"features_per_call": 4},
        {"items_per_call": 48, "features_per_call": 6},
        {"items_per_call": 7, "features_per_call": 4, "draws": 2},
        {"items_per_call": 1, "features_per_call": 1},
    ],
)
def test_calls_and_tokens_are_those_of_every_call_made_one_by_one(items: Items, options: dict[str, Any]) -> None:
    settings, served = DiscoverSettings(**SMALL), ModelSettings(model="m", price=(1.0, 2.0), **options)
    parts = by_name(plan(items, settings, served))
    for side, name in (("train", "answers, training"), ("test", "answers, test")):
        calls, answers, read, written = walked(items, settings, served, side)
        part = parts[name]
        assert (part.calls, part.answers, part.tokens_out) == (calls, answers, written)
        assert read <= part.tokens_in <= 1.03 * read  # numbers of two digits have one more, and one item alone another prompt
        assert part.dollars == pytest.approx((part.tokens_in + 2 * written) / 1e6, rel=1e-6)
        assert part.model == "m"


@pytest.mark.parametrize(("items_per_call", "features"), [(40, 1), (13, 3), (250, 1), (500, 2), (2, 1), (1, 1)])
def test_a_call_reads_no_more_than_its_first_items_and_the_others(items: Items, items_per_call: int, features: int) -> None:
    """Whatever its size, so that items may be counted apart from calls."""
    served = ModelSettings(model="m", items_per_call=items_per_call)
    reckoning = Reckoning(items, items.split_indices(0), DiscoverSettings(), served, 1, 1, 1)
    first, each = reckoning.parts_of_frame(Shape(1, items_per_call, features))
    few = min(items_per_call, 2)
    for count in range(1, items_per_call + 1):
        read = reckoning.request(Shape(1, count, features), LONGEST).most_tokens_in
        assert read <= first + each * max(0, count - few) + 1e-6, count


@given(st.integers(1, 60), st.integers(1, 400), st.integers(1, 50), st.integers(1, 2), st.data())
def test_what_is_known_before_a_race_makes_no_more_calls_of_it(
    first: int, last: int, size: int, kinds: int, data: st.DataObject
) -> None:
    """Rounds that are smaller for it, or passed over and made up for in the next."""
    sizes, calls, done = growing(first, last, 400), 0, 0
    for after in sizes:
        missing = data.draw(st.integers(0, after - done))
        if missing:
            of_kind = data.draw(st.integers(0, missing)) if kinds == 2 else 0
            calls += sum(math.ceil(part / size) for part in (of_kind, missing - of_kind))
            done = after
    assert calls <= raced(sizes, Batches((size,), kinds), 1)


def test_proposals_show_items_of_both_groups(items: Items) -> None:
    settings = DiscoverSettings(**SMALL)
    part = by_name(plan(items, settings, ModelSettings(model="m", mining_model="miner", price=(1.0, 2.0))))["proposals"]
    assert (part.model, part.calls, part.answers) == ("miner", 6, 0)
    texts = [item.text for item in items]
    known = [f"{number:x<300}" for number in range(most_features(settings))]
    shown = Prompts.load().mine(
        texts[:40], texts[40:48], known[1:], known, 3, [Tried(LONGEST, 1.0, 1.0)] * MOST_TRIED, both=True
    )  # as many as there are training items
    assert part.tokens_in == pytest.approx(6 * Request("mine", "m", shown, 0).most_tokens_in, rel=0.01)
    few = plan(items, DiscoverSettings(**SMALL, exemplars=2), ModelSettings(model="m", price=(1.0, 2.0)))
    assert by_name(few)["proposals"].tokens_in < 0.8 * part.tokens_in
    assert by_name(few)["proposals"].typical.tokens_in < 0.7 * part.typical.tokens_in


def test_a_prompt_of_ones_own_is_sent_for_either_polarity(items: Items, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text(built_in("mine"), encoding="utf-8")
    both, own = (
        by_name(plan(items, DiscoverSettings(**SMALL), ModelSettings(model="m", price=(1.0, 2.0), prompts=folder)))["proposals"]
        for folder in (None, str(tmp_path))
    )
    assert (both.calls, own.calls) == (6, 12)
    assert own.tokens_in > 1.9 * both.tokens_in
    assert own.tokens_out == 2 * both.tokens_out


def test_test_items_may_be_asked_about_once(items: Items) -> None:
    """With all questions of the end, of which there are no more than at any time."""
    along, at_end = (
        by_name(plan(items, DiscoverSettings(**SMALL, test_at_end=late), SERVED))["answers, test"] for late in (False, True)
    )
    assert (along.calls, along.answers) == (6, 6 * 12)
    assert (at_end.calls, at_end.answers) == (1, most_features(DiscoverSettings(**SMALL)) * 12) == (1, 48)
    assert at_end.typical.calls == 1
    combined = by_name(plan(items, DiscoverSettings(**{**SMALL, "combine": 3}, test_at_end=True), SERVED))["answers, test"]
    assert (combined.calls, combined.answers) == (1, 3 * 48)  # twelve parts, then 33 items a call
    assert at_end.typical.answers == 24


def test_one_question_a_call_with_log_probabilities(items: Items) -> None:
    planned = plan(items, DiscoverSettings(**SMALL), ModelSettings(model="m", log_probabilities=True, price=(1.0, 1.0)))
    assert planned.calls == planned.answers + 6


def test_a_batch_halves_the_price_of_answers_only(items: Items) -> None:
    settings = DiscoverSettings(**SMALL)
    usual, batch = (by_name(plan(items, settings, ModelSettings(model="m", price=(1.0, 2.0), batch=b))) for b in (False, True))
    for name, part in usual.items():
        assert part.dollars is not None
        assert batch[name].dollars == pytest.approx(part.dollars * (1 if name == "proposals" else 0.5))


def test_the_length_of_replies_can_be_limited(items: Items) -> None:
    limited = plan(items, DiscoverSettings(**SMALL), ModelSettings(model="m", price=(1.0, 1.0), max_output_tokens=9))
    assert limited.tokens_out == 9 * limited.calls


def test_long_texts_are_cut_as_they_will_be(frame: pd.DataFrame) -> None:
    items = Items.from_frame(frame.assign(note="word " * 2000), id="key", target="y")
    cut, whole = (
        plan(items, DiscoverSettings(**SMALL), ModelSettings(model="m", price=(1.0, 1.0), text_limit=limit))
        for limit in (400, 20_000)
    )
    items_shown = (cut.answers - 6 * 12) // 6 + 6 * 12 + 6 * 48  # six questions to a call on training items
    assert whole.tokens_in - cut.tokens_in == pytest.approx(items_shown * (10_000 - 400), rel=0.02)
    typical = whole.typical.tokens_in - cut.typical.tokens_in
    usually = MADE * (items_shown - 6 * 12) + KEPT * 6 * 12
    assert typical == pytest.approx(usually * JSON_SHARE * (10_000 - 400) / 4, rel=0.02)


def test_prices_come_from_the_table_and_unknown_ones_stay_unknown(items: Items) -> None:
    settings = DiscoverSettings(**SMALL)
    planned = plan(items, settings, ModelSettings(model="gpt-4o-mini", mining_model="gpt-4o"))
    cheap, dear = find_price("gpt-4o-mini"), find_price("gpt-4o")
    assert cheap is not None
    assert dear is not None
    parts = by_name(planned)
    mined = parts.pop("proposals")
    asked = sum(cheap.cost(part.tokens_in, part.tokens_out) for part in parts.values())
    assert planned.dollars == pytest.approx(asked + dear.cost(mined.tokens_in, mined.tokens_out), rel=1e-4)
    unknown = plan(items, settings, ModelSettings(model="gpt-4o-mini", mining_model="unheard-of"))
    assert unknown.dollars is None
    assert unknown.unpriced == ("unheard-of",)
    assert unknown.calls == planned.calls
    own = plan(items, settings, ModelSettings(model="gpt-4o-mini", base_url="http://127.0.0.1:8080/v1"))
    assert own.dollars is None


def with_images(frame: pd.DataFrame, folder: Path) -> Items:
    """Two images an item, the second shared by all; the files need not be there to plan."""
    for name in [*frame["key"], "shared"]:
        (folder / f"{name}.jpg").write_bytes(b"not looked into")
    table = frame.assign(front=[str(folder / f"{key}.jpg") for key in frame["key"]], back=str(folder / "shared.jpg"))
    return Items.from_frame(table, id="key", target="y", images=["front", "back"], text=["note"])


def test_images_are_described_once_each_or_shown_with_every_question(frame: pd.DataFrame, tmp_path: Path) -> None:
    items, settings = with_images(frame, tmp_path), DiscoverSettings(**SMALL)
    served: dict[str, Any] = {"model": "m", "mining_model": "miner", "price": (1.0, 1.0), "items_per_call": 10}
    none, describe, direct = (
        by_name(plan(items, settings, ModelSettings(**served, images=way))) for way in ("none", "describe", "direct")
    )
    assert set(none) == set(direct) == set(describe) - {"descriptions of images"}
    described = describe["descriptions of images"]
    assert (described.calls, described.model) == (61, "miner")
    assert 61 * 2000 < described.typical.tokens_in < 61 * 2200
    assert 61 * 50_000 < described.tokens_in < 61 * 50_500
    assert (described.tokens_out, described.typical.tokens_out) == (61 * WORDS_OUT, 61 * DESCRIPTION_OUT)
    for name in ("answers, training", "answers, test"):
        shown, share = (48, MADE) if name == "answers, training" else (12, KEPT)
        most, usual = shown * most_additions(settings) * 2, shown * most_additions(settings) * 2 * share
        assert direct[name].typical.tokens_in - none[name].typical.tokens_in == pytest.approx(usual * 2000, rel=0.02)
        assert describe[name].typical.tokens_in - none[name].typical.tokens_in == pytest.approx(usual * 400, rel=0.02)
        assert direct[name].tokens_in - none[name].tokens_in == pytest.approx(most * 50_000, rel=0.02)
        assert describe[name].tokens_in - none[name].tokens_in == pytest.approx(most * 4 * WORDS_OUT, rel=0.02)
    shown = 48 * 2 * most_additions(settings)  # as many exemplars as training items, each with two images
    assert direct["proposals"].tokens_in - none["proposals"].tokens_in == pytest.approx(shown * 50_000, rel=0.02)
    assert describe["proposals"].tokens_in > none["proposals"].tokens_in


@pytest.mark.parametrize(
    ("caps", "expected"),
    [
        (Caps(), None),
        (Caps(calls=1), "max_calls"),
        (Caps(tokens=1), "max_tokens"),
        (Caps(cost=1e-6), "max_cost"),
        (Caps(1e6), None),
    ],
)
def test_a_plan_knows_the_caps_it_would_pass(items: Items, caps: Caps, expected: str | None) -> None:
    assert plan(items, DiscoverSettings(**SMALL), SERVED).passes(caps) == expected


def test_a_plan_is_plain_json(items: Items) -> None:
    planned = plan(items, DiscoverSettings(**SMALL), SERVED)
    values = json.loads(json.dumps(planned.to_dict()))
    assert values["calls"] == planned.calls == sum(part["calls"] for part in values["parts"])
    assert values["dollars"] == planned.dollars
    assert values["training_items"] == 48


def test_nothing_leaves_this_machine(items: Items, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("a connection was opened")

    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert plan(items, DiscoverSettings(**SMALL), ModelSettings(model="gpt-4o-mini")).calls > 0


def test_prompts_and_split_are_checked(items: Items, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("version: 1\n--- system\nJSON\n--- user\n{positive}\n", encoding="utf-8")
    with pytest.raises(OptionError, match=r"mine\.txt"):
        plan(items, DiscoverSettings(**SMALL), ModelSettings(model="m", prompts=str(tmp_path)))
    with pytest.raises(OptionError, match="0 test items"):
        plan(items, DiscoverSettings(test_fraction=0.001))


@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 5), st.one_of(st.none(), st.integers(1, 6)))
def test_no_run_has_more_features_than_planned(cycles: int, add: int, cut: int, most: int | None) -> None:
    """Against the loop of Algorithm 4, every addition kept."""
    settings = DiscoverSettings(cycles=cycles, add=add, cut=cut, max_features=most)
    active = highest = tries = 0
    for _ in range(cycles):
        kept = 0
        while kept < add and (most is None or active < most):
            active, kept, tries = active + 1, kept + 1, tries + 1
        highest = max(highest, active)
        if kept == 0:
            break
        active -= min(cut, active - 1)
    assert most_features(settings) == highest
    assert tries <= most_additions(settings)
