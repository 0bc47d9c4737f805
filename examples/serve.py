"""Serve a recommender over HTTP in 30 lines, without a model: uvicorn serve:app, once `pip install fastapi uvicorn` is done.

    genz recommend pairs.parquet --items items.parquet --out recommender
    GENZ_RECOMMENDER=recommender uvicorn serve:app
    curl 'localhost:8000/lists/17?n=5&new=true'

Run as a script it makes a small world and prints what the server would answer; no FastAPI is needed for that.
"""

from __future__ import annotations

import os
from typing import Any

from genz_ppl.errors import GenzError
from genz_ppl.recommend import Recommendation


def answer(made: Recommendation, user: str, n: int = 10, new: bool = False) -> list[dict[str, Any]]:
    """The list of a user, each item with its reasons. Raises GenzError for ids and numbers that do not fit."""
    lists = made.top([user], n, why=3, new=new).drop(columns="user")
    return [{str(name): value for name, value in row.items()} for row in lists.to_dict("records")]


def make_app(folder: str) -> Any:
    """The application."""
    from fastapi import FastAPI, HTTPException

    app, made = FastAPI(), Recommendation.load(folder)

    @app.get("/lists/{user}")  # type: ignore[untyped-decorator]
    def lists(user: str, n: int = 10, new: bool = False) -> list[dict[str, Any]]:
        try:
            return answer(made, user, n, new)
        except GenzError as error:
            raise HTTPException(404, str(error)) from None

    return app


def __getattr__(name: str) -> Any:
    """`app`, made when a server asks for it."""
    if name == "app":
        return make_app(os.environ["GENZ_RECOMMENDER"])
    raise AttributeError(name)


def main() -> None:
    """A world of 60 users and 40 films, of which half are funny, and users who like them or do not."""
    import numpy as np
    import pandas as pd

    from genz_ppl.recommend import recommend

    random = np.random.default_rng(0)
    funny = random.random(40) < 0.5
    likes = random.random((60, 40)) < np.where((np.arange(60) % 2)[:, None] == funny, 0.5, 0.05)
    pairs = pd.DataFrame(
        [(f"u{user}", f"film{film}") for user, film in zip(*likes.nonzero(), strict=True)], columns=["user", "item"]
    )
    made = recommend(pairs, seeds=2, core=2, ridge=10.0)
    for line in answer(made, "u1", 3):
        print(line["rank"], line["item"], "funny" if funny[int(line["item"].removeprefix("film"))] else "not funny", line["why"])


if __name__ == "__main__":
    main()
