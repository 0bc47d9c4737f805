"""Algorithms 1-4: add, targeted add, prune, and expand-contract, one step at a time."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from genz_ppl.discovery.contrast import build_contrast, exemplars, targeted_items, weighted_errors
from genz_ppl.discovery.oracle import Oracle
from genz_ppl.discovery.proposals import Candidate, better_start, is_balanced, judge_of, missed, rank_candidates
from genz_ppl.discovery.records import FeatureRecord, Progress, Snapshot, pack, unpack
from genz_ppl.discovery.worth import chance_gain
from genz_ppl.inference.closed_form import has_closed_form
from genz_ppl.inference.coordinate import refit
from genz_ppl.inference.guides import StructuredGuide
from genz_ppl.inference.prune import least_useful
from genz_ppl.inference.start import build_model, leading_split, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import Strategy
from genz_ppl.models import GenZ, LinearLink
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Contrast, FloatArray, IntArray, Item

# Where an M-step is training, refits make do with this part of the steps.
TRAINING_STEPS = 5


class Cycle:
    """Moves a `Progress` forward on the training items.

    items: the training items; data: their standardised tensors, without answers (T, 0). Randomness of a step depends on
    the run's seed and the step's number alone, so that a resumed run goes the same way.
    """

    def __init__(
        self, settings: DiscoverSettings, items: Sequence[Item], test_items: Sequence[Item], data: Data, oracle: Oracle
    ) -> None:
        self.settings, self.items, self.test_items, self.data, self.oracle = settings, items, test_items, data, oracle
        self.strategy = Strategy.of_run(settings)

    def training_data(self, progress: Progress) -> Data:
        """The training tensors with the answers of the active features."""
        return self.data.with_answers(torch.from_numpy(progress.train_answers))

    def add(self, progress: Progress) -> list[tuple[str, str]]:
        """Algorithm 1 or 2; returns the events, each with the wording it is about."""
        data = self.training_data(progress)
        posterior = self.free_posterior(progress, data)
        contrast = self.contrast(progress, data, posterior)
        wordings = self.wordings(contrast)
        fresh = [text for text in wordings if text not in progress.pool]
        events = []
        if fresh:
            answers = self.oracle.answer(self.items, fresh)
            for text, column in zip(fresh, answers.T, strict=True):
                progress.pool[text] = pack(column)
                if not is_balanced(column, self.settings.smallest_share):
                    events.append(("discard", text))
        best = self.best_candidate(progress, data, wordings)
        if best is not None:
            self.keep(progress, best)
            events.append(("add", best.text))
        return events

    def free_posterior(self, progress: Progress, data: Data) -> FloatArray:
        """Posterior of a feature that only y moves (p_e = 0.5), fitted with the others: the split to be explained, (T,).

        With the structured strategy it is conditional on the modes of the other features, which is what Algorithm 2 groups
        items by. Beside a network the free feature enters as a term of its own, y = f(z, x) + w z_i: trained for a few epochs,
        the network would not answer to a new input yet, and the split would be lost.
        """
        state, model = progress.state, progress.state.model
        with torch.no_grad():
            model.eval()
            residual = missed(state, data)
        start = leading_split(residual)[:, None]
        blank = torch.full_like(start, float("nan"))
        if has_closed_form(model):
            free = state.with_columns(list(range(state.posterior.shape[1])), start)
            free_data = data.with_answers(torch.cat([data.answers, blank], dim=1))
        else:
            free_data = Data(blank, torch.zeros(len(start), 0, dtype=torch.float64), residual)
            free = start_state(build_model(1, residual.shape[1], 0), free_data)
        refit(free, free_data, self.settings.inner_steps)
        split = free.posterior[:, -1] if self.strategy.name != "structured" else conditional_split(free, free_data)
        posterior: FloatArray = split.numpy()
        return posterior

    def contrast(self, progress: Progress, data: Data, posterior: FloatArray) -> Contrast:
        """The items to show: from all of them (Algorithm 1) or from the worst explained combination (Algorithm 2)."""
        random = np.random.default_rng([self.settings.seed, progress.step])
        chosen: IntArray = np.arange(len(self.items))
        if self.settings.algorithm == "targeted" and progress.active:
            modes = progress.state.posterior.numpy() > 0.5
            errors = weighted_errors(progress.state, data)
            chosen = targeted_items(modes, errors, posterior > 0.5, self.settings.exemplars)
        positive, negative = exemplars(posterior, chosen, self.settings.exemplars, random)
        texts = [record.text for record in progress.active]
        return build_contrast(self.items, positive, negative, progress.train_answers, texts)

    def wordings(self, contrast: Contrast) -> list[str]:
        """What the model proposes, asked one way round or both."""
        asked: list[Contrast] = []
        if self.settings.polarity in ("both", "positive"):
            asked.append(contrast)
        if self.settings.polarity in ("both", "negative"):
            asked.append(contrast.reversed())
        texts: list[str] = []
        for one in asked:
            if one.positive and one.negative:
                texts.extend(self.oracle.propose(one, self.settings.proposals))
        return list(dict.fromkeys(texts))

    def best_candidate(self, progress: Progress, data: Data, wordings: list[str]) -> Candidate | None:
        """The wording with the largest gain of the bound, if that gain is above `smallest_gain`."""
        active = {record.text for record in progress.active}
        texts = [*wordings, *progress.pool] if self.settings.reconsider else wordings
        usable = []
        for text in dict.fromkeys(texts):
            if text not in active and is_balanced(unpack(progress.pool[text]), self.settings.smallest_share):
                usable.append(text)
        if not usable:
            return None
        answers = np.stack([unpack(progress.pool[text]) for text in usable], axis=1)
        judge, judged = judge_of(progress.state, data, self.settings.refit_steps)
        ranked = rank_candidates(
            judge, judged, usable, answers, self.settings.refit_steps, lambda texts: self.oracle.error_rates(self.items, texts)
        )
        return ranked[0] if ranked and ranked[0].gain > self.settings.smallest_gain else None

    def keep(self, progress: Progress, candidate: Candidate) -> None:
        """Make a candidate part of the model and ask about it on the test items."""
        if candidate.text not in progress.test_pool:
            progress.test_pool[candidate.text] = pack(self.oracle.answer(self.test_items, [candidate.text])[:, 0])
        if self.climbs(progress):
            progress.state = candidate.state
        else:
            kept = list(range(progress.state.posterior.shape[1]))
            progress.state = progress.state.with_columns(kept, candidate.state.posterior[:, -1:])
            progress.state.error_rates[-1] = candidate.state.error_rates[-1]
        number = len(progress.features) + 1
        progress.features.append(FeatureRecord(f"f{number}", candidate.text, "mined", candidate.gain, progress.step))
        self.refit(progress)

    def prune(self, progress: Progress, least_loss: float = float("inf")) -> list[tuple[str, str]]:
        """Algorithm 3: take out the feature whose removal costs the bound least, if it costs less than `least_loss`."""
        steps = self.settings.refit_steps
        judge, data = judge_of(progress.state, self.training_data(progress), steps)
        removal = least_useful(judge, data, steps)
        if refit(judge.copy(), data, steps).total - removal.bound >= least_loss:
            return []
        record = progress.active[removal.feature]
        record.removed_at = progress.step
        if judge is progress.state and self.climbs(progress):
            progress.state, progress.bound = removal.state, removal.bound
        else:
            kept = [k for k in range(data.answers.shape[1]) if k != removal.feature]
            progress.state = progress.state.with_columns(kept)
            self.refit(progress)
        return [("prune", record.text)]

    def climbs(self, progress: Progress) -> bool:
        """Whether a judge's trial states are states of this run: closed forms, fitted by coordinate updates."""
        return self.strategy.name == "coordinate" and has_closed_form(progress.state.model)

    def refit(self, progress: Progress) -> None:
        """Fit the model after a change of its features; a guide in training learns on by itself."""
        if not self.strategy.trains:
            steps = self.steps(progress, self.settings.refit_steps)
            progress.bound = self.strategy.refit(progress.state, self.training_data(progress), steps).total

    def steps(self, progress: Progress, wanted: int) -> int:
        """E- and M-steps of a refit: fewer where an M-step is training."""
        return wanted if has_closed_form(progress.state.model) else max(1, wanted // TRAINING_STEPS)

    def note_best(self, progress: Progress) -> None:
        """Remember the model if its bound, after the price of its features, is the highest so far."""
        steps = self.settings.refit_steps
        judge, data = judge_of(progress.state, self.training_data(progress), steps)
        judged = progress.bound if judge is progress.state else refit(judge, data, steps).total
        best, price = progress.best, self.price(progress)
        if best is None or judged - price * len(progress.active) > best.judged - price * len(best.ids):
            ids = [record.id for record in progress.active]
            progress.best = Snapshot(progress.step, ids, progress.state.copy(), progress.bound, judged)

    def price(self, progress: Progress) -> float:
        """Nats a feature must be worth: as the settings say, or what the best of all wordings tried reaches by chance."""
        if self.settings.smallest_worth is not None:
            return self.settings.smallest_worth
        link = progress.state.model.link
        modifiers = link.coefficients().shape[1] if isinstance(link, LinearLink) else 1
        return chance_gain(len(progress.pool), modifiers * progress.state.model.likelihood.n_locations)

    def finish(self, progress: Progress) -> list[tuple[str, str]]:
        """One step of the end: back to the best model, out with features not worth keeping, then the last fit."""
        if not progress.settled:
            self.restore_best(progress)
            progress.settled = True
        price = self.price(progress)
        events = self.prune(progress, price) if progress.active and price > 0 else []
        if events:
            return events
        self.last_fit(progress)
        return [("final", "")]

    def last_fit(self, progress: Progress) -> None:
        """Fit the final model to the end: onwards where M-steps are exact, afresh where they are training.

        A network that was trained a little at every step of a long run has seen the training items too often.
        """
        data = self.training_data(progress)
        if self.climbs(progress):
            progress.state, progress.bound = better_start(progress.state, data, self.settings.final_steps)
            return
        model = GenZ(progress.state.model.features, progress.state.model.link.fresh(), progress.state.model.likelihood)
        progress.state = State(model, progress.state.error_rates, progress.state.prior(data.answers))
        progress.bound = self.strategy.fit_anew(progress.state, data, self.steps(progress, self.settings.final_steps)).total

    def restore_best(self, progress: Progress) -> None:
        """Go back to the best model of the run; no test item has a say in which that is."""
        best = progress.best
        if best is None:
            return
        for record in progress.features:
            if record.id in best.ids:
                record.removed_at = None
            elif record.active:
                record.removed_at = progress.step
        progress.state, progress.bound = best.state.copy(), best.bound


def conditional_split(state: State, data: Data) -> Tensor:
    """q(z_K = 1 | z_-K) of the last feature at the modes of the others, exact given the model, (T,)."""
    guide = StructuredGuide(state.error_rates, state.posterior, model=state.model)
    guide.posterior_of(data.answers, data.covariates, data.targets)
    modes = (state.posterior > 0.5).to(state.posterior)
    return guide.conditional(modes)
