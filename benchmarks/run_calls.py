"""What whole runs with a served model call and write, kind by kind, at the tests' server, next to what `genz plan` says.

    python benchmarks/run_calls.py ../shared/data [--seeds 1] [--set NAME VALUE ...]

The runs are those of live_films.py: 200 films, at most twelve questions, all other settings the defaults of openai:NAME. The
server's answers and wordings are those of live runs, ranked as a table ranks them on the films that a prompt shows; from the task
alone it suggests what the live model did, and before wordings it thinks in as many words. A token is four characters.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from answerers import Body, kind_of, numbered_lines
from fault_server import FaultServer
from replay import Replay, read_conversations, suggested_in
from setting_values import setting_value

KINDS = ("suggestions", "wordings", "answers, training", "answers, test")


class Films(Replay):
    """The live model as a server's answerer. It is told which films are for testing, to count calls by kind."""

    def __init__(self, items: Any, table: Any, test: Sequence[str], suggested: Sequence[str]) -> None:
        super().__init__(items, table)
        self.test, self.suggested = set(test), list(suggested)
        self.calls, self.written, self.shown = Counter[str](), Counter[str](), Counter[str]()

    def said(self, kind: str, body: Body, key: str) -> dict[str, Any]:
        """What the table says, and from the task alone what the live model did."""
        return super().said(kind, body, key) | ({"questions": self.suggested} if kind == "suggest" else {})

    def __call__(self, body: Body) -> str:
        content, kind = super().__call__(body), KINDS[kind_of(body) != "suggest"]
        if kind_of(body).startswith("extract"):
            first = next(iter(numbered_lines(body)[0].values()))
            kind = KINDS[2 + (self.items[first].id in self.test)]
        self.calls[kind] += 1
        self.written[kind] += -(-len(content) // 4)
        self.shown[kind] += sum(len(text) for message in body["messages"] for text in [message["content"]]) // 4
        return content


def main() -> None:
    """Run the seeds and print a table for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(os.environ.get("GENZ_DATA", "../shared/data"))
    parser.add_argument("directory", type=Path, nargs="?", default=default, help="holds ml-1m and live-films")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--set", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), help="another setting")
    arguments = parser.parse_args()
    if not (arguments.directory / "live-films").is_dir():
        print(f"skipped: no films in {arguments.directory}; name the folder that holds ml-1m and live-films, or set GENZ_DATA")
        return
    options = {"max_features": 12, **{name: setting_value(text) for name, text in arguments.set}}
    os.environ.setdefault("OPENAI_API_KEY", "none")
    print("| seed | kind | calls | tokens read | tokens written | the plan's calls: most, typical |\n|---|---|---|---|---|---|")
    for seed in range(arguments.seeds):
        report(arguments.directory, seed, options)


def report(folder: Path, seed: int, options: dict[str, Any]) -> None:
    """One run's lines."""
    from genz_ppl import discover
    from genz_ppl.data import open_source
    from genz_ppl.discovery.plan import plan
    from genz_ppl.discovery.run.service import make_settings
    from genz_ppl.llm.served.settings import ModelSettings
    from genz_ppl.llm.table import TableModel

    warnings.simplefilter("ignore")  # of an unknown price
    items = open_source(f"movielens:{folder / 'ml-1m'},items=200,dimensions=32,alpha=0")
    settings = make_settings("openai:m", {**options, "seed": seed})
    table = TableModel(folder / "live-films" / "answers.jsonl")
    suggested = suggested_in(read_conversations(folder / "live-films" / "conversations.jsonl"))
    test = [items.ids[int(t)] for t in items.split_indices(seed, settings.test_fraction).test]
    films = Films(items, table, test, suggested)
    with tempfile.TemporaryDirectory() as place, FaultServer(films, record=False) as server:
        served = ModelSettings(model="m", base_url=server.base_url, price=(3.0, 15.0))
        planned = plan(items, settings, served)
        run = discover(items, "openai:m", model_settings=served, store=Path(place) / "a.sqlite", seed=seed, **options)
    parts = {"wordings" if part.name == "proposals" else part.name: part for part in planned.parts}
    for kind in KINDS:
        part = parts[kind]
        print(f"| {seed} | {kind} | {films.calls[kind]} | {films.shown[kind]} | {films.written[kind]} "
              f"| {part.calls}, {part.typical.calls} |")  # fmt: skip
    last = run.curve.iloc[-1]
    print(
        f"| {seed} | all: {last['answers_asked']:.0f} answers, {run.features['active'].sum()} questions, "
        f"cosine {last['test_error']:.3f}, ${last['cost']:.3f} (plan: ${planned.dollars:.2f}, ${planned.typical.dollars:.2f}) "
        f"| {last['calls']:.0f} | {last['tokens_in']:.0f} | {last['tokens_out']:.0f} "
        f"| {planned.calls}, {planned.typical.calls} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
