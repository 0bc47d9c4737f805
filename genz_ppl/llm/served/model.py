"""`openai:NAME`: a foundation model behind any OpenAI-compatible server, every answer of which is paid for once."""

from __future__ import annotations

import asyncio
import json
import warnings
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import numpy as np

from genz_ppl.errors import GenzWarning, OptionError
from genz_ppl.llm.served.batching import Batching, in_batches
from genz_ppl.llm.served.budget import Caps, Limits, check_priced
from genz_ppl.llm.served.calling import Caller, StoppingError
from genz_ppl.llm.served.client import ChatClient
from genz_ppl.llm.served.draws import draw_error, majority, majority_error
from genz_ppl.llm.served.extraction import Extraction, Progress
from genz_ppl.llm.served.keys import canonical, data_address, digest, image_hash, item_hash
from genz_ppl.llm.served.loop_thread import LoopThread
from genz_ppl.llm.served.prices import find_price
from genz_ppl.llm.served.replies import own_words, parse_both, parse_wordings
from genz_ppl.llm.served.requests import WORDS_OUT, Request, described, is_short, most_items, most_out, words_out
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.shared_budget import open_budget
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.served.templates import Prompts, Rendered, cut_text
from genz_ppl.llm.served.wordings import Part, some, stored_text
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.places import is_shared, open_answers
from genz_ppl.llm.store.rows import Question
from genz_ppl.llm.store.store import AnswerStore
from genz_ppl.types import Contrast, FloatArray, Item

Result = TypeVar("Result")
# Stands for an image that the model will not describe.
NO_DESCRIPTION = "(no description)"


class OpenAIModel:
    """Answers, proposes and suggests by calls to a server; what was ever answered comes from the store.

    settings: how it is called. store: a store or the place of one (None: the user's cache folder). run: the run's id,
    under which its spending is booked, so that caps hold across a stop and a resume, or the number of a run that another process
    has opened in this store, and whose caps hold; fresh: a new run; folder: where the spending
    of a run older than ids may be booked.
    spent: what the run has used besides, by a record older than the store's.
    Raises OptionError for a missing key, a cap on cost without a price, or prompts that are not usable: before any call.
    """

    #: Whether questions are posted for other processes to ask.
    posts: ClassVar[bool] = False

    def __init__(
        self,
        settings: ModelSettings,
        store: Store | str | Path | None = None,
        *,
        run: str | int | None = None,
        fresh: bool = True,
        folder: str | Path | None = None,
        spent: Spending | None = None,
    ) -> None:
        self.settings = settings
        _check_shared(settings, store, self.posts)
        self.prompts = Prompts.load(settings.prompts)
        prices = {name: find_price(name, settings.price, settings.base_url) for name in {settings.model, settings.miner}}
        caps = Caps(settings.max_cost, settings.max_calls, settings.max_tokens)
        unknown = next((name for name, price in prices.items() if price is None), None)
        self.priced = unknown is None
        price = None if unknown is not None else prices[settings.model]
        self._client = ChatClient(settings.base_url, settings.workers)
        check_priced(caps, price, unknown or settings.model)
        self.store = open_answers(store) if store is None or isinstance(store, str | Path) else store
        self._run = run if isinstance(run, int) else self.store.open_run(run, fresh, folder)
        limits = Limits(settings.requests_per_minute, settings.tokens_per_minute, settings.cost_per_minute)
        given = None if isinstance(run, int) else (caps, limits, spent or Spending())
        budget = open_budget(self.store, self._run, price, unknown or settings.model, given)
        self.caller = Caller(self._client, self.store, self._run, settings, budget, prices)
        self.failures: Counter[str] = Counter()
        self.progress: Progress | None = None
        self._n_said = 0
        self._thread = LoopThread()
        self._finalizer = weakref.finalize(self, self._thread.close, self._client.close)

    @property
    def spent(self) -> Spending:
        """What the run has used so far, before it was resumed included."""
        return self.caller.budget.spent

    @spent.setter
    def spent(self, spent: Spending) -> None:
        """Go on from what another model of the run has left."""
        self.caller.budget.spent = spent

    def close(self) -> None:
        """Close the connections. The model cannot be used after that."""
        self._finalizer()

    def answer(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """(len(items), len(features)) of 1., 0. and NaN; see `FoundationModel.answer`.

        With several draws the majority counts, and NaN where they are even. Raises ModelError, BudgetError and StoreError;
        what was answered until then is in the store.
        """
        settings = self.settings
        texts = self._texts(items)
        columns = {feature: column for column, feature in enumerate(dict.fromkeys(features))}
        if not items or not columns:
            return np.full((len(items), len(features)), np.nan)
        hashes = [item_hash(item, settings.images != "none") for item in items]
        unique = list(dict.fromkeys(hashes))
        first = {content: position for position, content in reversed(list(enumerate(hashes)))}
        rows = {content: row for row, content in enumerate(unique)}
        drawn = np.empty((len(unique), len(columns), settings.draws))
        kinds = np.array([self._is_described(items[first[content]]) for content in unique])
        for kind in (False, True):
            if (of_kind := np.flatnonzero(kinds == kind)).size:
                shown = [first[unique[row]] for row in of_kind]
                asked = self._asked([items[t] for t in shown], [texts[t] for t in shown], list(columns), kind)
                drawn[of_kind] = asked.reshape(len(shown), len(columns), settings.draws)
        return majority(drawn)[np.ix_([rows[content] for content in hashes], [columns[feature] for feature in features])]

    def _asked(self, items: Sequence[Item], texts: Sequence[str], features: Sequence[str], described: bool) -> FloatArray:
        """(items, features by draws) of answers about items of one kind, none of them twice. texts: what is shown of them."""
        questions = [self._question(feature, draw, described) for feature in features for draw in range(self.settings.draws)]
        hashes = [item_hash(item, self.settings.images != "none") for item in items]
        short, said = all(is_short(item, self.settings) for item in items), self.prompts.describes(described)

        def render(asked: Sequence[int], about: Sequence[int]) -> Request:
            rendered = self.prompts.extract([texts[t] for t in asked], [questions[k].feature for k in about], described)
            out = most_out(len(asked), len(about), said)
            return self._request("extract", rendered, out, self._pictures([items[t] for t in asked]))

        def size(n_features: int) -> int:
            return most_items(self.settings, n_features, short, said)

        async def extract() -> FloatArray:
            extraction = Extraction(self.caller, hashes, questions, render, size, self.failures, self.progress)
            if self.settings.batch:
                await in_batches(extraction, Batching(self.caller))
            return await extraction.run()

        return self.wait(extract())

    def _is_described(self, item: Item) -> bool:
        """Whether a reply describes the item before it is judged."""
        return described(item, self.settings)

    def propose(self, contrast: Contrast, n: int) -> list[str]:
        """Up to n wordings of what the positive items share and the negative ones lack (Fig. 2 of the paper)."""
        found: list[str] = self._mined("mine", contrast, n, lambda reply: parse_wordings(reply, n))
        return found

    def propose_both(self, contrast: Contrast, n: int) -> tuple[list[str], list[str]]:
        """The same of a contrast and of its reverse, in one call; by a user's own prompt `mine` in two."""
        if not self.prompts.asks_both:
            return self.propose(contrast, n), self.propose(contrast.reversed(), n)
        positive, negative = self._mined("mine_both", contrast, n, lambda reply: parse_both(reply, n))
        return positive, negative

    def _mined(self, name: str, contrast: Contrast, n: int, read: Callable[[str], Any]) -> Any:
        """What `read` finds in the reply to a prompt for wordings."""
        positive, negative = self._texts(contrast.positive), self._texts(contrast.negative)
        both = name == "mine_both"

        def render(part: Part) -> Request:
            shown = some(positive, part), some(negative, part)
            items = [*some(contrast.positive, part), *some(contrast.negative, part)]
            moved = [number for number, item in enumerate(items, start=1) if item.id in contrast.moved]
            known = contrast.context, contrast.existing
            rendered = self.prompts.mine(*shown, *known, n, contrast.tried, contrast.improved, moved, both)
            return self._request("mine", rendered, words_out(2 * n if both else n), self._pictures(items))

        groups: list[object] = [positive, negative, list(contrast.context), list(contrast.existing)]
        if self.prompts.shows_tried(name) and (contrast.tried or contrast.improved):
            sides = [*contrast.positive, *contrast.negative]
            moved = [place for place, item in enumerate(sides) if item.id in contrast.moved]
            groups += [[list(astuple(one)) for one in contrast.tried], contrast.improved, moved]
        asked = [groups, n, *self._picture_hashes([*contrast.positive, *contrast.negative])]
        return self._worded(name, asked, render, read)

    def suggest(self, items: Sequence[Item], task: str, n: int) -> list[str]:
        """Up to n questions from a description of the task and some items, none of whose targets is shown."""
        texts = self._texts(items)

        def render(part: Part) -> Request:
            rendered, pictures = self.prompts.suggest(some(texts, part), task, n), self._pictures(some(items, part))
            return self._request("suggest", rendered, words_out(n), pictures)

        asked = [texts, task, n, *self._picture_hashes(items)]
        found: list[str] = self._worded("suggest", asked, render, lambda reply: parse_wordings(reply, n))
        return found

    def error_rates(self, items: Sequence[Item], features: Sequence[str]) -> FloatArray:
        """(len(features),) how often an answer is wrong, as far as repeated draws contradict each other; no call is made.

        From the draws of these items in the store; NaN where none was repeated.
        """
        draws = self.settings.draws
        if draws == 1 or not items:
            return np.full(len(features), np.nan)
        hashes = [item_hash(item, self.settings.images != "none") for item in items]
        kinds = np.array([self._is_described(item) for item in items])
        drawn = np.empty((len(items), len(features), draws))
        for kind in (False, True):
            questions = [self._question(feature, draw, kind) for feature in features for draw in range(draws)]
            known = self.store.lookup(questions, hashes)[0].reshape(drawn.shape)
            drawn[kinds == kind] = known[kinds == kind]
        return majority_error(draw_error(drawn), draws)

    # ---- parts

    def _request(self, kind: str, rendered: Rendered, out: int, pictures: tuple[tuple[str, str], ...]) -> Request:
        settings = self.settings
        model = settings.model if kind == "extract" else settings.miner
        return Request(kind, model, rendered, settings.max_output_tokens or out, pictures)

    def _question(self, feature: str, draw: int, described: bool = False) -> Question:
        settings = self.settings
        sampling: dict[str, Any] = {"temperature": settings.temperature, "text_limit": settings.text_limit}
        sampling |= {"images": settings.images, "log_probabilities": settings.log_probabilities}
        if settings.images == "describe":
            sampling |= {"describer": settings.miner, "describe": self.prompts.version("describe")}
        if settings.body:
            sampling |= {"body": settings.body}
        return Question(
            feature,
            settings.model,
            self._client.endpoint,
            self.prompts.version("extract" if described else "extract_short"),
            canonical(sampling),
            draw,
        )

    def _worded(self, name: str, asked: object, render: Callable[[Part], Request], read: Callable[[str], Any]) -> Any:
        """What `read` finds in the reply to a prompt, stored as JSON."""
        key = digest([name, self._sampling(name), asked])
        return json.loads(self._text(key, render, lambda reply: json.dumps(read(reply))))

    def _text(self, key: bytes, render: Callable[[Part], Request], read: Callable[[str], str]) -> str:
        """The stored text of a key, or that of a call."""
        return self.wait(stored_text(self.caller, key, render, read))

    def _sampling(self, name: str) -> list[object]:
        """What decides the miner's words besides what it is shown."""
        settings = self.settings
        own = [settings.body] if settings.body else []
        return [settings.miner, self._client.endpoint, self.prompts.version(name), settings.temperature, *own]

    def _texts(self, items: Sequence[Item]) -> list[str]:
        """What is shown of each item: its text, cut if need be, and the descriptions of its images."""
        texts = [cut_text(item.text, self.settings.text_limit) for item in items]
        if self.settings.images == "describe" and any(item.images for item in items):
            paths = {image_hash(path): path for item in items for path in item.images}
            described = dict(zip(paths, self.wait(self._described(list(paths.items()))), strict=True))
            for position, item in enumerate(items):
                parts = [f"Image {number}: {described[image_hash(path)]}" for number, path in enumerate(item.images, start=1)]
                texts[position] = "\n".join([texts[position], *parts])
        return texts

    async def _described(self, images: Sequence[tuple[bytes, Path]]) -> list[str]:
        room, sampling = asyncio.Semaphore(self.settings.workers), self._sampling("describe")

        async def describe(content: bytes, path: Path) -> str:
            def render(_: Part) -> Request:
                return self._request("describe", self.prompts.describe(), WORDS_OUT, (("", data_address(path)),))

            try:
                async with room:
                    key = digest(["describe", sampling, content.hex()])
                    return await stored_text(self.caller, key, render, own_words, NO_DESCRIPTION)
            except Exception:
                self.caller.stopping.set()  # those under way are paid for and end first
                raise

        outcomes = await asyncio.gather(*(describe(*image) for image in images), return_exceptions=True)
        errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if errors:
            raise next((error for error in errors if not isinstance(error, StoppingError)), errors[0])
        return [outcome for outcome in outcomes if isinstance(outcome, str)]

    def _pictures(self, items: Sequence[Item]) -> tuple[tuple[str, str], ...]:
        if self.settings.images != "direct":
            return ()
        return tuple(
            (f"An image of item {number}:", data_address(path))
            for number, item in enumerate(items, start=1)
            for path in item.images
        )

    def _picture_hashes(self, items: Sequence[Item]) -> list[list[str]]:
        """What `_pictures` shows, for keys."""
        if self.settings.images != "direct":
            return []
        return [[image_hash(path).hex() for path in item.images] for item in items]

    def wait(self, coroutine: Coroutine[Any, Any, Result]) -> Result:
        """Run what makes calls by `caller` in its loop's thread. Ctrl-C lets the calls under way end, since they are paid for."""

        async def begun() -> Result:
            self.caller.stopping.clear()  # not before: the loop may be winding up for another thread
            return await coroutine

        try:
            return self._thread.run(begun(), self.caller.stopping.set)
        except StoppingError:
            raise KeyboardInterrupt from None
        finally:  # not where they arise: a warning that is made an error would end calls under way
            for note in list(self.caller.notes)[self._n_said :]:
                self._n_said += 1
                warnings.warn(note, GenzWarning, stacklevel=3)


def _check_shared(settings: ModelSettings, store: object, posts: bool) -> None:
    """Raise OptionError for what needs another kind of store, or another kind of model."""
    shared = is_shared(store) or (store is not None and not isinstance(store, str | Path | AnswerStore))
    if settings.batch and settings.workers == 0:
        raise OptionError(
            "--batch: batches are sent by the run itself, which with --workers 0 makes no calls; leave one of the two out"
        )
    if settings.workers == 0 and not shared:
        raise OptionError(
            "--workers 0: leaves all calls to 'genz work', which needs a store that hosts share: --store postgresql://…"
        )
    if settings.workers == 0 and not posts:
        raise OptionError("--workers 0: is for genz fit, baseline, resume and predict; here calls are made, so give at least 1")
