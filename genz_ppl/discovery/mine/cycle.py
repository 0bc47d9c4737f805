"""Algorithms 1-4: add, targeted add, prune, and expand-contract, one step at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import torch
from numpy.typing import NDArray

from genz_ppl.discovery.mine.combine import Counts, combinations, complete, counted
from genz_ppl.discovery.mine.contrast import build_contrast, exemplars, targeted_items, weighted_errors
from genz_ppl.discovery.mine.oracle import Oracle
from genz_ppl.discovery.mine.price import chance, cost, least_gain, limits_of_cuts, prices
from genz_ppl.discovery.mine.screening import Race, normal_scores, telling_items, unfinished
from genz_ppl.discovery.mine.splits import Split, find_split, packed_split
from genz_ppl.discovery.mine.wordings import proposed, suggested
from genz_ppl.discovery.run.progress import Event, FeatureRecord, Progress, Snapshot, asked, pack, unpack, unpacked
from genz_ppl.inference.engines.choose import steps_of
from genz_ppl.inference.engines.coordinate import refit
from genz_ppl.inference.engines.rates import clearly_better
from genz_ppl.inference.guided.guides import Guide
from genz_ppl.inference.guided.nuts import add_draws
from genz_ppl.inference.state import Data, State
from genz_ppl.inference.strategies import Strategy, strategy_of
from genz_ppl.inference.worth.candidates import Candidate, OwnBound, better_start, is_balanced, rank_candidates
from genz_ppl.inference.worth.freedom import freedoms
from genz_ppl.inference.worth.judge import judge_of
from genz_ppl.inference.worth.prune import least_useful
from genz_ppl.llm.combined import parts_of
from genz_ppl.rows import chosen
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import Contrast, FloatArray, IntArray, Item

# A wording left over comes before new ones if it gains this part of what the split would.
LEFTOVER = 0.5
# The splits last shown that a run remembers.
MOST_REMEMBERED = 50


class Cycle:
    """Moves a `Progress` forward on the training items.

    items: the training items; data: their standardised tensors, without answers (T, 0), on the device of the run, where the
    states of the `Progress` are, too. strategy: that of the settings if not given. held_items: those held back until the end.
    task: in words, for suggestions. Randomness of a step depends on the run's seed and the step's number alone, so that a
    resumed run goes the same way.
    """

    def __init__(
        self,
        settings: DiscoverSettings,
        items: Sequence[Item],
        test_items: Sequence[Item],
        data: Data,
        oracle: Oracle,
        strategy: Strategy | None = None,
        held_items: Sequence[Item] = (),
        task: str = "",
    ) -> None:
        self.settings, self.items, self.test_items, self.held_items = settings, items, test_items, held_items
        self.data, self.oracle, self.task = data, oracle, task
        self.strategy = strategy or strategy_of(settings)
        #: Questions that people want never pruned, and not back.
        self.locked, self.vetoed = frozenset[str](), frozenset[str]()

    def guide(self, progress: Progress) -> Guide:
        """The guide of the run's strategy, where it stands."""
        return self.strategy.guide(progress.state, self.training_data(progress))

    def training_data(self, progress: Progress) -> Data:
        """The training tensors with the answers of the active features."""
        return self.data.with_answers(torch.from_numpy(progress.given()).to(self.data.targets.device))

    def add(self, progress: Progress) -> list[Event]:
        """Algorithm 1 or 2; returns the events, each with the wording it is about.

        A wording of the pool, where suggestions are, comes first only if it explains a good part of what a feature could: new
        contrasts find better ones than what was left over. Where they find none, the best of the pool is taken.
        """
        data = self.training_data(progress)
        split = self.split(progress, data)
        compared = self.compared(progress, data, split)
        race = self.race(progress, split.posterior, compared)
        if self.settings.suggestions and progress.step == 1 and not progress.pool:
            known = suggested(self.oracle, self.settings, self.items, self.task)
            texts = [text for text in known if text not in self.vetoed]
            if self.settings.screen:
                race.look_at(texts)
            else:
                self.all_answered(progress, texts)
        # In the first round knowledge comes before contrasts; what they word better than it takes the place of what is cut.
        first = bool(self.settings.suggestions) and progress.cycle == 1
        best = self.left_over(progress, data, race, 0.0 if first else LEFTOVER * split.gain)
        if best is not None:
            return [self.keep(progress, best)]
        positive, negative = self.shown(progress, split, compared)
        progress.splits = [*progress.splits, packed_split(split.posterior)][-MOST_REMEMBERED:]
        wordings = proposed(self.oracle, self.settings, self.contrast(progress, positive, negative), self.vetoed)
        answered = self.answered(progress, race, wordings, self.unused(progress) if self.settings.reconsider else [])
        events = self.discarded(progress, answered)
        best = self.best_candidate(progress, data, list(wordings))
        progress.failures = progress.failures + 1 if best is None else 0
        # The first failure turns to another split; only when that fails, too, are the effects sought the weak ones.
        progress.care = max(progress.care, progress.failures - 1)
        return events if best is None else [*events, self.keep(progress, best)]

    def left_over(self, progress: Progress, data: Data, race: Race, least: float) -> Candidate | None:
        """A wording of the pool worth at least so many nats, if there is one: it costs no contrast.

        Without screening only what was suggested comes before new contrasts, which then cost no more than the pool does.
        """
        if not self.settings.reconsider or not (self.settings.screen or self.settings.suggestions):
            return None
        best = self.best_candidate(progress, data, [], least)
        if best is None and self.settings.suggestions and race.promising(self.unused(progress), least) is not None:
            best = self.best_candidate(progress, data, [], least)
        return best

    def race(self, progress: Progress, posterior: FloatArray, compared: IntArray, replaced: str = "") -> Race:
        """A race among wordings for the split with this posterior, (T,). compared: the items that the contrast is about.

        replaced: a wording in use that the winner may take the place of, so that it may answer much like it.
        """

        def ask(items: Sequence[int], texts: Sequence[str]) -> FloatArray:
            return self.oracle.answer(chosen(self.items, np.asarray(items, dtype=np.int64)), texts)

        used = [progress.pool[record.text] for record in progress.active if record.text != replaced]
        most = max(1, self.settings.screen or 0)
        depth, sharpness = normal_scores(posterior), float(np.mean((2 * posterior - 1) ** 2))
        # Weak effects show on all items only.
        order = telling_items(depth, np.arange(len(depth)) if progress.care else compared)
        price = chance(progress, len(used) + 1, (1.0,))
        return Race(progress.pool, depth, order, ask, most, price, used, progress.care, sharpness)

    def unused(self, progress: Progress) -> list[str]:
        """The wordings of the pool that are not in the model."""
        active = {record.text for record in progress.active} | self.vetoed
        return [text for text in progress.pool if text not in active]

    def answered(self, progress: Progress, race: Race, wordings: Mapping[str, int], known: list[str]) -> list[str | None]:
        """Ask about wordings: with screening as far as they win their race, else all of them; those answered now on all items."""
        if self.settings.screen:
            winner = race.run(unfinished(progress.pool, wordings), known)
            return [race.recall(known) if winner is None else winner]
        return self.all_answered(progress, [text for text in wordings if text not in progress.pool])

    def discarded(self, progress: Progress, answered: Sequence[str | None]) -> list[Event]:
        """The events of wordings that are true of too few items or too many."""
        answers = {text: unpack(progress.pool[text]) for text in answered if text is not None}
        return [("discard", text) for text, column in answers.items() if not is_balanced(column, self.settings.smallest_share)]

    def all_answered(self, progress: Progress, fresh: list[str]) -> list[str | None]:
        """Put wordings into the pool with answers on all training items."""
        for text, column in zip(fresh, self.oracle.answer(self.items, fresh).T if fresh else [], strict=True):
            progress.pool[text] = pack(column)
        return list(fresh)

    def split(self, progress: Progress, data: Data) -> Split:
        """What the next question is to explain, see `find_split`; the paper's algorithms do not mind what was shown before."""
        return find_split(self.settings, self.strategy, progress.state, data, [] if self.settings.paper else progress.splits)

    def compared(self, progress: Progress, data: Data, split: Split) -> IntArray:
        """The items among which those to show are chosen: all (Algorithm 1), or those of the worst explained combination
        (Algorithm 2); of a split that was shown before, the next worst one.
        """
        if self.settings.algorithm != "targeted" or not progress.active:
            return np.arange(len(self.items))
        modes = progress.state.posterior.cpu().numpy() > 0.5
        errors = weighted_errors(progress.state, data)
        return targeted_items(modes, errors, split.posterior > 0.5, self.settings.exemplars, split.before)

    def shown(self, progress: Progress, split: Split, compared: IntArray) -> tuple[IntArray, IntArray]:
        """The items to show, of either side."""
        random = np.random.default_rng([self.settings.seed, progress.step])
        return exemplars(split.posterior, compared, self.settings.exemplars, random)

    def contrast(self, progress: Progress, positive: IntArray, negative: IntArray) -> Contrast:
        """The contrast of those items."""
        texts = [record.text for record in progress.active]
        return build_contrast(self.items, positive, negative, progress.train_answers, texts)

    def best_candidate(
        self, progress: Progress, data: Data, wordings: list[str], least: float = float("-inf")
    ) -> Candidate | None:
        """The wording whose gain of the bound is furthest above what it must be, `least_gain` and `least`, if one is."""
        texts = self.usable(progress, [*wordings, *progress.pool] if self.settings.reconsider else wordings)
        if not texts:
            return None
        judge, judged = judge_of(progress.state, data, self.settings.refit_steps)
        base = cache(lambda: better_start(judge, judged, steps_of(judge.model, self.settings.refit_steps))[1])
        found = self.ranked(progress, judge, judged, {text: progress.pool[text] for text in texts}, base)
        put = combinations(self.settings, progress, judge, judged, self.counts(progress))
        found += self.ranked(progress, judge, judged, {text: pack(answers) for text, answers in put.items()}, base)
        excess = [(one.gain - least_gain(self.settings, progress, one), one) for one in found]
        most, best = max(excess, key=lambda pair: pair[0], default=(0.0, None))
        return best if best is not None and most > 0 and best.gain >= least else None

    def usable(self, progress: Progress, texts: Iterable[str]) -> list[str]:
        """Those that have answers on all training items, neither too rare nor too common, and are not in the model."""
        active, share = {record.text for record in progress.active} | self.vetoed, self.settings.smallest_share
        known = [text for text in dict.fromkeys(texts) if text not in active and text in progress.pool]
        whole = [text for text in known if asked(progress.pool[text]).all()]
        return [text for text in whole if is_balanced(unpack(progress.pool[text]), share)]

    def ranked(
        self, progress: Progress, judge: State, data: Data, wordings: Mapping[str, NDArray[np.int8]], base: OwnBound = None
    ) -> list[Candidate]:
        """Wordings, with their answers on the training items as in a pool, (T,), by what each would bring to a model of
        `judge_of`, the best first; none like one in it. base: see `rank_candidates`."""
        if not wordings:
            return []
        texts, answers = list(wordings), unpacked(list(wordings.values()))
        steps = steps_of(judge.model, self.settings.refit_steps)
        given = torch.from_numpy(progress.layers_of(texts)) if progress.state.model.features.annotators else None
        found = rank_candidates(judge, data, texts, answers, steps, partial(self.oracle.error_rates, self.items), given, base)
        return counted(progress, self.oracle, self.items, found)

    def counts(self, progress: Progress) -> Counts:
        """How many wordings each of some texts was chosen from beside others."""
        return lambda texts: self.oracle.searched(self.items, texts, progress.one_by_one)

    def keep(self, progress: Progress, candidate: Candidate, origin: str = "mined") -> Event:
        """Make a candidate part of the model, ask about parts only asked the other way round, and about it on the test items."""
        complete(progress.pool, parts_of(candidate.text), lambda missing: self.oracle.answer(self.items, missing))
        progress.pool.setdefault(candidate.text, pack(candidate.answers))
        if not self.settings.test_at_end:
            self.test(progress, [candidate.text])
        if self.adopts_trials(progress):
            progress.state = candidate.state
        else:
            kept = list(range(progress.state.posterior.shape[1]))
            progress.state = progress.state.with_columns(kept, candidate.state.posterior[:, -1:])
            progress.state.error_rates[-1] = candidate.state.error_rates[-1]
        name, tries = f"f{len(progress.features) + 1}", (candidate.searched, candidate.searched_alone)
        progress.features.append(FeatureRecord(name, candidate.text, origin, candidate.gain, progress.step, None, *tries))
        self.refit(progress)
        return "add", candidate.text

    def test(self, progress: Progress, texts: Sequence[str]) -> None:
        """Have the answers of the test items to questions."""
        complete(progress.test_pool, texts, lambda missing: self.oracle.answer(self.test_items, missing))

    def prune(self, progress: Progress, priced: bool = False) -> list[Event]:
        """Algorithm 3: take out the feature whose removal costs the bound least; none that was cut before and came back (as
        published, any).

        priced: of all features the one whose removal costs least beside the price it saves, if it costs less than that.
        """
        steps = self.settings.refit_steps
        judge, data = judge_of(progress.state, self.training_data(progress), steps)
        steps = steps_of(judge.model, steps)
        own = prices(self.settings, progress, freedoms(judge, data)) if priced else limits_of_cuts(self.settings, progress)
        least = [float("-inf") if one.text in self.locked else each for one, each in zip(progress.active, own, strict=True)]
        if not (free := [each for each in least if each > float("-inf")]):
            return []
        # Where all prices are equal, they make no difference, and none by rounding either.
        saved = data.targets.new_tensor([each - min(free) if priced else min(each, 0.0) for each in least])
        removal = least_useful(judge, data, steps, prices=saved)
        if refit(judge.copy(), data, steps).total - removal.bound >= least[removal.feature]:
            return []
        record = progress.active[removal.feature]
        record.removed_at = progress.step
        if judge is progress.state and self.adopts_trials(progress):
            progress.state, progress.bound = removal.state, removal.bound
        else:
            kept = [k for k in range(data.answers.shape[1]) if k != removal.feature]
            progress.state = progress.state.with_columns(kept)
            self.refit(progress)
        return [("prune", record.text)]

    def adopts_trials(self, progress: Progress) -> bool:
        """Whether a judge's trial states are states of this run: closed forms, fitted by coordinate updates."""
        return self.strategy.adopts_trials(progress.state.model)

    def refit(self, progress: Progress) -> None:
        """Fit the model after a change of its features; a guide in training learns on by itself."""
        if self.strategy.training is None:
            steps = steps_of(progress.state.model, self.settings.refit_steps)
            progress.bound = self.strategy.refit(progress.state, self.training_data(progress), steps).total

    def note_best(self, progress: Progress) -> None:
        """Remember the model if its bound, after the price of its features, is the highest so far."""
        steps = self.settings.refit_steps
        judge, data = judge_of(progress.state, self.training_data(progress), steps)
        judged = progress.bound if judge is progress.state else refit(judge, data, steps_of(judge.model, steps)).total
        best, ids = progress.best, [record.id for record in progress.active]
        now = Snapshot(progress.step, ids, progress.state, progress.bound, judged, freedoms(judge, data))
        if best is None or judged - cost(self.settings, progress, now) > best.judged - cost(self.settings, progress, best):
            progress.best = replace(now, state=progress.state.copy())

    def finish(self, progress: Progress) -> list[Event]:
        """One step of the end: back to the best model, out with features not worth keeping, then test questions and last fit."""
        if not progress.settled:
            self.restore_best(progress)
            progress.settled = True
        events = self.prune(progress, priced=True) if progress.active and self.settings.smallest_worth != 0 else []
        if events:
            return events
        kept = [record.text for record in progress.active]
        self.test(progress, kept)
        if self.held_items:
            complete(progress.held_pool, kept, lambda missing: self.oracle.answer(self.held_items, missing))
        self.last_fit(progress)
        return [("final", "")]

    def last_fit(self, progress: Progress) -> None:
        """Fit the final model to the end: onwards where M-steps are exact; networks, which saw the items too often, afresh."""
        data, most = self.training_data(progress), self.settings.final_steps
        if self.adopts_trials(progress):
            usual = partial(better_start, fitted=self.strategy.conclude)
            progress.state, progress.bound = (self.strategy.last_fit or usual)(progress.state, data, most)
            self._perhaps_apart(progress, lambda apart: usual(apart, data, most))
            return
        link = progress.state.model.link.fresh().to(data.targets.device)
        model = progress.state.model.resized(progress.state.model.features, link)
        progress.state = State(model, progress.state.error_rates, progress.state.prior(data.answers))
        steps = None if self.strategy.training is not None else steps_of(model, most)
        progress.bound = self.strategy.fit(progress.state, data, steps)[-1].total
        self._perhaps_apart(progress, lambda apart: (apart, self.strategy.fit(apart, data, steps)[-1].total))
        if self.settings.posterior == "nuts":
            add_draws(progress.state, data, self.settings.seed)

    def _perhaps_apart(self, progress: Progress, fitted: Callable[[State], tuple[State, float]]) -> None:
        """With `error_rates` auto: tell the rates of answers yes and no apart where the bound is clearly better for it.

        Not where a step is training, which would take as long again.
        """
        model = progress.state.model
        closed = model.has_closed_form and self.strategy.training is None and not model.features.annotators
        if self.settings.error_rates != "auto" or not progress.active or not closed:
            return
        apart, bound = fitted(progress.state.told_apart())
        if clearly_better(progress.bound, bound, apart, self.training_data(progress)):
            progress.state, progress.bound = apart, bound

    def restore_best(self, progress: Progress) -> None:
        """Go back to the best model of the run; no test item has a say in which that is."""
        if (best := progress.best) is None:
            return
        for record in progress.features:
            if record.id in best.ids:
                record.removed_at = None
            elif record.active:
                record.removed_at = progress.step
        progress.state, progress.bound = best.state.copy(), best.bound
