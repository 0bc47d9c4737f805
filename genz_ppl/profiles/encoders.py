"""Frozen encoders: texts to vectors of length 1, by one small protocol; those behind a server are asked once a text."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import GenzError, InputError, ModelError, OptionError
from genz_ppl.llm.registry import imported
from genz_ppl.llm.served.embeddings import TEXTS_PER_CALL, EmbeddingRequest, unpacked
from genz_ppl.llm.served.keys import digest
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.prices import Price, find_embedding_price
from genz_ppl.llm.served.settings import SERVED, ModelSettings, served_name
from genz_ppl.llm.served.writing import Writing
from genz_ppl.llm.similarity.vectors import SIMILARITY, stacked

SENTENCE_TRANSFORMERS = "st"
CHOICES = "similarity, openai:NAME, st:NAME or package.module:object"
Vector = NDArray[np.float32]


@runtime_checkable
class TextEncoder(Protocol):
    """Turns texts into vectors, each by itself: the same text always gives the same vector. No base class is needed."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), D) finite numbers, no row of zeros; their length does not matter."""
        ...


class _Similarity:
    """The embedded sentence encoder of the model `similarity`."""

    def __init__(self) -> None:
        from genz_ppl.llm.similarity.embedding import open_encoder  # loads torch and 90 MB of weights

        self._encoder = open_encoder()

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encoder.directions(texts)


class _SentenceTransformer:
    """A model of the package sentence-transformers."""

    def __init__(self, name: str) -> None:
        try:
            package = importlib.import_module("sentence_transformers")
        except ImportError:
            raise OptionError(
                f"the encoder st:{name} needs the package sentence-transformers: pip install 'genz-ppl[encoders]'"
            ) from None
        try:
            self._model = package.SentenceTransformer(name)
        except Exception as error:  # whatever a missing or broken model makes it raise
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            raise OptionError(f"the encoder st:{name} could not be opened ({reason}); check its name or path") from None

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.asarray(self._model.encode(list(texts), show_progress_bar=False), dtype=np.float32)


class ServedEncoder:
    """A model behind a server's /embeddings: batched, within the caps of its run, each vector stored and paid for once.

    Where the server gives no usable vector of a text its row is NaN.
    """

    def __init__(self, model: OpenAIModel) -> None:
        self._model = model
        model.caller.harmless = EmbeddingRequest.of(model.settings.model, ["yes"])

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Raises ModelError, BudgetError and StoreError; what was answered until then is in the store."""
        model, caller = self._model, self._model.caller
        caller.budget.spent = model.store.spent(caller.run)  # the run's other model may have spent meanwhile
        keys = [vector_key(text, model.settings, caller.client.endpoint) for text in texts]
        said = dict(zip(keys, texts, strict=True))

        def render(some: tuple[bytes, ...]) -> EmbeddingRequest:
            return EmbeddingRequest.of(model.settings.model, [said[key] for key in some])

        def read(reply: str, some: tuple[bytes, ...]) -> Mapping[bytes, str]:
            return dict(zip(some, json.loads(reply), strict=True))

        found = model.wait(Writing(caller, keys, render, read, TEXTS_PER_CALL, model.progress).run())
        vectors = [unpacked(found[key]) if found[key] else None for key in keys]
        width = max((len(one) for one in vectors if one is not None), default=0)
        if any(one is not None and len(one) != width for one in vectors):
            raise ModelError(f"{model.settings.model} gave vectors of several lengths; name another model, or another --store")
        return np.array([np.full(width, np.nan, np.float32) if one is None else one for one in vectors], np.float32)


def vector_key(text: str, settings: ModelSettings, endpoint: str) -> bytes:
    """What a vector goes by in the store."""
    return digest(["vector", settings.model, endpoint, text])


def check_encoder(spec: str) -> None:
    """Raise OptionError for a text that names no encoder, before anything is asked. Nothing is opened."""
    name, colon, rest = spec.partition(":")
    if spec == SIMILARITY or (name == SENTENCE_TRANSFORMERS and rest) or (name == SERVED and served_name(spec)):
        return
    if name in (SIMILARITY, SENTENCE_TRANSFORMERS) or not colon or not rest:
        raise OptionError(f"encoder: expected {CHOICES}, got {spec!r}")


def is_served_encoder(spec: str) -> bool:
    """Whether vectors come from a server."""
    return spec.partition(":")[0] == SERVED


def encoder_settings(spec: str, settings: ModelSettings, alone: bool) -> ModelSettings:
    """How a served encoder is called. alone: no other model is, so that the user's own price is this one's."""
    name = served_name(spec)
    price = encoder_price(spec, settings, alone)
    rates = None if price is None else (price.input_rate, price.output_rate)
    return replace(settings, model=name, mining_model=None, price=rates, body=None, batch=False)


def encoder_price(spec: str, settings: ModelSettings, alone: bool) -> Price | None:
    """What a served encoder takes for a token, None where that is not known."""
    if alone and settings.price is not None:
        return Price(*settings.price)
    known = find_embedding_price(served_name(spec), settings.base_url)
    return Price(*settings.price) if known is None and settings.price is not None else known


def open_local(spec: str) -> TextEncoder:
    """An encoder of this machine. Raises OptionError where it cannot be had."""
    name, _, rest = spec.partition(":")
    if spec == SIMILARITY:
        return _Similarity()
    if name == SENTENCE_TRANSFORMERS:
        return _SentenceTransformer(rest)
    found: TextEncoder = imported(spec, ("encode",), "encoder")
    return found


def unit_vectors(encoder: TextEncoder, spec: str, texts: Sequence[str], ids: Sequence[str]) -> list[Vector | None]:
    """The vector of each text, float32 of length 1; of a served encoder None where it gives none.

    Raises ModelError, naming the item, for anything that is no vector: another shape, zeros, a number that is not finite.
    """
    if not texts:
        return []
    try:
        made = np.asarray(encoder.encode(texts), dtype=np.float32)
    except GenzError:
        raise
    except Exception as error:  # foreign code may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise ModelError(f"the encoder {spec} failed ({reason}); correct it, or name another one") from error
    if made.ndim != 2 or len(made) != len(texts) or not made.shape[1]:
        raise ModelError(f"the encoder {spec}: expected vectors of the shape ({len(texts)}, D), got {made.shape}")
    given_up = [isinstance(encoder, ServedEncoder) and bool(np.isnan(one).all()) for one in made]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        lengths = np.linalg.norm(made.astype(np.float64), axis=1)
        units = [
            None if gone else one if length == 0 or not np.isfinite(length) else (one / length).astype(np.float32)
            for one, length, gone in zip(made, lengths, given_up, strict=True)
        ]
    try:
        stacked(units, ids, f"the encoder {spec}")
    except InputError as error:
        raise ModelError(str(error).replace("make it again", "name another encoder")) from None
    return units
