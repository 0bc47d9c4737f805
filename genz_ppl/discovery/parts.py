"""The questions of a run fitted by the parts that some are put together from: each part with an error rate of its own."""

from __future__ import annotations

import numpy as np
import pandas as pd

from genz_ppl.discovery.run.progress import unpack
from genz_ppl.discovery.view import RunView
from genz_ppl.errors import OptionError
from genz_ppl.inference import FitResult, fit
from genz_ppl.llm.combined import Part, parse


def fit_by_parts(run: RunView, steps: int = 25) -> FitResult:
    """Fit a run's questions to its training items with z of a combination made of its parts' z, by enumeration of these.

    The result's features are the parts, (T, K) of at most 12 different ones, its `answer_names`, and combination_weights are the
    effects of the questions, in their order. In a run itself a combination is one feature, with one error rate for its answer.
    Raises OptionError for a run without questions, of several annotators, with groups or a network, and for more parts.
    """
    progress, fitted = run.progress, run.fitted()
    if not progress.active or fitted.raters:
        given = "those of several annotators" if fitted.raters else "none"
        raise OptionError(f"parts: expected a run with questions and the answers of one model, got {given}")
    combined = [((Part(text),),) if (found := parse(text)) is None else found.rules for text in fitted.feature_texts]
    parts = list(dict.fromkeys(part.text for rules in combined for rule in rules for part in rule))
    places = {text: place for place, text in enumerate(parts)}
    names, model, settings = fitted.covariate_names, fitted.state.model, run.record.settings
    return fit(
        pd.DataFrame({text: unpack(progress.pool[text]) for text in parts}),
        fitted.targets.numpy(),
        pd.DataFrame(fitted.numbers.numpy(), columns=list(names)) if names else None,
        link=model.link.name,
        likelihood=model.likelihood.name,
        steps=steps,
        seed=settings.seed,
        error_rate_prior=settings.error_rate_prior,
        n_classes=max(map(len, fitted.class_names), default=None) if model.likelihood.is_of_classes else None,
        varying=np.asarray(fitted.levels) if fitted.levels else None,
        combinations=[[[(places[part.text], part.negated) for part in rule] for rule in rules] for rules in combined],
    )
