"""Recommenders on MovieLens 1M: backbones, fusions, new items, lists of all items, mined questions; against shuffled profiles.

    python benchmarks/recommend.py ../shared/data --work films        # everything; hours on slow cores
    python benchmarks/recommend.py ../shared/data --work films --part films    # see PARTS

Liked: a rating of 4 or 5; users and items with at least five. Every list is ranked in full. Profiles are by template, of
title, year, genres, director, actors and plot, with the embedded encoder's vectors; answers are those that
ml-1m/movie_answers.jsonl holds for the 512 most rated films. WORK keeps the profiles between runs.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from genz_ppl import Items, discover
from genz_ppl.data.movielens import movielens_frame
from genz_ppl.llm.combined import answers_by_parts
from genz_ppl.profiles import Profiles, make_profiles
from genz_ppl.recommend import RecommendSettings, full_ranking, paired_t, read_interactions, recommend
from genz_ppl.recommend.calibrate import placing_of
from genz_ppl.recommend.features import item_features
from genz_ppl.recommend.fill import Fill
from genz_ppl.recommend.interactions import Interactions
from genz_ppl.recommend.linear import ease_factors
from genz_ppl.recommend.mining import PREFIX, mining_table
from genz_ppl.recommend.models import trained
from genz_ppl.recommend.splits import Split, hidden_again, split_of
from genz_ppl.types import FloatArray

TEXT = ("title", "year", "genres", "director", "actors", "plot")
FAME = re.compile(r"Academy Award|box-office|flop|classic of world|franchise")
SETTINGS = RecommendSettings()
NOT = re.compile(r"not \((.*)\)")


class Films:
    """The data: ratings, profiles with vectors and answers, and the films that are answered."""

    def __init__(self, data: Path, work: Path) -> None:
        lines = [json.loads(line) for line in (data / "ml-1m" / "movie_answers.jsonl").read_text(encoding="utf-8").splitlines()]
        self.answered = pd.read_csv(data / "ml-1m" / "movies_top512.csv")["ml_id"].astype(str).tolist()
        yes = {line["question"]: {str(movie) for movie in line["yes"]} for line in lines}
        self.answers = pd.DataFrame({q: [float(name in films) for name in self.answered] for q, films in yes.items()})
        self.answers.insert(0, "id", self.answered)
        self.table = work / "answers.csv"
        self.answers.to_csv(self.table, index=False)
        self.frame = movielens_frame(data / "ml-1m", 10_000, 2, 0.0, True).astype({"movie": str})[["movie", *TEXT]]
        items = Items.from_frame(self.frame, id="movie", text=TEXT, require_target=False)
        self.profiles: Profiles = make_profiles(items, work / "films.parquet", questions=f"table:{self.table}")
        ratings = pd.read_parquet(data / "ml-1m" / "ratings.parquet").astype({"movie": "str"})
        self.ratings = ratings[["user", "movie", "rating"]]

    def all(self) -> Interactions:
        """All liked pairs."""
        return read_interactions(self.ratings, 4, 5)

    def top(self) -> Interactions:
        """Those of the films that are answered."""
        return read_interactions(self.ratings[self.ratings["movie"].isin(set(self.answered))], 4, 5)

    def genres(self, ids: tuple[str, ...]) -> FloatArray:
        """(N, G) of 1 and 0."""
        listed = dict(zip(self.frame["movie"], self.frame["genres"], strict=True))
        each = [set(str(listed[name]).split(", ")) for name in ids]
        names = sorted(set().union(*each))
        return np.array([[float(name in one) for name in names] for one in each])

    def known(self, ids: tuple[str, ...], questions: list[str]) -> FloatArray:
        """(N, K) answers to some questions."""
        told = self.answers.set_index("id").loc[list(ids)]

        def ask(texts: list[str]) -> FloatArray:
            plain = [NOT.sub(r"\1", text) for text in texts]
            found: FloatArray = told[plain].to_numpy(dtype=np.float64)
            return np.where([NOT.fullmatch(text) is not None for text in texts], 1 - found, found)

        return answers_by_parts(questions, ask)


def show(name: str, values: dict[str, list[float]], seconds: list[float] | None = None) -> None:
    """One row of a table: mean ± sd."""
    cells = [f"{np.mean(one):.4f}" + (f" ± {np.std(one, ddof=1):.4f}" if len(one) > 1 else "") for one in values.values()]
    taken = "" if seconds is None else f" {np.mean(seconds):.0f} |"
    print(f"| {name} | {' | '.join(cells)} |{taken}", flush=True)


def proved(films: Films, name: str, seeds: int, metrics: dict[str, tuple[str, str]], **settings: Any) -> None:
    """Rows of a recommender: fused, without profiles, shuffled; and what the tests say."""
    items = None if settings.get("fuse") == "none" else films.profiles
    made = recommend(films.ratings, items, at_least=4, core=5, seeds=seeds, **settings)
    for model, strata in made.about["models"].items():
        values = {title: strata[stratum][metric] for title, (stratum, metric) in metrics.items() if stratum in strata}
        if model == "none" and items is not None:
            continue
        show(name if model != "shuffled" else f"{name}, shuffled", values, made.about["seconds"][model])
    for row in made.paired.to_dict("records"):
        if (row["stratum"], row["metric"]) in metrics.values():
            said = f"{row['stratum']} {row['metric']} {row['mean']:+.4f}, t {row['t']:.1f}, p {row['p']:.2g}"
            print(f"    against {row['against']}: {said}", flush=True)


WARM = {"N@10": ("all", "ndcg@10"), "N@20": ("all", "ndcg@20"), "R@20": ("all", "recall@20"), "MRR": ("all", "mrr")}
WARM |= {"tail N@20": ("tail", "ndcg@20"), "coverage@20": ("all", "coverage@20")}
NEW = {"new N@10": ("cold", "ndcg@10"), "new R@20": ("cold", "recall@20"), "mixed": ("cold", "mixed_ndcg@20")}
NEW |= {"warm N@20": ("all", "warm_ndcg@20"), "all N@20": ("all", "ndcg@20")}


def part_random(films: Films, seeds: int) -> None:
    """Backbones in closed form, and l3."""
    print(f"| random split, {seeds} seeds | {' | '.join(WARM)} | CPU s |")
    proved(films, "popularity", seeds, WARM, backbone="popularity", fuse="none")
    proved(films, "ALS, 64 dimensions", seeds, WARM, backbone="als", fuse="none")
    proved(films, "EASE as published", seeds, WARM, fuse="none", balance=0.0)
    proved(films, "EASE", seeds, WARM, fuse="none")
    proved(films, "l3, vector + answers", seeds, WARM, fuse="l3", features=("vector", "answers"))


def part_graph(films: Films, seeds: int) -> None:
    """LightGCN."""
    print(f"| random split, {seeds} seeds | {' | '.join(WARM)} | CPU s |")
    proved(films, "LightGCN", seeds, WARM, backbone="lightgcn", fuse="none")


def part_fused(films: Films, seeds: int) -> None:
    """What is fused into LightGCN."""
    print(f"| random split, {seeds} seeds | {' | '.join(WARM)} | CPU s |")
    proved(films, "LightGCN + align", seeds, WARM, backbone="lightgcn", fuse="align", features=("vector",))
    proved(films, "LightGCN + concat", seeds, WARM, backbone="lightgcn", fuse="concat", features=("vector",))


def part_cold(films: Films, seeds: int) -> None:
    """New items: what of profiles, into which backbone."""
    print(f"| cold split, {seeds} seeds | {' | '.join(NEW)} | CPU s |")
    proved(films, "EASE + fill, vector", seeds, NEW, split="cold", features=("vector",))
    proved(films, "ALS + fill, vector", seeds, NEW, split="cold", backbone="als", features=("vector",))


def part_mixed(films: Films, seeds: int) -> None:
    """Lists of all items: new ones by the chance that they are liked, times `favour`; and by two other ways."""
    known, favours = films.all(), (1.0, 2.0, 3.0, 5.0)
    for kinds in (("vector",), ("vector", "answers")):
        items = item_features(films.profiles, kinds, known.items).matrix
        found: dict[str, list[tuple[float, ...]]] = {}
        for seed in range(seeds):
            split = split_of(known, "cold", seed)
            model, inner = trained(split.train, SETTINGS, seed, items), hidden_again(known, split.train, seed)
            ways: dict[str, Any] = {"known items alone": trained(split.train, SETTINGS, seed), "their own scores": model.factors}
            for scale in (1.5, 2.0, 3.0):
                ways[f"scores times {scale:g}"] = _scaled(model.factors, split, scale)
            second = trained(inner.train, SETTINGS, seed, items).factors
            for favour in favours:
                ways[f"by chance, favour {favour:g}"] = replace(model, placing=placing_of(inner, second, favour))
            strata = {"warm": ~split.cold, "cold": split.cold, "all": np.ones(len(known.items), bool)}
            for name, scores in ways.items():
                each = full_ranking(scores, split.train, split.test, relevant=strata)
                found.setdefault(name, []).append(tuple(each[one]["ndcg@20"] for one in strata))
        print(f"| lists of all items, {' + '.join(kinds)}, N@20 of | known items | new items | all |")
        for name, values in found.items():
            columns = zip(*values, strict=True)
            show(name, dict(zip(("warm", "cold", "all"), map(list, columns), strict=True)))


def _scaled(factors: Any, split: Split, scale: float) -> Callable[[np.ndarray], np.ndarray]:
    def scores(users: np.ndarray) -> np.ndarray:
        block: np.ndarray = factors(users)
        block[:, split.cold] *= scale
        return block

    return scores


def filled(known: Interactions, split: Split, items: FloatArray) -> float:
    """NDCG@10 of lists of new items, by EASE and fill."""
    factors = ease_factors(split.train, SETTINGS.ridge, SETTINGS.balance)
    made = Fill.of(factors, items, SETTINGS.fill_ridge).filled(factors, items)
    return full_ranking(made, split.train, split.test, candidates=split.cold, relevant={"cold": split.cold})["cold"]["ndcg@10"]


def part_films(films: Films, seeds: int) -> None:
    """The 512 films that are answered: what knows new ones best."""
    known = films.top()
    questions = [name for name in films.answers.columns if name != "id"]
    plain = [name for name in questions if not FAME.search(name)]
    vectors = item_features(films.profiles, ("vector",), known.items).matrix
    sides = {
        "genres": films.genres(known.items),
        "MiniLM": vectors,
        f"{len(questions)} answers": films.known(known.items, questions),
        f"{len(plain)} answers, no fame": films.known(known.items, plain),
        "MiniLM + answers": np.hstack([vectors, films.known(known.items, questions)]),
    }
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        split = split_of(known, "cold", seed)
        shuffled = sides[f"{len(questions)} answers"][np.random.RandomState(seed).permutation(len(known.items))]
        for name, items in {**sides, "answers, shuffled": shuffled}.items():
            found.setdefault(name, []).append(filled(known, split, items))
    print(f"| {len(known.items)} films, cold split, {seeds} seeds | new N@10 |")
    for name, values in found.items():
        show(name, {"N@10": values})
    test = paired_t(found[f"{len(questions)} answers"], found["MiniLM"])
    print(f"    answers against MiniLM: {test.mean:+.4f}, t {test.t:.1f}, p {test.p:.2g}, Wilcoxon p {test.wilcoxon_p:.2g}")


def part_mined(films: Films, seeds: int, first: int = 0) -> None:
    """Questions that `genz fit` finds among the recorded ones, from each seed's training pairs alone."""
    for seed, mined, every, texts, taken in _mined(films, seeds, first):
        print(f"| mined, seed {seed}: {len(texts)} questions | {mined:.4f} | all {every:.4f} | {taken:.0f} |", flush=True)


def _mined(films: Films, seeds: int, first: int) -> Iterator[tuple[int, float, float, list[str], float]]:
    known = films.top()
    table = films.frame[films.frame["movie"].isin(known.items)][["movie", "title", "year"]]
    questions = [name for name in films.answers.columns if name != "id"]
    for seed in range(first, first + seeds):
        split, began = split_of(known, "cold", seed), time.process_time()
        mining = mining_table(table, "movie", known, split, seed=seed)
        targets = [name for name in mining.columns if name.startswith(PREFIX)]
        items = Items.from_frame(mining, id="movie", target=targets, text=("title", "year"))
        how: dict[str, Any] = {"likelihood": "isotropic", "max_features": 40, "cycles": 20, "patience": 10, "test_fraction": 0.05}
        run = discover(items, model=f"table:{films.table}", seed=seed, progress=False, **how)
        texts = [one.text for one in run.progress.active]
        taken = time.process_time() - began
        mined, every = (filled(known, split, films.known(known.items, one)) for one in (texts, questions))
        yield seed, mined, every, texts, taken


PARTS: dict[str, tuple[Callable[..., None], int]] = {
    "random": (part_random, 5),
    "graph": (part_graph, 5),
    "fused": (part_fused, 5),
    "cold": (part_cold, 5),
    "mixed": (part_mixed, 3),
    "films": (part_films, 10),
    "mined": (part_mined, 10),
}


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds ml-1m")
    parser.add_argument("--work", type=Path, required=True, help="a folder that keeps the profiles")
    parser.add_argument("--part", choices=list(PARTS), help="one of them; all without")
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--first", type=int, default=0, help="the first seed, of mined")
    options = parser.parse_args()
    options.work.mkdir(exist_ok=True, parents=True)
    films = Films(options.data, options.work)
    for name, (part, seeds) in PARTS.items():
        if options.part in (None, name):
            more = (options.first,) if name == "mined" else ()
            part(films, options.seeds or seeds, *more)


if __name__ == "__main__":
    main()
