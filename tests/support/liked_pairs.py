"""A made world of users and items: what users like follows from the answers to four questions, with noise."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pandas as pd

from genz_ppl.profiles import Profile, Profiles
from genz_ppl.profiles.table import About

QUESTIONS = ("Is it red?", "Is it round?", "Is it loud?", "Is it old?")


def liked_pairs(
    n_users: int = 80, n_items: int = 60, new: int = 5, chosen: int = 12, seed: int = 0
) -> tuple[pd.DataFrame, Profiles]:
    """Pairs (user, item, rating: 5 if liked, else 2), and profiles of all items and of `new` ones that no pair names."""
    random = np.random.default_rng(seed)
    answers = (random.random((n_items + new, len(QUESTIONS))) < 0.5).astype(float)
    taste = random.normal(size=(n_users, len(QUESTIONS)))
    worth = taste @ (answers - 0.5).T + 0.3 * random.gumbel(size=(n_users, n_items + new))
    rows = []
    for user in range(n_users):
        best = np.argsort(-worth[user, :n_items])
        rows += [(f"u{user}", f"i{item}", 5.0) for item in best[:chosen]]
        rows += [(f"u{user}", f"i{item}", 2.0) for item in best[chosen : chosen + 4]]
    vectors = (answers - 0.5) @ random.normal(size=(len(QUESTIONS), 8)) + 0.01 * random.normal(size=(n_items + new, 8))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    profiles = [_profile(f"i{at}", vectors[at], answers[at]) for at in range(n_items + new)]
    return pd.DataFrame(rows, columns=["user", "item", "rating"]), Profiles(profiles, About(questions=QUESTIONS))


def _profile(name: str, vector: np.ndarray, answers: np.ndarray) -> Profile:
    return Profile(
        id=name,
        item_hash="h",
        profile=f"A thing called {name}.",
        tags=(),
        vector=vector.astype(np.float32),
        answers=answers.astype(np.float32),
        q=None,
        prompt_version="v1",
        model="rules",
        encoder="similarity",
        generated_at=datetime(2026, 1, 1, tzinfo=UTC),
    )
