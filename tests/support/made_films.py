"""A small MovieLens folder in the files of 1M: films of some kinds, users with a taste for kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

KINDS = ("Comedy", "Drama", "Horror", "War", "Western")


def write_films(folder: Path, n_films: int = 80, n_users: int = 250, seed: int = 0) -> str:
    """ratings.dat and movies.dat; returns the source, four dimensions. Every film has ratings, most some thirty to a hundred."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    has = random.random((n_films, len(KINDS))) < 0.35
    taste = random.normal(size=(n_users, len(KINDS)))
    liking = has @ taste.T + 0.3 * random.normal(size=(n_films, n_users))
    chance = 1.0 / (1.0 + np.exp(1.2 - 1.5 * liking - 0.5 * random.normal(size=(n_films, 1))))
    rated = random.random((n_films, n_users)) < chance
    rated[:, 0] = True
    stars = np.clip(np.rint(3.4 + 0.6 * liking), 1, 5).astype(int)
    films, users = np.nonzero(rated)
    lines = [f"{user + 1}::{film + 1}::{stars[film, user]}::978300760" for film, user in zip(films, users, strict=True)]
    (folder / "ratings.dat").write_text("\n".join(lines) + "\n")
    names = ["|".join(kind for kind, there in zip(KINDS, row, strict=True) if there) or "(no genres listed)" for row in has]
    rows = [f"{film + 1}::Film {film + 1} ({1950 + film % 50})::{name}" for film, name in enumerate(names)]
    (folder / "movies.dat").write_text("\n".join(rows) + "\n")
    return f"movielens-genres:{folder},dimensions=4"
