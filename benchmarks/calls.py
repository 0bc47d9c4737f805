"""What the layer over the client costs: calls per second, time of a processor and memory, next to the plain client.

    python benchmarks/calls.py                        # 10 000 calls of one question, 64 at a time, at a server that takes 50 ms
    python benchmarks/calls.py --calls 1000 --workers 16

The server runs in a process of its own and so does each side, one after the other. Ideal is calls x latency / workers. The
plain client is `openai.AsyncOpenAI` with its defaults in one `asyncio.gather`, 64 calls at a time: it keeps no answers, caps
nothing and checks nothing. Bare connections are aiohttp's, which send the same bytes and look at nothing: no client in
Python is much faster on the machine at hand. The last line asks a full store for 512 items by 50 features, which makes no
call. The store lies in the folder of temporary files (TMPDIR), so its disk counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

from server_process import FaultServerProcess

QUESTION = "Is it made of granite?"


@dataclass(frozen=True)
class Outcome:
    """One side: seconds, seconds of a processor, peak memory in MB before and after, answers, and calls the server saw."""

    seconds: float
    processor: float
    megabytes_before: float
    megabytes: float
    answers: int
    calls: int = 0


def texts(n_items: int) -> list[str]:
    """Short texts, each its own."""
    return [f"House number {number}, built of brick, with a garden and a view of the sea." for number in range(n_items)]


def peak() -> float:
    """The most memory this process has held so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)


def ours(base_url: str, folder: str, n_items: int, n_features: int, workers: int, per_call: int, queue: Any) -> None:
    """`OpenAIModel`: store, journal, caps, deadlines and checks included."""
    from genz_ppl.llm.served.model import OpenAIModel
    from genz_ppl.llm.served.settings import ModelSettings
    from genz_ppl.types import Item

    settings = ModelSettings(
        model="m",
        base_url=base_url,
        workers=workers,
        items_per_call=per_call,
        features_per_call=per_call,
        max_cost=1e6,
        price=(1, 2),
    )
    items = [Item(str(number), text) for number, text in enumerate(texts(n_items))]
    features = [QUESTION, *(f"Is it house number {number}?" for number in range(1, n_features))]
    model = OpenAIModel(settings, Path(folder) / "answers.sqlite")
    before, started, processor = peak(), time.perf_counter(), time.process_time()
    answers = model.answer(items, features)
    seconds, processor = time.perf_counter() - started, time.process_time() - processor
    model.close()
    queue.put(Outcome(seconds, processor, before, peak(), int((answers == answers).sum())))


def bodies(n_items: int) -> list[dict[str, Any]]:
    """The requests that `ours` makes."""
    from genz_ppl.llm.served.templates import Prompts

    prompts = Prompts.load()
    found = []
    for text in texts(n_items):
        rendered = prompts.extract([text], [QUESTION])
        schema = {"name": rendered.schema_name, "strict": True, "schema": rendered.schema}
        messages = [{"role": "system", "content": rendered.system}, {"role": "user", "content": rendered.user}]
        response_format = {"type": "json_schema", "json_schema": schema}
        found.append({"model": "m", "messages": messages, "max_completion_tokens": 1000, "response_format": response_format})
    return found


async def plain(base_url: str, requests: list[Any], room: asyncio.Semaphore) -> int:
    """The client alone."""
    import openai

    async def one(body: Any) -> int:
        async with room:
            reply = await client.chat.completions.create(**body)
        return int(json.loads(reply.choices[0].message.content or "")["1"])

    async with openai.AsyncOpenAI(api_key="none", base_url=base_url) as client:
        return len(await asyncio.gather(*map(one, requests)))


async def bare(base_url: str, requests: list[Any], room: asyncio.Semaphore) -> int:
    """The connections alone."""
    import aiohttp

    async def one(body: Any) -> int:
        data = json.dumps(body).encode()
        async with room, session.post(f"{base_url}/chat/completions", data=data) as reply:
            return len(await reply.read())

    async with aiohttp.ClientSession() as session:
        return len(await asyncio.gather(*map(one, requests)))


def others(side: Any, base_url: str, n_items: int, workers: int, queue: Any) -> None:
    """`plain` or `bare`, measured."""
    requests = bodies(n_items)
    before, started, processor = peak(), time.perf_counter(), time.process_time()
    answered = asyncio.run(side(base_url, requests, asyncio.Semaphore(workers)))
    queue.put(Outcome(time.perf_counter() - started, time.process_time() - processor, before, peak(), answered))


def measure(server: FaultServerProcess, run: Any, *arguments: Any) -> Outcome:
    """A function in a process of its own."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    before = server.stats()["total"]
    process = context.Process(target=run, args=(*arguments, queue))
    process.start()
    outcome: Outcome = queue.get(timeout=1200)
    process.join()
    return Outcome(**{**vars(outcome), "calls": server.stats()["total"] - before})


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10_000)
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--latency", type=float, default=0.05, help="seconds")
    parser.add_argument("--items", type=int, default=512, help="of the full store")
    parser.add_argument("--features", type=int, default=50, help="of the full store")
    arguments = parser.parse_args()
    os.environ.setdefault("OPENAI_API_KEY", "none")
    ideal = arguments.calls * arguments.latency / arguments.workers
    load = os.getloadavg()[0]
    print(f"{arguments.calls} calls, {arguments.workers} at a time, {1000 * arguments.latency:g} ms each: ideal {ideal:.2f} s")
    print(f"{os.cpu_count()} processors, of which {load:.1f} were busy at the start")
    print("| side | calls | answers | seconds | of the ideal | ms of a processor a call | memory, MB | of which for the calls |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, FaultServerProcess("--latency", str(arguments.latency)) as server:
        url, calls, workers = server.base_url, arguments.calls, arguments.workers
        for name, found in (
            ("genz-ppl", measure(server, ours, url, folder, calls, 1, workers, 1)),
            ("plain client", measure(server, others, plain, url, calls, workers)),
            ("bare connections", measure(server, others, bare, url, calls, workers)),
        ):
            print(
                f"| {name} | {found.calls} | {found.answers} | {found.seconds:.2f} | {ideal / found.seconds:.3f} "
                f"| {1000 * found.processor / arguments.calls:.3f} | {found.megabytes:.0f} "
                f"| {found.megabytes - found.megabytes_before:.0f} |",
                flush=True,
            )
    print()
    print("| full store | calls | answers | seconds |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder, FaultServerProcess() as server:
        for time_of_asking in ("first", "again"):
            found = measure(server, ours, server.base_url, folder, arguments.items, arguments.features, arguments.workers, 10)
            print(f"| {time_of_asking} | {found.calls} | {found.answers} | {found.seconds:.2f} |", flush=True)


if __name__ == "__main__":
    main()
