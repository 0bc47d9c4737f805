"""Algorithms 1-4: add, targeted add, prune, and expand-contract, one step at a time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from genz_ppl.discovery.mine.contrast import build_contrast, exemplars, targeted_items, weighted_errors
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.mine.price import chance, cost, least_gain, prices
from genz_ppl.discovery.mine.screening import Race, normal_scores, telling_items
from genz_ppl.discovery.run.progress import Event, FeatureRecord, Progress, Snapshot, asked, pack, unpack
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.guided.guides import Guide
from genz_ppl.inference.guided.nuts import add_draws
from genz_ppl.inference.start import build_model, leading_split, start_state
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import Strategy, strategy_of
from genz_ppl.inference.worth.candidates import Candidate, better_start, is_balanced, rank_candidates
from genz_ppl.inference.worth.freedom import freedoms
from genz_ppl.inference.worth.judge import judge_of, missed
from genz_ppl.inference.worth.prune import least_useful
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Contrast, FloatArray, IntArray, Item

# Splits that are more alike than this are one.
SAME_SPLIT = 0.95
# Where an M-step is training, refits make do with this part of the steps.
TRAINING_STEPS = 5


class Cycle:
    """Moves a `Progress` forward on the training items.

    items: the training items; data: their standardised tensors, without answers (T, 0), on the device of the run, where the
    states of the `Progress` are, too. strategy: that of the settings if not given. Randomness of a step depends on
    the run's seed and the step's number alone, so that a resumed run goes the same way.
    """

    def __init__(
        self,
        settings: DiscoverSettings,
        items: Sequence[Item],
        test_items: Sequence[Item],
        data: Data,
        oracle: Oracle,
        strategy: Strategy | None = None,
    ) -> None:
        self.settings, self.items, self.test_items, self.data, self.oracle = settings, items, test_items, data, oracle
        self.strategy = strategy or strategy_of(settings)

    def guide(self, progress: Progress) -> Guide:
        """The guide of the run's strategy, where it stands."""
        return self.strategy.guide(progress.state, self.training_data(progress))

    def training_data(self, progress: Progress) -> Data:
        """The training tensors with the answers of the active features."""
        return self.data.with_answers(torch.from_numpy(progress.train_answers).to(self.data.targets.device))

    def add(self, progress: Progress) -> list[Event]:
        """Algorithm 1 or 2; returns the events, each with the wording it is about.

        With screening, what the pool holds comes first: a wording whose answers are known costs nothing, and one that those
        it has speak for needs no proposal.
        """
        data, screening = self.training_data(progress), bool(self.settings.screen)
        if screening and self.settings.reconsider and (best := self.best_candidate(progress, data, [])) is not None:
            self.keep(progress, best)
            return [("add", best.text)]
        posterior = self.free_posterior(progress, data)
        positive, negative = self.shown(progress, data, posterior)
        race = self.race(progress, posterior, np.concatenate([positive, negative]))
        known = self.unused(progress) if self.settings.reconsider else []
        answered = [race.recall(known)] if screening else []
        wordings: dict[str, int] = {}
        if answered in ([], [None]):
            wordings = self.wordings(self.contrast(progress, positive, negative))
            answered = self.answered(progress, race, wordings, known)
        events = self.discarded(progress, answered)
        best = self.best_candidate(progress, data, list(wordings))
        progress.failures = progress.failures + 1 if best is None else 0
        # The first failure turns to another split; only when that fails, too, are the effects sought the weak ones.
        progress.care = max(progress.care, progress.failures - 1)
        if best is not None:
            self.keep(progress, best)
            events.append(("add", best.text))
        return events

    def race(self, progress: Progress, posterior: FloatArray, shown: IntArray, replaced: str = "") -> Race:
        """A race among wordings for the split with this posterior, (T,). shown: what the proposer sees.

        replaced: a wording in use that the winner may take the place of, so that it may answer much like it.
        """

        def ask(items: Sequence[int], texts: Sequence[str]) -> FloatArray:
            return self.oracle.answer([self.items[t] for t in items], texts)

        used = [progress.pool[record.text] for record in progress.active if record.text != replaced]
        most = max(1, self.settings.screen or 0)
        depth, sharpness = normal_scores(posterior), float(np.mean((2 * posterior - 1) ** 2))
        order, price = telling_items(depth, shown), chance(progress, first=not used)
        return Race(progress.pool, depth, order, ask, most, price, used, progress.care, sharpness)

    @staticmethod
    def unfinished(progress: Progress, wordings: Mapping[str, int]) -> dict[str, int]:
        """Wordings that lack answers on some training items, with their sides."""
        answered = {text for text, entry in progress.pool.items() if asked(entry).all()}
        return {text: side for text, side in wordings.items() if text not in answered}

    def unused(self, progress: Progress) -> list[str]:
        """The wordings of the pool that are not in the model."""
        active = {record.text for record in progress.active}
        return [text for text in progress.pool if text not in active]

    def answered(self, progress: Progress, race: Race, wordings: Mapping[str, int], known: list[str]) -> list[str | None]:
        """Ask about wordings: with screening as far as they win their race, else all of them; those answered now on all items."""
        fresh = [text for text in wordings if text not in progress.pool]
        race.price = chance(progress, not race.used, tried=len(progress.pool) + len(fresh))
        if self.settings.screen:
            return [race.run(self.unfinished(progress, wordings), known)]
        return self.all_answered(progress, fresh)

    def discarded(self, progress: Progress, answered: Sequence[str | None]) -> list[Event]:
        """The events of wordings that are true of too few items or too many."""
        texts = [text for text in answered if text is not None]
        share = self.settings.smallest_share
        return [("discard", text) for text in texts if not is_balanced(unpack(progress.pool[text]), share)]

    def all_answered(self, progress: Progress, fresh: list[str]) -> list[str | None]:
        """Put wordings into the pool with answers on all training items."""
        for text, column in zip(fresh, self.oracle.answer(self.items, fresh).T if fresh else [], strict=True):
            progress.pool[text] = pack(column)
        return list(fresh)

    def free_posterior(self, progress: Progress, data: Data) -> FloatArray:
        """Posterior of a feature that only y moves (p_e = 0.5), fitted with the others: the split to be explained, (T,).

        With the structured strategy it is conditional on the modes of the other features, which is what Algorithm 2 groups
        items by. Beside a network the free feature enters as a term of its own, y = f(z, x) + w z_i: trained for a few epochs,
        the network would not answer to a new input yet, and the split would be lost.

        Of several starts the one with the highest bound counts; after additions that failed, the next one.
        """
        state, model = progress.state, progress.state.model
        with torch.no_grad():
            model.eval()
            residual = missed(state, data)
        found: list[tuple[float, FloatArray]] = []
        for rank in range(min(self.settings.splits, *residual.shape)):
            start = leading_split(residual, rank=rank)[:, None]
            bound, posterior = self.split_from(state, data, residual, start)
            if all(alike(posterior, other) < SAME_SPLIT for _, other in found):
                found.append((bound, posterior))
        ranked = sorted(found, key=lambda one: -one[0])
        return ranked[progress.failures % len(ranked)][1]

    def split_from(self, state: State, data: Data, residual: Tensor, start: Tensor) -> tuple[float, FloatArray]:
        """The bound with a free feature fitted from one start, (T, 1), and its posterior, (T,)."""
        blank = torch.full_like(start, float("nan"))
        if state.model.has_closed_form or not state.model.shortcuts:
            # Answers alone say nothing of a feature that has none: the paper's bound is what splits the items.
            free = state.plain().with_columns(list(range(state.posterior.shape[1])), start)
            free_data = data.with_answers(torch.cat([data.answers, blank], dim=1))
        else:
            free_data = Data(blank, start.new_zeros(len(start), 0), residual)
            free = start_state(build_model(1, residual.shape[1], 0).to(start.device), free_data)
        bound, posterior = self.strategy.split(free, free_data, self.settings.inner_steps)
        return bound, posterior.cpu().numpy()

    def shown(self, progress: Progress, data: Data, posterior: FloatArray) -> tuple[IntArray, IntArray]:
        """The items to show: from all of them (Algorithm 1) or from the worst explained combination (Algorithm 2)."""
        random = np.random.default_rng([self.settings.seed, progress.step])
        chosen: IntArray = np.arange(len(self.items))
        if self.settings.algorithm == "targeted" and progress.active:
            modes = progress.state.posterior.cpu().numpy() > 0.5
            errors = weighted_errors(progress.state, data)
            chosen = targeted_items(modes, errors, posterior > 0.5, self.settings.exemplars)
        return exemplars(posterior, chosen, self.settings.exemplars, random)

    def contrast(self, progress: Progress, positive: IntArray, negative: IntArray) -> Contrast:
        """The contrast of those items."""
        texts = [record.text for record in progress.active]
        return build_contrast(self.items, positive, negative, progress.train_answers, texts)

    def wordings(self, contrast: Contrast) -> dict[str, int]:
        """What the model proposes, asked one way round or both, with the side of the split that each is to name, +1 or -1."""
        asked: list[tuple[int, Contrast]] = []
        if self.settings.polarity in ("both", "positive"):
            asked.append((1, contrast))
        if self.settings.polarity in ("both", "negative"):
            asked.append((-1, contrast.reversed()))
        lists = [
            [(text, side) for text in self.oracle.propose(one, self.settings.proposals)]
            for side, one in asked
            if one.positive and one.negative
        ]
        # The best of either side first: which of the two is easier to word is not known.
        turns = [turn for turn in itertools.chain.from_iterable(itertools.zip_longest(*lists)) if turn is not None]
        sides: dict[str, int] = {}
        for text, side in turns:
            sides.setdefault(text, side)
        return sides

    def best_candidate(self, progress: Progress, data: Data, wordings: list[str]) -> Candidate | None:
        """The wording whose gain of the bound is furthest above what it must be, `least_gain`, if one is."""
        texts = self.usable(progress, [*wordings, *progress.pool] if self.settings.reconsider else wordings)
        if not texts:
            return None
        judge, judged = judge_of(progress.state, data, self.settings.refit_steps)
        excess = [
            (one.gain - least_gain(self.settings, progress, one), one) for one in self.ranked(progress, judge, judged, texts)
        ]
        most, best = max(excess, key=lambda pair: pair[0], default=(0.0, None))
        return best if most > 0 else None

    def usable(self, progress: Progress, texts: Iterable[str]) -> list[str]:
        """Those that have answers on all training items, neither too rare nor too common, and are not in the model."""
        active, share = {record.text for record in progress.active}, self.settings.smallest_share
        known = [text for text in dict.fromkeys(texts) if text not in active and text in progress.pool]
        whole = [text for text in known if asked(progress.pool[text]).all()]
        return [text for text in whole if is_balanced(unpack(progress.pool[text]), share)]

    def ranked(self, progress: Progress, judge: State, data: Data, texts: list[str]) -> list[Candidate]:
        """Wordings of the pool by what each would bring to a model of `judge_of`, the best first; none like one in it."""
        answers = np.stack([unpack(progress.pool[text]) for text in texts], axis=1)
        steps = self.settings.refit_steps
        found = rank_candidates(judge, data, texts, answers, steps, lambda texts: self.oracle.error_rates(self.items, texts))
        searched = self.oracle.searched(self.items, [one.text for one in found])
        return [replace(one, searched=float(count)) for one, count in zip(found, searched, strict=True)]

    def keep(self, progress: Progress, candidate: Candidate, origin: str = "mined") -> None:
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
        record = FeatureRecord(f"f{number}", candidate.text, origin, candidate.gain, progress.step, searched=candidate.searched)
        progress.features.append(record)
        self.refit(progress)

    def prune(self, progress: Progress, priced: bool = False) -> list[Event]:
        """Algorithm 3: take out the feature whose removal costs the bound least.

        priced: the one whose removal costs least beside the price it saves, if it costs less than that.
        """
        steps = self.settings.refit_steps
        judge, data = judge_of(progress.state, self.training_data(progress), steps)
        least = prices(self.settings, progress, freedoms(judge, data)) if priced else [float("inf")] * len(progress.active)
        # Where all prices are equal, they make no difference, and none by rounding either.
        saved = data.targets.new_tensor([each - min(least) for each in least]) if priced else None
        removal = least_useful(judge, data, steps, prices=saved)
        if refit(judge.copy(), data, steps).total - removal.bound >= least[removal.feature]:
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
        return self.strategy.climbs(progress.state.model)

    def refit(self, progress: Progress) -> None:
        """Fit the model after a change of its features; a guide in training learns on by itself."""
        if self.strategy.training is None:
            steps = self.steps(progress, self.settings.refit_steps)
            progress.bound = self.strategy.refit(progress.state, self.training_data(progress), steps).total

    def steps(self, progress: Progress, wanted: int) -> int:
        """E- and M-steps of a refit: fewer where an M-step is training."""
        return wanted if progress.state.model.has_closed_form else max(1, wanted // TRAINING_STEPS)

    def note_best(self, progress: Progress) -> None:
        """Remember the model if its bound, after the price of its features, is the highest so far."""
        steps = self.settings.refit_steps
        judge, data = judge_of(progress.state, self.training_data(progress), steps)
        judged = progress.bound if judge is progress.state else refit(judge, data, steps).total
        best, ids = progress.best, [record.id for record in progress.active]
        now = Snapshot(progress.step, ids, progress.state, progress.bound, judged, freedoms(judge, data))
        if best is None or judged - cost(self.settings, progress, now) > best.judged - cost(self.settings, progress, best):
            progress.best = replace(now, state=progress.state.copy())

    def finish(self, progress: Progress) -> list[Event]:
        """One step of the end: back to the best model, out with features not worth keeping, then the last fit."""
        if not progress.settled:
            self.restore_best(progress)
            progress.settled = True
        events = self.prune(progress, priced=True) if progress.active and self.settings.smallest_worth != 0 else []
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
        link = progress.state.model.link.fresh().to(data.targets.device)
        model = progress.state.model.resized(progress.state.model.features, link)
        progress.state = State(model, progress.state.error_rates, progress.state.prior(data.answers))
        steps = None if self.strategy.training is not None else self.steps(progress, self.settings.final_steps)
        progress.bound = self.strategy.fit(progress.state, data, steps)[-1].total
        if self.settings.posterior == "nuts":
            add_draws(progress.state, data, self.settings.seed)

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


def alike(one: FloatArray, other: FloatArray) -> float:
    """The size of the correlation of two splits, (T,); 1 where the first splits nothing, 0 where only the other does not."""
    one, other = one - one.mean(), other - other.mean()
    size = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(abs(one @ other) / size) if size > 0 else float(not one.any())
