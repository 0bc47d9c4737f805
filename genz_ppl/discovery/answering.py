"""Answers to a run's questions about any items: those that it has, and those that its model gives now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genz_ppl.data import Items
from genz_ppl.discovery.matching import warn_of_silence
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.run.progress import Counters
from genz_ppl.discovery.view import RunView
from genz_ppl.discovery.watch import OnAnswers, Watchers
from genz_ppl.types import FloatArray


def answers_of(
    run: RunView, items: Items, changes: Mapping[str, Any], on_answers: OnAnswers | None, progress: bool | None
) -> FloatArray:
    """(len(items), K), of several annotators (len(items), K, A): see `Discovery.answers`.

    changes: of a served model and its store.
    """
    watchers, texts = Watchers(None, on_answers, progress), [record.text for record in run.progress.active]
    answers, missing = run.record.known_answers(run.progress, items)
    if missing and texts:
        asked = [items[i] for i in missing]
        opened = run.service(changes, own_caps=False).open(run.record, None, items=asked)
        with (watchers if hasattr(opened, "progress") else Watchers()).displayed() as told:
            told.watch(opened)
            oracle = Oracle(opened, Counters())
            if run.record.raters:  # nobody has labelled them
                each = oracle.answer_each(asked, texts)
                answers[missing, :, : each.shape[2]] = each
            else:
                answers[missing] = oracle.answer(asked, texts)
        warn_of_silence(items, texts, answers[missing], run.progress.given())
    return answers
