"""Profiles: how near their vectors bring what is alike, beside questions and chance; and how fast they are written.

    python benchmarks/profiles.py ../shared/data              # films and things, without a key
    python benchmarks/profiles.py --rate                      # 10 000 items at the tests' server, 50 ms a reply, 64 at a time
    python benchmarks/profiles.py --rate --latency 0.1 --workers 16

Films (MovieLens 1M): the share of a film's ten nearest by cosine that share a genre with it, and that of all other films, which
is what chance gives. Profiles are made from title and plot alone, by template: genres are not in them. Answers are those that
ml-1m/movie_answers.jsonl holds for 512 films, centred by question; "no genre questions" leaves out those that name a genre.

Things: Spearman's correlation, over all pairs of concepts, of the cosine of two vectors with their similarity to people (the
inner product of the 49 dimensions that people's choices gave). Profiles are made from word and definition alone. Questions: is it
in this category, for all that the concepts' table names for at least five of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from genz_ppl import Items
from genz_ppl.data.movielens import movielens_frame
from genz_ppl.data.things import things_items
from genz_ppl.profiles import Profiles, make_profiles
from genz_ppl.types import FloatArray, Item

NEAREST, LEAST_MEMBERS = 10, 5
GENRE_WORDS = re.compile(
    r"\b(action|adventur|animat|child|comed|crim|documentar|drama|fantas|noir|horror|music|myster|roman|science fiction|sci-fi|"
    r"thrill|war|western)",
    re.IGNORECASE,
)
CATEGORIES = ("categories", "category", "category_wordnet", "category_manual")


def unit(rows: FloatArray) -> FloatArray:
    """Rows of length 1; zeros stay."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    found: FloatArray = rows / np.where(lengths > 0, lengths, 1.0)
    return found


def centred(answers: FloatArray) -> FloatArray:
    """Answers as vectors: what is missing counts as the question's mean, which is taken off."""
    means = np.nanmean(answers, axis=0)
    return unit(np.where(np.isnan(answers), 0.0, answers - means))


def share_of_nearest(vectors: FloatArray, alike: np.ndarray) -> float:
    """The mean share of the ten nearest rows that are alike; (T, T) of whether two are."""
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    nearest = np.argsort(-cosines, axis=1, kind="stable")[:, :NEAREST]
    return float(np.take_along_axis(alike, nearest, axis=1).mean())


def share_by_chance(alike: np.ndarray) -> float:
    """The same of any ten other rows."""
    count = len(alike)
    return float((alike.sum() - np.trace(alike)) / (count * (count - 1)))


def genres_alike(frame: pd.DataFrame) -> np.ndarray:
    """(T, T): whether two films share a genre."""
    listed = [set(str(cell).split(", ")) if cell else set() for cell in frame["genres"]]
    names = sorted(set().union(*listed))
    has = np.array([[name in genres for name in names] for genres in listed], dtype=np.float64)
    return has @ has.T > 0


def profiles_of(items: Items, folder: Path, name: str) -> tuple[Profiles, float]:
    """Template profiles with the embedded encoder's vectors, and the seconds."""
    started = time.perf_counter()
    made = make_profiles(items, folder / f"{name}.parquet")
    return made, time.perf_counter() - started


def film_answers(file: Path, ids: list[str]) -> tuple[list[str], FloatArray]:
    """The recorded questions, and the answers about these films, (T, K)."""
    lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    yes = [{str(movie) for movie in line["yes"]} for line in lines]
    return [line["question"] for line in lines], np.array([[float(name in one) for one in yes] for name in ids])


def films(data: Path, folder: Path) -> None:
    """Prints the shares on 512 films and on all."""
    print("| films | vectors | share a genre | seconds |\n|---|---|---|---|")
    for count in (512, 10_000):
        frame = movielens_frame(data / "ml-1m", count, 32, 0.0, True)
        alike = genres_alike(frame)
        items = Items.from_frame(
            frame[["movie", "title", "plot"]].astype({"movie": str}), id="movie", text=("title", "plot"), require_target=False
        )
        made, seconds = profiles_of(items, folder, f"films{count}")
        rows = [("chance", share_by_chance(alike), 0.0)]
        rows.append(("profiles (title, plot)", share_of_nearest(made.vectors.astype(np.float64), alike), seconds))
        if count == 512:
            texts, answers = film_answers(data / "ml-1m" / "movie_answers.jsonl", list(made.ids))
            kept = [place for place, text in enumerate(texts) if not GENRE_WORDS.search(text)]
            rows.append((f"{len(texts)} questions", share_of_nearest(centred(answers), alike), 0.0))
            rows.append((f"{len(kept)}, no genre questions", share_of_nearest(centred(answers[:, kept]), alike), 0.0))
        for name, share, taken in rows:
            print(f"| {len(items)} | {name} | {share:.3f} | {taken:.0f} |", flush=True)


def category_answers(items: Items) -> FloatArray:
    """(T, K): is it in this category?, of any list, for those of at least `LEAST_MEMBERS` concepts."""
    listed = [
        {part.strip() for name in CATEGORIES for part in str(item.fields.get(name) or "").split(",") if part.strip()}
        for item in items
    ]
    names = sorted(set().union(*listed))
    answers = np.array([[float(name in one) for name in names] for one in listed])
    return answers[:, answers.sum(axis=0) >= LEAST_MEMBERS]


def things(data: Path, folder: Path) -> None:
    """Prints the correlations with human similarity."""
    known = things_items(data / "things")
    assert known.targets is not None
    pairs = np.triu_indices(len(known), 1)
    human = (known.targets @ known.targets.T)[pairs]
    rows = [{name: item.fields[name] for name in ("word", "definition")} | {"id": item.id} for item in known]
    items = Items.from_frame(pd.DataFrame(rows), id="id", text=("word", "definition"), require_target=False)
    made, seconds = profiles_of(items, folder, "things")
    answers = category_answers(known)
    shuffled = made.vectors[np.random.default_rng(0).permutation(len(made))]
    sides = {
        "profiles, shuffled": (unit(shuffled.astype(np.float64)), 0.0),
        "profiles (word, definition)": (made.vectors.astype(np.float64), seconds),
        f"{answers.shape[1]} questions (categories)": (centred(answers), 0.0),
    }
    print("| things | vectors | rank correlation | seconds |\n|---|---|---|---|")
    for name, (vectors, taken) in sides.items():
        found = spearmanr((vectors @ vectors.T)[pairs], human).statistic
        print(f"| {len(known)} | {name} | {found:.3f} | {taken:.0f} |", flush=True)


class Lengths:
    """An encoder that takes no time."""

    def encode(self, texts: list[str]) -> FloatArray:
        """(len(texts), 2)."""
        return np.array([[len(text), 1.0] for text in texts])


def rate(count: int, latency: float, workers: int, folder: Path) -> None:
    """Prints the share of the server's rate at which profiles are written, and what reruns ask."""
    from server_process import FaultServerProcess

    sys.path.insert(0, str(Path(__file__).resolve().parent))
    items = [Item(f"i{number}", f"story number {number} of rain and wind") for number in range(count)]
    arguments = ("--latency", str(latency), "--answerer", "profile_answers:profile_answerer")

    def seconds(given: list[Item], base_url: str) -> tuple[float, float]:
        started, processor = time.perf_counter(), time.process_time()
        settings = {"base_url": base_url, "workers": workers}
        made = make_profiles(
            given,
            folder / "rate.parquet",
            model="openai:m",
            encoder="profiles:Lengths",
            model_settings=settings,
            store=folder / "answers.sqlite",
        )
        assert made.missing == ()
        return time.perf_counter() - started, time.process_time() - processor

    changed = [Item("i7", "another story"), *(item for item in items if item.id != "i7")]
    with FaultServerProcess(*arguments) as server:
        print(f"{count} items, {latency * 1000:g} ms a reply, {workers} at a time: ideal {count * latency / workers:.2f} seconds")
        print(f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
        seconds(items[:workers], server.base_url)  # connections, imports
        sides: dict[str, list[Item] | None] = {"bare aiohttp": None, "all": items, "again": items, "one changed": changed}
        for name, given in sides.items():
            before = server.stats()["total"]
            if given is None:
                taken, processor = bare_seconds(items, server.base_url, workers)
            else:
                taken, processor = seconds(given, server.base_url)
            calls = server.stats()["total"] - before
            share = f", {calls * latency / workers / taken:.2f} of the rate" if calls > 1 else ""
            print(f"{name}: {taken:.2f} seconds, {processor:.2f} of a processor, {calls} calls{share}", flush=True)
    (folder / "rate.parquet").unlink()


def bare_seconds(items: list[Item], base_url: str, workers: int) -> tuple[float, float]:
    """The same requests over bare connections: nothing is checked or kept."""
    from calls import bare

    from genz_ppl.llm.served.settings import ModelSettings
    from genz_ppl.llm.served.templates import Prompts
    from genz_ppl.profiles.written import ProfilePrompt

    settings = ModelSettings(model="m", base_url=base_url)
    prompt = ProfilePrompt(settings, Prompts.load(), "item", base_url)
    bodies = [prompt.request(item).body("json_schema", settings) for item in items]
    started, processor = time.perf_counter(), time.process_time()
    asyncio.run(bare(base_url, bodies, asyncio.Semaphore(workers)))
    return time.perf_counter() - started, time.process_time() - processor


def main() -> None:
    """Runs what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", type=Path, help="the folder that holds ml-1m and things")
    parser.add_argument("--rate", action="store_true", help="the speed of writing, at a server of the tests")
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument("--workers", type=int, default=64)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.rate:
            rate(options.items, options.latency, options.workers, Path(folder))
        if options.data is not None:
            films(options.data, Path(folder))
            things(options.data, Path(folder))
    if not options.rate and options.data is None:
        parser.error("name the folder of the data, or --rate")


if __name__ == "__main__":
    main()
