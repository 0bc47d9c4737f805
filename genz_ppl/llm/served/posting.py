"""A served model whose questions are asked by others: what is wanted is posted in the shared store, and its answers waited for.

`PostingModel` posts and waits, on the host of a run; `work` takes what is posted, on any host.
"""

from __future__ import annotations

import json
import random
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from typing import Any, ClassVar, cast

from genz_ppl.errors import BudgetError, GenzWarning, InputError, ModelError, OptionError
from genz_ppl.llm.served.budget import CapReachedError
from genz_ppl.llm.served.calling import GLANCE
from genz_ppl.llm.served.client import ChatClient
from genz_ppl.llm.served.extraction import HOPELESS
from genz_ppl.llm.served.keys import digest, item_hash, plain_fields
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.requests import Request
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.templates import Prompts
from genz_ppl.llm.served.wordings import Part
from genz_ppl.llm.store.postgres import postings
from genz_ppl.llm.store.postgres.store import PostgresStore
from genz_ppl.types import Contrast, FloatArray, Item, Tried

# Items of one posting: so much is left to do when all but one of the workers have ended.
PORTION = 2000
# Seconds between looks at what is posted, at most, and until it is said that nobody is at work.
LONGEST_GLANCE, LONELY = 1.0, 30.0
# Settings of a run that workers choose for themselves, or that hold by the database.
_OWN = "workers requests_per_minute tokens_per_minute cost_per_minute timeout attempts max_cost max_calls max_tokens base_url"


class PostingModel(OpenAIModel):
    """An `OpenAIModel` that makes no calls. Its prompts are the built-in ones and its items have no images to be shown.

    Raises ModelError where all workers have ended and the last said why, and BudgetError at a cap of the run.
    """

    posts: ClassVar[bool] = True

    def __init__(self, settings: ModelSettings, store: Any = None, **options: Any) -> None:
        if settings.prompts is not None:
            raise OptionError("--workers 0: workers on other hosts have no folder of prompts; leave --prompts out")
        super().__init__(settings, store, **options)
        self._shared = cast(PostgresStore, self.store)
        self._call: tuple[str, dict[str, Any]] = ("", {})

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """See `OpenAIModel.propose`."""
        self._call = "propose", {"contrast": _packed_contrast(contrast), "n": n}
        return super().propose(contrast, n)

    def propose_both(self, contrast: Contrast, n: int) -> tuple[list[str], list[str]]:
        """See `OpenAIModel.propose_both`."""
        self._call = "propose_both", {"contrast": _packed_contrast(contrast), "n": n}
        return super().propose_both(contrast, n)

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """See `OpenAIModel.suggest`."""
        self._call = "suggest", {"items": [_packed_item(item) for item in items], "task": task, "n": n}
        return super().suggest(items, task, n)

    def _text(self, key: bytes, render: Callable[[Part], Request], read: Callable[[str], str]) -> str:
        if (known := self.store.text(key)) is not None:
            return known
        self._await([self._posted(*self._call, wanted=1)])
        if (made := self.store.text(key)) is None:
            raise self._strange()
        return made

    def _asked(self, items: Sequence[Item], texts: Sequence[str], features: Sequence[str], described: bool) -> FloatArray:
        questions = [self._question(feature, draw, described) for feature in features for draw in range(self.settings.draws)]
        hashes = [item_hash(item, False) for item in items]
        values, known = self.store.lookup(questions, hashes)
        missing = {hashes[t]: items[t] for t in range(len(items)) if not known[t].all()}
        if missing:
            packed = {key: zlib.compress(json.dumps(_packed_item(item)).encode()) for key, item in missing.items()}
            postings.add_contents(self._shared, packed)
            self._await([*self._portions(list(missing), features)])
            before = int(known.sum())
            values, known = self.store.lookup(questions, hashes)
            if int(known.sum()) == before and known.size - before >= HOPELESS:
                raise self._strange()
        return values

    def _strange(self) -> ModelError:
        """What is done left nothing where it is looked for."""
        return ModelError(f"{self.settings.model}: workers answered to something else; give all hosts the same genz-ppl")

    def _portions(self, keys: Sequence[bytes], features: Sequence[str]) -> Iterator[int]:
        for start in range(0, len(keys), PORTION):
            portion = keys[start : start + PORTION]
            arguments = {"items": [key.hex() for key in portion], "features": list(features)}
            yield self._posted("answer", arguments, len(portion) * len(features) * self.settings.draws)

    def _posted(self, method: str, arguments: dict[str, Any], wanted: int) -> int:
        settings = {name: value for name, value in self.settings.to_dict().items() if name not in _OWN.split()}
        described = json.dumps({"settings": settings, "prompts": prompts_mark(self.prompts)})
        packed = zlib.compress(json.dumps(arguments).encode())
        where = self.settings.model, self._client.endpoint
        return postings.post(self._shared, self._run, *where, method, described, packed, wanted)

    def _await(self, ids: Sequence[int]) -> None:
        """Wait until all are done. On Ctrl-C and errors what is not done is taken back."""
        left, glance, lonely = set(ids), 0.25 * GLANCE, time.monotonic()
        try:
            while True:
                for identifier, failed in postings.ended(self._shared, list(left)).items():
                    left.discard(identifier)
                    if failed is not None:
                        raise _error(failed)
                if self.progress is not None:
                    self.progress(len(ids) - len(left), len(ids))
                if not left:
                    return
                alive, said = postings.workers_of(self._shared, self.settings.model, min(ids))
                if alive:
                    lonely = time.monotonic()
                elif said:
                    raise ModelError(f"all workers have ended; the last one said: {said}")
                elif time.monotonic() - lonely > LONELY:
                    lonely = float("inf")
                    command = f"genz work --store {self._shared.address} --model openai:{self.settings.model}"
                    warnings.warn(f"no worker is at work; start some, on any host: {command}", GenzWarning, stacklevel=2)
                time.sleep(glance)
                glance = min(LONGEST_GLANCE, 1.5 * glance)
        finally:
            if left:
                postings.finish(self._shared, list(left), json.dumps({"error": "withdrawn"}))

    def _texts(self, items: Sequence[Item]) -> list[str]:
        if self.settings.images != "none" and any(item.images for item in items):
            raise InputError("--workers 0: workers on other hosts do not see the items' images; add --images none")
        return super()._texts(items)


class Worker:
    """Asks what is posted in a store for one model, at one server.

    settings: how this host calls (base_url, workers, timeout, attempts); what decides answers comes with each posting, caps and
    limits from the run. Only postings for its own server are taken, so that its key goes nowhere else.
    report is told of each posting: its method, what it was about, and seconds.
    """

    def __init__(self, store: PostgresStore, settings: ModelSettings, report: Callable[[str], None]) -> None:
        self._store, self._settings, self._report = store, settings, report
        client = ChatClient(settings.base_url, settings.workers)
        self.endpoint = client.endpoint
        self._mark = prompts_mark(Prompts.load())
        self._strange: set[str] = set()
        store.model = settings.model
        _ = store.worker  # from now on this worker is seen
        self._model = lru_cache(maxsize=4)(self._opened)

    def run(self, idle: float | None = None) -> None:
        """Work until there was nothing to do for `idle` seconds; None: for ever.

        Raises ModelError where the server fails, so that this worker is of no use; its last words are kept in the store.
        """
        quiet = time.monotonic()
        while idle is None or time.monotonic() - quiet < idle:
            # Not all at the oldest: who works at the same posting meets the others at every claim.
            there = postings.open_postings(self._store, self._settings.model, self.endpoint)
            found = [each for each in there if self._takes(each)]
            if not found:
                # Little while a run is going on, which posts one thing after the other.
                time.sleep(random.uniform(0.5, 1.0) * min(LONGEST_GLANCE, GLANCE + 0.1 * (time.monotonic() - quiet)))
                continue
            self._work(random.choice(found))
            quiet = time.monotonic()

    def _takes(self, posting: postings.Posting) -> bool:
        mark = str(json.loads(posting.settings)["prompts"])
        if mark != self._mark and mark not in self._strange:
            self._strange.add(mark)
            self._report("what another version of genz-ppl has posted is left to others: its prompts are not those of this one")
        return mark == self._mark

    def _work(self, posting: postings.Posting) -> None:
        started = time.monotonic()
        try:
            about = self._call(posting, self._model(posting.run, posting.settings))
        except BudgetError as error:
            option = error.option if isinstance(error, CapReachedError) else ""
            postings.finish(self._store, [posting.id], json.dumps({"error": str(error), "option": option}))
            self._report(str(error))
        except Exception as error:
            postings.say(self._store, " ".join(str(error).split()))
            raise
        else:
            postings.finish(self._store, [posting.id])
            self._report(f"{posting.method}: {about} in {time.monotonic() - started:.1f} s")

    def _call(self, posting: postings.Posting, model: OpenAIModel) -> str:
        """Have the model answer into the store; what it was about."""
        arguments = json.loads(zlib.decompress(posting.arguments))
        if posting.method == "answer":
            keys = [bytes.fromhex(key) for key in arguments["items"]]
            packed = postings.contents(self._store, keys)
            items = [_item(json.loads(zlib.decompress(packed[key]))) for key in keys]
            model.answer(items, arguments["features"])
            return f"{len(items)} items, {len(arguments['features'])} questions"
        if posting.method == "suggest":
            items = [_item(packed) for packed in arguments["items"]]
            model.suggest(items, arguments["task"], arguments["n"])
            return f"{len(items)} items"
        contrast = _contrast(arguments["contrast"])
        propose = model.propose_both if posting.method == "propose_both" else model.propose
        propose(contrast, arguments["n"])
        return f"{len(contrast.positive) + len(contrast.negative)} items"

    def _opened(self, run: int, settings: str) -> OpenAIModel:
        own = {name: getattr(self._settings, name) for name in ("base_url", "workers", "timeout", "attempts")}
        posted = ModelSettings.from_dict({**json.loads(settings)["settings"], **own})
        return OpenAIModel(replace(posted, prompts=None), self._store, run=run)


def prompts_mark(prompts: Prompts) -> str:
    """A name for the wording of all prompts: replies to others are stored under other keys."""
    return digest(sorted((name, prompts.version(name)) for name in prompts.by_name)).hex()


def _error(failed: str) -> Exception:
    said = json.loads(failed)
    if "option" in said:
        return CapReachedError(said["error"], said["option"])
    return ModelError(said["error"])


def _packed_item(item: Item) -> list[Any]:
    return [item.id, item.text, plain_fields(item.fields)]


def _item(packed: Sequence[Any]) -> Item:
    return Item(packed[0], packed[1], packed[2])


def _packed_contrast(contrast: Contrast) -> dict[str, Any]:
    sides = {side: [_packed_item(item) for item in getattr(contrast, side)] for side in ("positive", "negative")}
    return {**asdict(replace(contrast, positive=(), negative=())), **sides}


def _contrast(packed: dict[str, Any]) -> Contrast:
    positive, negative = (tuple(_item(each) for each in packed[side]) for side in ("positive", "negative"))
    context, existing, moved = (tuple(packed[name]) for name in ("context", "existing", "moved"))
    tried = tuple(Tried(**each) for each in packed["tried"])
    return Contrast(positive, negative, context, existing, tried, packed["improved"], moved)
