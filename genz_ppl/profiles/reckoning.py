"""From a task to its plan: what the store knows is taken off, the rest priced."""

from __future__ import annotations

from pathlib import Path

from genz_ppl.llm.served.address import server_address
from genz_ppl.llm.served.prices import find_price
from genz_ppl.llm.store.places import open_answers
from genz_ppl.profiles import encoders
from genz_ppl.profiles.plan import Cost, ProfilePlan, cost_of_profiles, cost_of_vectors
from genz_ppl.profiles.task import Task
from genz_ppl.profiles.written import read_written


def plan_of(task: Task) -> ProfilePlan:
    """What a refresh would do. The store is read, if there is one; no call is made."""
    rows = [task.row_of(item) for item in task.items]
    new = sum(row is None for row in rows)
    changed = sum(row is not None and row.item_hash != said for row, said in zip(rows, task.hashes, strict=True))
    done = task.unembedded.union(task.unwritten)
    kept = sum(row is not None for row in rows) - sum(rows[at] is not None for at in done)
    gone = 0 if task.old is None else len(task.old) - (len(rows) - new)
    known, writing = _writing(task)
    return ProfilePlan(
        str(task.out),
        task.kind,
        len(rows),
        new,
        changed,
        kept,
        gone,
        len(task.unwritten),
        len(task.unwritten) + len(task.unembedded),
        task.model,
        task.prompt_version,
        task.encoder,
        0 if task.questions is None else task.questions.missing(task.given),
        _other_questions(task),
        _reasons(task),
        writing,
        _encoding(task, known),
    )


def _other_questions(task: Task) -> tuple[int, int]:
    """How many questions the file has and would have; zeros where they stay the same."""
    before = () if task.old is None else task.old.questions
    now = () if task.questions is None else task.questions.texts
    return (0, 0) if before == now else (len(before), len(now))


def _writing(task: Task) -> tuple[dict[int, str], Cost]:
    """The stored texts by place, and the cost of the others."""
    prompt = task.prompt
    if prompt is None:
        return {}, Cost()
    keys = {at: prompt.key(task.items[at]) for at in task.unwritten}
    stored = _stored(task, list(keys.values()))
    known = {at: read.profile for at, key in keys.items() if (read := read_written(stored.get(key, ""))) is not None}
    asked = {key: at for at, key in keys.items() if key not in stored}
    requests = [prompt.request(task.items[at]) for at in asked.values()]
    price = find_price(task.settings.model, task.settings.price, task.settings.base_url)
    return known, cost_of_profiles(requests, price, task.settings.batch)


def _encoding(task: Task, known: dict[int, str]) -> Cost:
    """The cost of vectors from a server. known: texts that are stored, but not in the file yet, by place."""
    if not encoders.is_served_encoder(task.encoder):
        return Cost()
    price = encoders.encoder_price(task.encoder, task.settings, alone=task.prompt is None)
    settings = encoders.encoder_settings(task.encoder, task.settings, alone=task.prompt is None)
    endpoint = str(server_address(settings.base_url))
    there = [text.profile for at in task.unembedded if (text := task.known_text(at)) is not None]
    texts = list(dict.fromkeys([*there, *known.values()]))
    stored = _stored(task, [encoders.vector_key(text, settings, endpoint) for text in texts])
    texts = [text for text in texts if encoders.vector_key(text, settings, endpoint) not in stored]
    return cost_of_vectors(texts, len(task.unwritten) - len(known), price)


def _stored(task: Task, keys: list[bytes]) -> dict[bytes, str]:
    if not keys or (isinstance(task.store, Path) and not task.store.exists()):
        return {}
    with open_answers(task.store) as store:
        return store.texts(keys)


def _reasons(task: Task) -> tuple[str, ...]:
    """Why all is made again."""
    if task.old is None or not len(task.old):
        return ()
    pairs = (
        ("model", task.old.model, task.model),
        ("prompt", task.old.prompt_version, task.prompt_version),
        ("encoder", task.old.encoder, task.encoder),
    )
    return tuple(f"another {name} ({before}, now {now})" for name, before, now in pairs if before != now)
