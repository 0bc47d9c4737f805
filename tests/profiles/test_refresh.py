"""A refresh asks for what is new or has changed, once, and leaves the rest as it is; whatever happens on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from secrets import token_hex
from typing import Any

import numpy as np
import pytest
from batch_server import BatchServer
from fault_server import FaultServer, always, either, every, first_time, share, when
from profile_answers import Embeddings, profile_answerer, profile_of

from genz_ppl.errors import BudgetError, GenzWarning, InputError, ModelError, OptionError
from genz_ppl.llm.served.batching import Batching
from genz_ppl.llm.served.prompt_files import built_in
from genz_ppl.profiles import Refresh, make_profiles, read_profiles
from genz_ppl.types import Item

Made = Callable[..., Any]


@pytest.fixture
def make(tmp_path: Path, settings: dict[str, Any], own_encoder: str) -> Made:
    """Profiles of items by the server, in out.parquet beside the store."""

    def made(items: list[Item], **changes: Any) -> Any:
        more = {name: changes.pop(name) for name in list(changes) if name not in ("model", "encoder", "users", "out", "plan")}
        given: dict[str, Any] = {"model": "openai:m", "encoder": own_encoder, **changes}
        planned = given.pop("plan", False)
        out, store = given.pop("out", tmp_path / "out.parquet"), more.pop("store", tmp_path / "answers.sqlite")
        refresh = Refresh(items, out, store=store, model_settings={**settings, **more}, **given)
        return refresh.plan() if planned else refresh.run()

    return made


def rows(profiles: Any) -> dict[str, tuple[Any, ...]]:
    """All that the rows hold but when they were made, by id."""
    return {
        row.id: (row.item_hash, row.profile, row.tags, None if row.vector is None else row.vector.tobytes(), row.prompt_version)
        for row in profiles.rows
    }


def test_a_call_an_item_then_none_then_one(make: Made, items: list[Item], server: FaultServer, tmp_path: Path) -> None:
    first = make(items)
    assert server.total == len(items)
    assert {row.id: row.profile for row in first.rows} == {item.id: profile_of(item.text)["profile"] for item in items}
    assert first.rows[0].tags == tuple(profile_of(items[0].text)["tags"])
    np.testing.assert_allclose(np.linalg.norm(first.vectors, axis=1), 1, atol=1e-6)
    content = (tmp_path / "out.parquet").read_bytes()
    assert make(items, plan=True).is_nothing
    make(items)
    assert server.total == len(items)
    assert (tmp_path / "out.parquet").read_bytes() == content
    changed = [replace(item, text="another story of ice") if item.id == "m3" else item for item in items]
    assert make(changed, plan=True).calls == 1
    second = make(changed)
    assert server.total == len(items) + 1
    kept = [name for name in second.ids if name != "m3"]
    before, after = ({row.id: row for row in one.rows} for one in (first, second))
    assert [rows(second)[name] for name in kept] == [rows(first)[name] for name in kept]
    assert [after[name].generated_at for name in kept] == [before[name].generated_at for name in kept]
    assert after["m3"].profile == profile_of("another story of ice")["profile"]
    assert second.about.spent.calls == len(items) + 1


def test_nothing_is_asked_once_the_file_is_there_even_without_the_store(
    make: Made, items: list[Item], server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(items)
    (tmp_path / "answers.sqlite").unlink()
    monkeypatch.delenv("OPENAI_API_KEY")
    make(items)
    assert server.total == len(items)
    assert not (tmp_path / "answers.sqlite").exists()


def test_new_items_come_and_old_ones_go(make: Made, items: list[Item], server: FaultServer) -> None:
    make(items[:8])
    planned = make(items[4:], plan=True)
    assert (planned.new, planned.kept, planned.gone, planned.calls) == (4, 4, 4, 4)
    assert make(items[4:]).ids == tuple(item.id for item in items[4:])
    assert server.total == 12


def test_a_new_prompt_is_all_anew_and_said_before_with_its_price(
    make: Made, items: list[Item], server: FaultServer, tmp_path: Path
) -> None:
    first = make(items)
    (tmp_path / "prompts").mkdir()
    text = built_in("profile_item").replace("version: 1", "version: 7").replace("two sentences", "two short sentences")
    (tmp_path / "prompts" / "profile_item.txt").write_text(text)
    changes = {"prompts": str(tmp_path / "prompts"), "price": (1.0, 2.0)}
    planned = make(items, plan=True, **changes)
    assert (planned.profiles, planned.calls) == (len(items), len(items))
    assert any(line.startswith("another prompt (1-") and line.endswith("all 12 are made again") for line in planned.lines())
    assert planned.writing.most_dollars == pytest.approx(
        (planned.writing.most_tokens_in + 2 * planned.writing.most_tokens_out) / 1e6
    )
    assert "at most $" in "\n".join(planned.lines())
    second = make(items, **changes)
    assert server.total == 2 * len(items)
    assert second.prompt_version.startswith("7-")
    assert second.prompt_version != first.prompt_version
    assert second.about.spent.cost <= (planned.dollars or 0)


def test_another_encoder_asks_for_no_text(make: Made, items: list[Item], server: FaultServer, own_encoder: str) -> None:
    first = make(items)
    embeddings = Embeddings(server)
    second = make(items, encoder="openai:e")
    assert server.total == len(items)
    assert len(embeddings.asked) == 1
    assert second.encoder == "openai:e"
    assert second.vectors.shape == (12, 8)
    assert [row.profile for row in second.rows] == [row.profile for row in first.rows]


def test_equal_texts_share_a_call(make: Made, server: FaultServer) -> None:
    found = make([Item("a", "the same story"), Item("b", "the same story"), Item("c", "another story")])
    assert server.total == 2
    assert found.rows[0].profile == found.rows[1].profile


@pytest.mark.parametrize("cap", [{"max_calls": 5}, {"max_cost": 0.005, "price": (1.0, 1.0)}, {"max_tokens": 5_000}])
def test_caps_hold_and_the_refresh_goes_on(
    make: Made, items: list[Item], server: FaultServer, tmp_path: Path, cap: dict[str, Any]
) -> None:
    with pytest.raises(BudgetError, match="stopped by --max"):
        make(items, **cap)
    stopped = server.total
    assert 0 < stopped < len(items)
    if "max_calls" in cap:
        assert stopped == 5
    assert not (tmp_path / "out.parquet").exists()
    with pytest.raises(BudgetError):  # the same cap again: what was spent before counts
        make(items, **cap)
    assert server.total == stopped
    found = make(items)
    assert server.total == len(items)
    assert found.about.spent.calls == len(items)
    changed = [replace(items[0], text="something else"), *items[1:]]
    make(changed, **cap)  # a refresh of its own, which the cap holds for anew
    assert server.total == len(items) + 1


BROKEN = {
    "no tags": {"profile": "A story of ice. For those who like it."},
    "a number": {"profile": 7, "tags": ["ice"]},
    "no list": {"profile": "A story of ice. For those who like it.", "tags": "ice"},
    "empty": {"profile": "", "tags": ["ice"]},
    "no tag": {"profile": "A story of ice. For those who like it.", "tags": []},
    "too many": {"profile": "A story of ice. For those who like it.", "tags": [str(n) for n in range(30)]},
    "an essay": {"profile": "word " * 500, "tags": ["ice"]},
    "more": {"profile": "A story of ice. For those who like it.", "tags": ["ice"], "note": "x"},
    "half a letter": {"profile": "A story of \ud800. For those who like it.", "tags": ["ice"]},
}


@pytest.mark.parametrize("reply", BROKEN.values(), ids=BROKEN.keys())
def test_replies_that_break_the_schema_never_enter(
    make: Made, items: list[Item], server: FaultServer, tmp_path: Path, reply: dict[str, Any]
) -> None:
    import json

    server.answerer = lambda body: json.dumps(reply) if "number 4 " in str(body) else profile_answerer(body)
    with pytest.warns(GenzWarning, match=r"1 of 12 items have no profile \(.*\): m4; they are in the file, without a vector"):
        found = make(items)
    assert found.missing == ("m4",)
    assert found.find("m4").profile is None
    assert server.total == len(items) - 1 + 3  # tried again, then known to fail
    with pytest.warns(GenzWarning, match="1 of 12 items have no profile"):
        assert make(items).missing == ("m4",)
    assert server.total == len(items) - 1 + 3


@pytest.mark.parametrize("fault", ["truncated", "prose", "refusal", "null_content", "500", "bad_json", "close_before", "429"])
def test_faults_that_pass_leave_no_trace(make: Made, items: list[Item], server: FaultServer, tmp_path: Path, fault: str) -> None:
    right = make(items, out=tmp_path / "right.parquet")
    (tmp_path / "answers.sqlite").unlink()
    server.faults, server.retry_after = first_time(every(3, fault)), 0.01
    assert rows(make(items)) == rows(right)


def test_a_model_that_can_do_nothing_ends_the_run(make: Made, server: FaultServer, tmp_path: Path) -> None:
    many = [Item(f"i{n}", f"story number {n}") for n in range(60)]
    server.answerer = lambda body: '{"no": "profile"}'
    with pytest.raises(ModelError, match="m gave no usable reply about any of 20 texts in a row"):
        make(many)
    assert server.total < 60 + 12
    assert not (tmp_path / "out.parquet").exists()
    server.answerer = profile_answerer
    assert make(many).missing == ()  # nothing was known to fail


def test_a_dead_server_ends_the_run(make: Made, items: list[Item], server: FaultServer) -> None:
    server.faults = always("500")
    with pytest.raises(ModelError, match=r"the server at .* failed"):
        make(items, attempts=2)
    server.faults = None
    assert make(items).missing == ()


def test_by_batches_as_by_calls(make: Made, items: list[Item], server: FaultServer, tmp_path: Path) -> None:
    direct = make(items, out=tmp_path / "direct.parquet")
    (tmp_path / "answers.sqlite").unlink()
    batches = BatchServer(server)
    before = server.total
    found = make(items, batch=True, price=(1.0, 1.0))
    assert server.total == before
    assert len(batches.asked) == len(items)
    assert rows(found) == rows(direct)
    assert 0 < found.about.spent.cost < 0.51 * (found.about.spent.tokens_in + found.about.spent.tokens_out) / 1e6
    make(items, batch=True)
    assert len(batches.batches) == 1


def test_a_batch_sent_before_a_crash_is_brought_in(make: Made, items: list[Item], server: FaultServer, tmp_path: Path) -> None:
    batches = BatchServer(server, lose={"start"}, broken=True, share=0.5)
    found = make(items, batch=True)  # half expires, and goes into the next one
    assert found.missing == ()
    assert {row.profile for row in found.rows} == {profile_of(item.text)["profile"] for item in items}
    assert len(batches.asked) + server.total >= len(items)


def test_a_batch_whose_results_were_never_fetched(
    make: Made, items: list[Item], server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash after a batch was sent: the next refresh brings it in and sends none."""
    batches = BatchServer(server)
    finish = Batching._finish

    async def crash(*_: Any) -> None:
        raise RuntimeError("the power went")

    monkeypatch.setattr(Batching, "_finish", crash)
    with pytest.raises(RuntimeError, match="the power went"):
        make(items, batch=True)
    monkeypatch.setattr(Batching, "_finish", finish)
    found = make(items, batch=True)
    assert (found.missing, len(batches.batches), server.total) == ((), 1, 0)
    assert found.about.spent.calls == len(items)


def test_hosts_that_share_a_store_pay_once(
    make: Made, items: list[Item], server: FaultServer, tmp_path: Path, postgres: Any
) -> None:
    store = str(postgres.database(f"profiles_{token_hex(4)}"))
    with pytest.raises(BudgetError, match="--max-calls 5"):
        make(items, store=store, max_calls=5)
    assert server.total == 5
    assert make(items, store=store, plan=True).calls == len(items) - 5
    first = make(items, store=store, max_calls=len(items))
    assert server.total == first.about.spent.calls == len(items)  # the same refresh went on
    second = make(items, store=store, out=tmp_path / "other.parquet")
    assert server.total == len(items)
    assert rows(second) == rows(first)
    assert second.about.spent.calls == 0


def test_batches_of_a_shared_store(make: Made, items: list[Item], server: FaultServer, postgres: Any) -> None:
    store = str(postgres.database(f"profiles_{token_hex(4)}"))
    batches = BatchServer(server)
    found = make(items, store=store, batch=True, price=(1.0, 1.0))
    assert (found.missing, len(batches.asked), server.total) == ((), len(items), 0)
    assert 0 < found.about.spent.cost < 0.51 * (found.about.spent.tokens_in + found.about.spent.tokens_out) / 1e6


def test_refused_before_any_call(make: Made, items: list[Item], server: FaultServer, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the id 'm0' is in rows 1 and 13"):
        make([*items, items[0]])
    with pytest.raises(OptionError, match=r"model: expected rules .* or openai:NAME, got 'similarity'"):
        make(items, model="similarity")
    with pytest.raises(OptionError, match=r"encoder: expected similarity, openai:NAME, st:NAME or .*, got 'x'"):
        make(items, encoder="x")
    with pytest.raises(OptionError, match=r"expected a name that ends with .parquet"):
        make(items, out=tmp_path / "out.csv")
    with pytest.raises(OptionError, match="max_cost: the price of m is not known"):
        make(items, max_cost=1.0)
    with pytest.raises(InputError, match="there are no items"):
        make([])
    (tmp_path / "out.parquet").write_bytes(b"other")
    with pytest.raises(InputError, match="not a readable parquet file of profiles"):
        make(items)
    assert server.total == 0


def test_plan_asks_nothing_and_writes_nothing(
    make: Made, items: list[Item], server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    planned = make(items, plan=True, encoder="openai:e")
    assert (planned.writing.calls, planned.encoding.calls, planned.vectors) == (12, 1, 12)
    assert planned.dollars is None
    assert "of unknown price" in "\n".join(planned.lines())
    assert server.total == 0
    assert {path.name for path in tmp_path.iterdir()} == {"own_encoders.py"}


def test_a_stormy_server_pays_no_text_twice(make: Made, server: FaultServer) -> None:
    many = [Item(f"i{n}", f"story number {n} of rain") for n in range(150)]
    storm = share(0.25, ["500", "429", "truncated", "prose", "reset_amid", "refusal"], seed=3)
    server.faults, server.retry_after = first_time(either(storm, when("number 77 ", "500"))), 0.01
    found = make(many, workers=8)
    assert found.missing == ()
    right = server.counts["right"]
    assert right == len(many)
    for row, item in zip(found.rows, many, strict=True):
        assert row.profile == profile_of(item.text)["profile"]


def test_template_profiles_need_no_key(
    items: list[Item], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_encoder: str
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    found = make_profiles(items, tmp_path / "out.parquet", encoder=own_encoder)
    assert found.rows[2].profile == "title Film 2, genres ghost."
    assert found.rows[2].tags == ("ghost",)
    assert (found.model, found.prompt_version) == ("rules", "fields-1")
    again = make_profiles(items, tmp_path / "out.parquet", model="none", encoder=own_encoder)
    assert rows(again) == rows(found)
    assert rows(read_profiles(tmp_path / "out.parquet")) == rows(found)
