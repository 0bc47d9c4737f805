"""Tables for the two-item model: votes at the United Nations, ratings of films, plants in states.

    python benchmarks/cooccurrence_data.py un-votes OUT       # writes OUT/rows.csv, columns.csv and pairs.parquet
    python benchmarks/cooccurrence_data.py movies OUT --rows 512
    python benchmarks/cooccurrence_data.py plants OUT --rows 4000

Each builder gives three tables: rows and columns with an `id` and what a model may read, and pairs with `id_row`, `id_column`
and `value`. Nothing that a model may read is computed from the values. What is odd about the files is said at each builder.
"""

from __future__ import annotations

import argparse
import json
import os
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from genz_ppl.data.movielens import read_movies

AGES = {1: "under 18", 18: "18-24", 25: "25-34", 35: "35-44", 45: "45-49", 50: "50-55", 56: "56 or older"}
OCCUPATIONS = (
    "other", "academic", "artist", "clerical or administrative", "college or graduate student", "customer service",
    "doctor or health care", "executive or managerial", "farmer", "homemaker", "school pupil", "lawyer", "programmer", "retired",
    "sales or marketing", "scientist", "self-employed", "technician or engineer", "craftsman", "unemployed", "writer",
)  # fmt: skip
# Which part of its country a region is in: common knowledge, as nothing else in the files describes a region.
PARTS = {
    "Northeast": "ct me ma nh ri vt nj ny pe-us",
    "Midwest": "il in mi oh wi ia ks mn mo ne nd sd",
    "South": "de dc fl ga md nc sc va wv al ky ms tn ar la ok tx",
    "West": "az co id mt nv nm ut wy ca or wa",
    "Alaska": "ak",
    "Hawaii": "hi",
    "Caribbean": "pr vi",
    "Atlantic Canada": "nb lb nf ns pe-ca",
    "Central Canada": "on qc",
    "Prairies": "ab mb sk",
    "Pacific Canada": "bc",
    "Northern Canada": "nt nu yt",
    "Greenland": "dengl",
    "Saint Pierre and Miquelon": "fraspm",
}
_BEFORE_PENNSYLVANIA = frozenset(
    re.findall(
        r"\w+",
        "al ak az ar ca co ct de dc fl ga hi id il in ia ks ky la me md ma mi mn ms mo mt ne nv nh nj nm ny nc nd oh ok or",
    )
)
_ADOPTED = re.compile(r"\s*:?\s*\w*\s*/\s*adopted\b.*|\s*:\s*res(?:ol?\w*)?(?:\s*/.*)?$", re.IGNORECASE)  # often cut short


class Cooccurrence(NamedTuple):
    """Tables of the row items, of the column items (both with `id`), and of the pairs (`id_row`, `id_column`, `value`)."""

    rows: pd.DataFrame
    columns: pd.DataFrame
    pairs: pd.DataFrame


def un_votes(folder: Path, n_rows: int | None = None, seed: int = 0, abstentions: float | None = None) -> Cooccurrence:
    """Roll calls of the General Assembly, 1946-2019, by countries: yes is 1, no is 0.

    n_rows: as many roll calls drawn with the seed, whatever their votes; None: all 6 202. abstentions: the value of one; None:
    they are left out, as a yes/no likelihood needs (13 % of the votes).

    Roll calls: text (short title and description), year, session, whether it is about an amendment or a paragraph (known to
    session 38 or so) and six issues. Countries: name, code, first and last year and the number of sessions with a vote of any
    kind. That tells who was a member when, which is public, not how they voted.

    Odd: `rcid` is a float in one file and an int in the other. Namibia's code "NA" has become a missing one; the Federal
    Republic of Germany until 1990, the Yemen Arab Republic and Zanzibar have none, so countries go by name. One roll call has
    no description and 573 have no short title. Descriptions are cut at some 245 characters until session 49, hold backslashes
    for quotes and in 30 cases the next cells of the original table (tabs and zeros); later some are what a speaker said.
    About a thousand say "resolution / adopted by the General Assembly": that is the outcome, so it is cut. `importantvote`
    comes from a report on the votes, so it is left out. 30 % of the texts are there more than once, most of them year after
    year, so a random new roll call often has a twin among the known ones. 91 % of the votes that are not abstentions are yes;
    22 % of the roll calls have one value only.
    """
    calls = pd.read_parquet(folder / "un_roll_calls.parquet").sort_values("rcid", ignore_index=True)
    votes = pd.read_parquet(folder / "un_votes.parquet")
    issues = pd.read_parquet(folder / "un_roll_call_issues.parquet")
    votes["rcid"] = votes["rcid"].astype(np.int64)
    calls["year"] = calls["date"].str[:4].astype(int)
    countries = _countries(votes.merge(calls[["rcid", "year", "session"]], on="rcid"))
    calls = _sample(calls, n_rows, seed)
    rows = pd.DataFrame({"id": calls["rcid"].astype(str), "text": _call_texts(calls), "year": calls["year"]})
    rows["session"] = calls["session"].astype(int)
    for column, name in (("amend", "amendment"), ("para", "paragraph")):
        rows[name] = calls[column].map({1.0: "yes", 0.0: "no"})
    for issue, group in issues.groupby("issue"):
        rows[str(issue).lower()] = np.where(calls["rcid"].isin(group["rcid"]), "yes", "no")
    values = {"yes": 1.0, "no": 0.0} | ({} if abstentions is None else {"abstain": abstentions})
    kept = votes[votes["rcid"].isin(calls["rcid"]) & votes["vote"].isin(list(values))]
    value = kept["vote"].map(values).astype(float)
    pairs = pd.DataFrame({"id_row": kept["rcid"].astype(str), "id_column": kept["country"], "value": value})
    return Cooccurrence(rows.reset_index(drop=True), countries, pairs.reset_index(drop=True))


def movies(folder: Path, n_rows: int | None = 512, n_columns: int | None = None, seed: int = 0) -> Cooccurrence:
    """Films of MovieLens 1M by viewers: the value is the rating, 1 to 5.

    n_rows: the films taken, most ratings first, equals by number; None: all. n_columns: as many viewers drawn with the seed.
    Films: title, year, genres. Viewers: gender, age, occupation, the first digit of the zip code (0: New England … 9: Pacific).

    Odd: movies.dat is Latin-1, movies_extrainfos.dat UTF-8; 177 of 3 883 films have no rating; titles keep the word order
    "Matrix, The". Ages are the lowest of a band ("1": under 18). 81 zip codes have nine or other numbers of digits.
    """
    ratings = pd.read_parquet(folder / "ratings.parquet").astype(np.int64)
    known = read_movies(folder / "movies.dat")
    counts = ratings["movie"].value_counts().sort_index()
    chosen = counts.sort_values(ascending=False, kind="stable").index[:n_rows].tolist()
    rows = pd.DataFrame({"id": [str(movie) for movie in chosen]})
    for name in ("title", "year", "genres"):
        rows[name] = [getattr(known[movie], name) for movie in chosen]
    lines = (folder / "users.dat").read_text(encoding="latin-1").splitlines()
    cells = pd.DataFrame([line.split("::") for line in lines], columns=["id", "gender", "age", "occupation", "zip"])
    cells = _sample(cells, n_columns, seed)
    columns = pd.DataFrame({"id": cells["id"], "gender": cells["gender"].map({"F": "female", "M": "male"})})
    columns["age"] = cells["age"].astype(int).map(AGES)
    columns["occupation"] = [OCCUPATIONS[int(code)] for code in cells["occupation"]]
    columns["zip area"] = cells["zip"].str[0]
    kept = ratings[ratings["movie"].isin(chosen) & ratings["user"].astype(str).isin(columns["id"])]
    value = kept["rating"].astype(float)
    pairs = pd.DataFrame({"id_row": kept["movie"].astype(str), "id_column": kept["user"].astype(str), "value": value})
    return Cooccurrence(rows, columns.reset_index(drop=True), pairs.reset_index(drop=True))


def movie_answers(folder: Path, ids: Sequence[str]) -> pd.DataFrame:
    """The recorded answers to 114 questions about the 512 most rated films: one 0/1 column each, NaN for other films."""
    lines = (folder / "movie_answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {entry["question"]: set(map(str, entry["yes"])) for entry in map(json.loads, lines)}
    asked = set(pd.read_csv(folder / "movies_top512.csv")["ml_id"].astype(str))
    found = {question: [float(movie in yes) if movie in asked else np.nan for movie in ids] for question, yes in answers.items()}
    return pd.DataFrame(found)


def plants(folder: Path, n_rows: int | None = 4000, seed: int = 0, species_only: bool = True) -> Cooccurrence:
    """Plants by the states and provinces of the USA and Canada (and Greenland, St Pierre): 1 where it grows, else 0.

    n_rows: as many plants drawn with the seed; None: all. species_only: without genera, subspecies and varieties, whose rows
    are unions and parts of the species' rows and would tell a new plant's regions. The matrix is complete: 69 regions each.

    Plants: the Latin name, its genus and epithet, whether it is a hybrid ("×"). Regions: name, country, part of the country.

    Odd: plants.data is Latin-1 (1 060 names with "×"), has no header and a different number of cells in each line.
    stateabbr.txt has lost a letter ("Qu\ufffdbec"), and gives "ab" to Alabama and "al" to Alberta, where the data have it the
    other way round. It lacks "gl", which 561 plants have, none of them "dengl": both count as Greenland. "pa" is in 181 plants
    only: all others have "pe" for Pennsylvania and for Prince Edward Island, 1 619 of them twice. Regions come in the order of
    the country and then the name, so the neighbours of a single "pe" tell which it is, but for 61 plants, where it counts as
    Pennsylvania.
    """
    lines = (folder / "plants.data").read_text(encoding="latin-1").splitlines()
    cells = [line.split(",") for line in lines if line.strip()]
    table = pd.DataFrame({"name": [line[0] for line in cells], "regions": [settle_regions(line[1:]) for line in cells]})
    if species_only:
        words = table["name"].str.replace("×", "", regex=False).str.split().map(lambda parts: [p for p in parts if p != "x"])
        table = table[words.map(len) == 2]
    table = _sample(table.reset_index(drop=True), n_rows, seed)
    columns = _regions(folder / "stateabbr.txt")
    codes = columns["id"].tolist()
    plain = table["name"].str.replace("×", "", regex=False).str.replace(" x ", " ", regex=False)
    rows = pd.DataFrame(
        {"id": table["name"], "genus": plain.str.split().str[0], "epithet": plain.str.split().str[1:].str.join(" ")}
    )
    rows["hybrid"] = np.where(table["name"].str.contains("×| x ", regex=True), "yes", "no")
    grows = np.array([[code in regions for code in codes] for regions in table["regions"]], dtype=np.float64)
    pairs = pd.DataFrame(
        {"id_row": np.repeat(rows["id"], len(codes)), "id_column": np.tile(codes, len(rows)), "value": grows.ravel()}
    )
    return Cooccurrence(rows.reset_index(drop=True), columns, pairs.reset_index(drop=True))


def settle_regions(written: Sequence[str]) -> frozenset[str]:
    """The regions of a line of plants.data: one code for Greenland, "pe-us" for Pennsylvania, "pe-ca" for the island."""
    found = {{"gl": "dengl", "pa": "pe-us"}.get(code, code) for code in written if code != "pe"}
    places = [place for place, code in enumerate(written) if code == "pe"]
    if len(places) > 1:
        return frozenset(found | {"pe-us", "pe-ca"})
    for place in places:
        is_island = place > 0 and written[place - 1] not in _BEFORE_PENNSYLVANIA
        found.add("pe-ca" if is_island else "pe-us")
    return frozenset(found)


def _regions(file: Path) -> pd.DataFrame:
    names = dict(line.split(maxsplit=1) for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    names |= {"al": "Alabama", "ab": "Alberta", "pe-us": "Pennsylvania", "pe-ca": "Prince Edward Island", "qc": "Quebec"}
    names |= {"dengl": "Greenland", "fraspm": "Saint Pierre and Miquelon"}
    entries = []
    for part, codes in PARTS.items():
        own = {"Greenland": "Denmark", "Saint Pierre and Miquelon": "France"}.get(part)
        country = own or ("Canada" if "Canada" in part or part == "Prairies" else "United States")
        entries += [(code, names[code].strip(), country, part) for code in codes.split()]
    return pd.DataFrame(entries, columns=["id", "name", "country", "part"])


def _countries(votes: pd.DataFrame) -> pd.DataFrame:
    groups = votes.groupby("country")
    found = pd.DataFrame({"code": groups["country_code"].first(), "first year": groups["year"].min()})
    found["last year"], found["sessions"] = groups["year"].max(), groups["session"].nunique()
    found.loc["Namibia", "code"] = "NA"
    return found.rename_axis("id").reset_index().assign(name=lambda table: table["id"])


def _call_texts(calls: pd.DataFrame) -> list[str]:
    texts = []
    for short, long in zip(calls["short"].fillna(""), calls["descr"].fillna(""), strict=True):
        clean = [
            " ".join(_ADOPTED.sub("", part.split("\t")[0]).replace("\\", " ").replace('"', " ").split()) for part in (short, long)
        ]
        texts.append(". ".join(dict.fromkeys(part for part in clean if part)) or "no description")
    return texts


def _sample(table: pd.DataFrame, size: int | None, seed: int) -> pd.DataFrame:
    if size is None or size >= len(table):
        return table
    return table.iloc[np.sort(np.random.RandomState(seed).permutation(len(table))[:size])]


BUILDERS: dict[str, tuple[Callable[..., Cooccurrence], str]] = {
    "un-votes": (un_votes, "un-votes"),
    "movies": (movies, "ml-1m"),
    "plants": (plants, "plants"),
}
BINARY = ("un-votes", "plants")


def build(name: str, data: Path, n_rows: int | None = None, n_columns: int | None = None, seed: int = 0) -> Cooccurrence:
    """The tables of one of BUILDERS; n_rows: None for its usual number; n_columns: for films, as many viewers."""
    builder, folder = BUILDERS[name]
    sizes = {} if n_rows is None else {"n_rows": n_rows}
    if n_columns is not None and name == "movies":
        sizes["n_columns"] = n_columns
    return builder(data / folder, seed=seed, **sizes)


def main() -> None:
    """Write the three tables of a data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=BUILDERS, nargs="?")
    parser.add_argument("out", type=Path, nargs="?")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("GENZ_DATA", "../shared/data")))
    parser.add_argument("--rows", type=int, help="not the usual number of row items")
    parser.add_argument("--columns", type=int, help="films: as many viewers, not all")
    arguments = parser.parse_args()
    if arguments.name is None or arguments.out is None:
        print("nothing to do: name a data set and the folder to write to")
        return
    if not arguments.data.is_dir():
        print(f"skipped: no data in {arguments.data}; name its folder with --data, or set GENZ_DATA to it")
        return
    found = build(arguments.name, arguments.data, arguments.rows, arguments.columns)
    arguments.out.mkdir(parents=True, exist_ok=True)
    found.rows.to_csv(arguments.out / "rows.csv", index=False)
    found.columns.to_csv(arguments.out / "columns.csv", index=False)
    found.pairs.to_parquet(arguments.out / "pairs.parquet", index=False)
    print(
        f"{len(found.rows)} rows, {len(found.columns)} columns, {len(found.pairs)} pairs, mean {found.pairs['value'].mean():.4f}"
    )


if __name__ == "__main__":
    main()
