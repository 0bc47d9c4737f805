"""Vectors of texts from a server's /embeddings: what is sent, and what is taken for vectors."""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.served.budget import most_tokens
from genz_ppl.llm.served.faults import CallError, Remedy
from genz_ppl.llm.served.requests import EMBED, REPLY_BYTES, Request
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.spending import Usage
from genz_ppl.llm.served.templates import Rendered

# Texts in one call, and the most bytes of the vector of each: 8 192 numbers of 24 digits.
TEXTS_PER_CALL, VECTOR_BYTES = 64, 2**18
_NOTHING = Rendered(EMBED, "1", "", "", None, EMBED)
Vector = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class EmbeddingRequest(Request):
    """A call for the vectors of some texts. inputs: the texts."""

    inputs: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: str, inputs: Sequence[str]) -> EmbeddingRequest:
        """The call of a model by its server's name."""
        return cls(EMBED, model, _NOTHING, 0, inputs=tuple(inputs))

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """All that the model reads."""
        return self.inputs

    @cached_property
    def most_tokens_in(self) -> int:
        """An upper limit of the tokens read."""
        return most_tokens(self.inputs)

    def most_bytes(self, settings: ModelSettings) -> int:
        """An upper limit of the reply's bytes."""
        return REPLY_BYTES + VECTOR_BYTES * len(self.inputs)

    def body(self, form: str, settings: ModelSettings, refused: Collection[str] = ()) -> dict[str, Any]:
        """The JSON to send."""
        return {"model": self.model, "input": list(self.inputs), "encoding_format": "float"}


def read_embeddings(body: Mapping[str, Any], count: int) -> tuple[str, Usage | None]:
    """The vectors in a reply as a JSON list of packed ones, in the order of the texts, and what the call used.

    Raises CallError unless there is one for each of `count` texts, all of one length, of finite numbers not all 0.
    """
    said = body.get("usage")
    tokens = said.get("prompt_tokens") if isinstance(said, dict) else None
    usage = Usage(tokens, 0) if type(tokens) is int and tokens > 0 else None
    if body.get("error") is not None:
        raise CallError(Remedy.AGAIN, "an error in place of vectors", usage=usage)
    entries = body.get("data")
    listed = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    found = {entry.get("index"): _vector(entry.get("embedding")) for entry in listed}
    vectors = [found.get(number) for number in range(count)]
    whole = [vector for vector in vectors if vector is not None]
    if len(listed) != count or len(whole) != count or len({len(vector) for vector in whole}) != 1:
        raise CallError(Remedy.SPLIT, "not one usable vector for each text", usage=usage)
    return json.dumps([packed(vector) for vector in whole]), usage


def _vector(value: object) -> Vector | None:
    if not isinstance(value, list) or not value or not all(type(one) in (int, float) for one in value):
        return None
    with np.errstate(over="ignore"):
        vector = np.array(value, dtype=np.float64).astype(np.float32)
    return vector if np.isfinite(vector).all() and vector.any() else None


def packed(vector: Vector) -> str:
    """A vector as the store keeps it: base64 of little-endian float32."""
    return base64.b64encode(np.ascontiguousarray(vector, dtype="<f4").tobytes()).decode("ascii")


def unpacked(text: str) -> Vector:
    """The reverse of `packed`."""
    return np.frombuffer(base64.b64decode(text), dtype="<f4").astype(np.float32)
