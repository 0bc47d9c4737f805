"""`phrases`: what texts are about, found as directions of their sentences' vectors and named by the phrases nearest to them.

    about "whale", "sea captain", "harpoon" (similarity 0.38)

`similarity` compares items with one phrase that stands in them. Here the sentences of the items shown are grouped by meaning
(spherical k-means, where others train a sparse autoencoder), and each group is named by up to three phrases that lie nearest to
its centre. The question is about the direction of their sum, so that the wording holds all that an answer depends on, and a topic
that every item puts in other words is one question. The same races and the same bound decide what is kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.similarity.model import Name, SimilarityModel, common, sentences
from genz_ppl.types import Item

# Sentences for each group, the most groups, rounds of k-means, and the phrases that name a group.
_A_GROUP, _MOST_GROUPS, _ROUNDS, _NAMED_BY = 4, 40, 10, 3
# A second and a third phrase must lie so near to the centre beside the first.
_AS_NEAR = 0.75


class PhrasesModel(SimilarityModel):
    """Answers as `SimilarityModel` and proposes groups of meaning beside single phrases; see the module's text."""

    fingerprint = "phrases/1 all-MiniLM-L6-v2"

    def _names(self, positive: Sequence[Item], negative: Sequence[Item]) -> list[Name]:
        """Groups of the sentences of either side, and the single phrases that more of the positive items hold."""
        single = common(positive, negative)
        if not single:
            return []
        vectors = self._encoder.directions(sorted({text for item in (*positive, *negative) for text in sentences(item)}))
        phrases = self._encoder.directions(single)
        grouped = [_nearest(centre, phrases, single) for centre in _centres(vectors)]
        return list(dict.fromkeys([*(name for name in grouped if len(name) > 1), *((phrase,) for phrase in single)]))


def _nearest(centre: NDArray[np.float32], vectors: NDArray[np.float32], phrases: Sequence[str]) -> Name:
    """The phrases nearest to a centre, none of which says what another one does."""
    cosines = vectors @ centre
    order = np.argsort(-np.round(cosines, 6), kind="stable")
    chosen: list[int] = []
    for row in order.tolist():
        words = set(phrases[row].casefold().split())
        near = cosines[row] >= _AS_NEAR * cosines[order[0]]
        if near and len(chosen) < _NAMED_BY and not any(words & set(phrases[other].casefold().split()) for other in chosen):
            chosen.append(row)
    return tuple(phrases[row] for row in chosen)


def _centres(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Centres of groups of directions, (G, 384), of length 1, the largest group first; from the same vectors always the same.

    The first is the vector nearest to the mean, each next one that which is farthest from those before.
    """
    n_groups = int(np.clip(len(vectors) // _A_GROUP, 1, _MOST_GROUPS))
    chosen = [int(np.argmax(vectors @ vectors.mean(0)))]
    nearest = vectors @ vectors[chosen[0]]
    while len(chosen) < n_groups:
        chosen.append(int(np.argmin(nearest)))
        nearest = np.maximum(nearest, vectors @ vectors[chosen[-1]])
    centres = vectors[chosen]
    for _ in range(_ROUNDS):
        groups = np.argmax(vectors @ centres.T, axis=1)
        sums = np.stack(
            [vectors[groups == group].sum(0) if (groups == group).any() else centres[group] for group in range(n_groups)]
        )
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-6)
    sizes = np.bincount(np.argmax(vectors @ centres.T, axis=1), minlength=n_groups)
    ordered: NDArray[np.float32] = centres[np.argsort(-sizes, kind="stable")]
    return ordered
