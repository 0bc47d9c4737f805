"""A file of profiles made, or brought up to date: what has not changed stays as it is, the rest is asked once."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from genz_ppl.data import Items
from genz_ppl.errors import GenzWarning
from genz_ppl.llm.served.budget import Caps
from genz_ppl.llm.served.extraction import Progress
from genz_ppl.llm.served.keys import digest
from genz_ppl.llm.served.model import OpenAIModel
from genz_ppl.llm.served.settings import ModelSettings
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.places import open_answers
from genz_ppl.profiles import encoders
from genz_ppl.profiles.plan import ProfilePlan
from genz_ppl.profiles.reckoning import plan_of
from genz_ppl.profiles.table import About, Profile, Profiles
from genz_ppl.profiles.task import Task, task_of
from genz_ppl.profiles.template import TemplateWriter
from genz_ppl.profiles.written import ServedWriter, Written
from genz_ppl.types import FloatArray, Item

if TYPE_CHECKING:
    from genz_ppl.profiles.questions import Answered

_SHOWN = 5
_SAID = ("item_hash", "profile", "tags", "prompt_version", "model", "encoder")


def make_profiles(
    items: Items | pd.DataFrame | Sequence[Item],
    out: str | Path,
    *,
    model: str = "rules",
    encoder: str = "similarity",
    questions: str | None = None,
    users: str | Path | None = None,
    model_settings: ModelSettings | Mapping[str, Any] | None = None,
    store: str | Path | None = None,
    on_answers: Progress | None = None,
) -> Profiles:
    """Profiles of items in the file `out`, made or refreshed: see `Refresh`, whose arguments these are."""
    refresh = Refresh(
        items,
        out,
        model=model,
        encoder=encoder,
        questions=questions,
        users=users,
        model_settings=model_settings,
        store=store,
    )
    return refresh.run(on_answers)


class Refresh:
    """One refresh of a file of profiles. Nothing is asked before `run`; `plan` says what that would do and cost.

    items: Items, a DataFrame (the index gives ids) or a sequence of Item. out: a .parquet file; one that is
    there is brought up to date. model: "rules" (or "none"), profiles from the fields; or "openai:NAME". encoder: "similarity",
    "openai:NAME", "st:NAME" or "package.module:object" (a `TextEncoder`). questions: the folder of a run, or "table:FILE".
    users: a file of training pairs (user, item, value; rows whose column "split" says "test" are left out): profiles are of its
    users then, described by nothing but these pairs.
    model_settings: of served models (prompts, caps, batch, base_url, …). store: the file of replies.
    made_with: noted in the file for `genz profile status`.

    Raises InputError and OptionError before any call: for wrong arguments, a file `out` that is none or holds other kinds of
    profiles, and users' profiles that were made from other pairs.
    """

    def __init__(
        self,
        items: Items | pd.DataFrame | Sequence[Item],
        out: str | Path,
        *,
        model: str = "rules",
        encoder: str = "similarity",
        questions: str | None = None,
        users: str | Path | None = None,
        model_settings: ModelSettings | Mapping[str, Any] | None = None,
        store: str | Path | None = None,
        made_with: Mapping[str, Any] | None = None,
    ) -> None:
        self.task: Task = task_of(items, out, model, encoder, questions, users, model_settings, store)
        self._made_with = {**(made_with or {}), "model": self.task.model, "encoder": encoder, "questions": questions}
        self._plan: ProfilePlan | None = None

    def plan(self) -> ProfilePlan:
        """What `run` would do and cost, replies that are stored already taken off. Asks nothing and writes nothing."""
        if self._plan is None:
            self._plan = plan_of(self.task)
        return self._plan

    def run(self, on_answers: Progress | None = None) -> Profiles:
        """Do it, and write the file in one stroke; one that is up to date is left as it is, and nobody is asked.

        on_answers: told (texts known, texts wanted) while a served model is asked.
        Raises ModelError, BudgetError and StoreError: then the file is as it was, and what was answered is in the store, so that
        the same refresh goes on from there, within the same caps.
        """
        task = self.task
        with _Opened(task, self._ledger) as opened:
            opened.watch(on_answers)
            texts, reasons = opened.texts()
            vectors = opened.vectors(texts)
            spent = opened.spent()
            answered = self._answered(spent)
        rows = self._rows(texts, vectors, answered)
        _warn_of_missing(rows, task.kind, reasons)
        old = task.old
        questions = () if answered is None else answered.texts
        if old is not None and questions == old.questions and rows == list(old.rows):  # the same objects: nothing has changed
            return old
        before = About() if old is None else old.about
        about = replace(
            before,
            kind=task.kind,
            questions=questions,
            pairs=task.pairs,
            made_with=self._made_with,
            spent=before.spent + spent + (Spending() if answered is None else answered.spent),
            refreshes=before.refreshes + 1,
        )
        made = Profiles(rows, about, str(task.out))
        made.write(task.out)
        return made

    @property
    def _ledger(self) -> str:
        """What this refresh's spending is booked under, until the file it makes is written: kills and caps do not end it."""
        old = self.task.old
        asked = digest([self.task.model, self.task.prompt_version, self.task.encoder]).hex()[:8]
        return f"profiles {os.path.abspath(self.task.out)} {0 if old is None else old.about.refreshes} {asked}"

    def _answered(self, spent: Spending) -> Answered | None:
        task = self.task
        if task.questions is None:
            return None
        caps = task.settings
        left = Caps(
            None if caps.max_cost is None else max(0.0, caps.max_cost - spent.cost),
            None if caps.max_calls is None else caps.max_calls - spent.calls,
            None if caps.max_tokens is None else caps.max_tokens - spent.tokens_in - spent.tokens_out,
        )
        return task.questions.answered(task.given, left, f"{self._ledger} answers")

    def _rows(
        self, texts: Sequence[Written | None], vectors: Sequence[encoders.Vector | None], answered: Answered | None
    ) -> list[Profile]:
        """The rows of the file; one that says what it said before is the row that was there."""
        task, now = self.task, datetime.now(UTC).replace(microsecond=0)
        answers, q = (_rows_of(None if answered is None else getattr(answered, name), len(texts)) for name in ("answers", "q"))
        rows = []
        for at, (item, text, vector) in enumerate(zip(task.items, texts, vectors, strict=True)):
            old = task.row_of(item)
            made = Profile(
                id=item.id,
                item_hash=task.hashes[at],
                profile=None if text is None else text.profile,
                tags=() if text is None else text.tags,
                vector=None if text is None else vector,
                answers=answers[at],
                q=q[at],
                prompt_version=task.prompt_version,
                model=task.model,
                encoder=task.encoder,
                generated_at=now,
            )
            if old is not None and all(getattr(old, name) == getattr(made, name) for name in _SAID):
                made = replace(made, generated_at=old.generated_at) if _equal(old.vector, made.vector) else made
                same = all(_equal(getattr(old, name), getattr(made, name)) for name in ("vector", "answers", "q"))
                made = old if same else made
            rows.append(made)
        return rows


class _Opened:
    """The models of a refresh, opened before the first call and closed after the last; none that is not needed."""

    def __init__(self, task: Task, ledger: str) -> None:
        self._task = task
        self._store: Store | None = None
        self._models: list[OpenAIModel] = []
        self._run: int | None = None
        prompt, served = task.prompt, encoders.is_served_encoder(task.encoder)
        try:
            self._writer: ServedWriter | TemplateWriter = TemplateWriter()
            if prompt is not None and task.unwritten:
                self._writer = ServedWriter(self._open(task.settings, ledger), prompt)
            self._encoder: encoders.TextEncoder | None = None
            if task.unwritten or task.unembedded:
                if served:
                    settings = encoders.encoder_settings(task.encoder, task.settings, alone=prompt is None)
                    self._encoder = encoders.ServedEncoder(self._open(settings, ledger))
                else:
                    self._encoder = encoders.open_local(task.encoder)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> _Opened:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        for model in self._models:
            model.close()
        if self._store is not None:
            self._store.close()

    def watch(self, on_answers: Progress | None) -> None:
        for model in self._models:
            model.progress = on_answers

    def texts(self) -> tuple[list[Written | None], Counter[str]]:
        """The text of every item, and why some have none."""
        task = self._task
        made = dict(zip(task.unwritten, self._writer.write([task.items[at] for at in task.unwritten]), strict=True))
        found = [made[at] if at in made else task.known_text(at) for at in range(len(task.items))]
        return found, self._writer.failures if isinstance(self._writer, ServedWriter) else Counter()

    def vectors(self, texts: Sequence[Written | None]) -> list[encoders.Vector | None]:
        """The vector of every text."""
        task = self._task
        wanted = [at for at, text in enumerate(texts) if text is not None and (at in task.fresh or at in task.unembedded)]
        made: dict[int, encoders.Vector | None] = {}
        if wanted and self._encoder is not None:
            said, ids = [texts[at].profile for at in wanted], [task.items[at].id for at in wanted]  # type: ignore[union-attr]
            made = dict(zip(wanted, encoders.unit_vectors(self._encoder, task.encoder, said, ids), strict=True))
        return [made[at] if at in made else task.known_vector(at) for at in range(len(texts))]

    def spent(self) -> Spending:
        """By this refresh so far, before it was stopped included."""
        return Spending() if self._store is None or self._run is None else self._store.spent(self._run)

    def _open(self, settings: ModelSettings, ledger: str) -> OpenAIModel:
        self._store = self._store or open_answers(self._task.store)
        model = OpenAIModel(settings, self._store, run=ledger, fresh=False)
        self._run = model.caller.run
        self._models.append(model)
        return model


def _rows_of(values: FloatArray | None, count: int) -> list[Any]:
    """The rows as float32, None for none."""
    return [None] * count if values is None else list(values.astype(np.float32))


def _equal(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return np.array_equal(one, other, equal_nan=True)


def _warn_of_missing(rows: Sequence[Profile], kind: str, reasons: Counter[str]) -> None:
    """Say which rows have no profile, since they are kept."""
    lacking = [row.id for row in rows if row.vector is None]
    if not lacking:
        return
    shown = ", ".join(name[:40] for name in lacking[:_SHOWN]) + (f" and {len(lacking) - _SHOWN} more" if lacking[_SHOWN:] else "")
    why = f" ({', '.join(reasons)})" if reasons else ""
    warnings.warn(
        f"{len(lacking)} of {len(rows)} {kind}s have no profile{why}: {shown}; they are in the file, without a vector",
        GenzWarning,
        stacklevel=3,
    )
