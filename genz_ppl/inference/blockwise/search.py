"""Which of many questions, all answered, explain the targets of items in blocks: additions by worth, refits and cuts.

Algorithms 3 and 4 where nothing has to be asked: every column of answers competes at every addition, as in a run that has its
pool. The rules are those of a run: a question must bring, and be worth in the end, what the best of all would by chance; a cut
question that comes back is not cut again; a round that leaves the questions as it found them is the last; then the best model so
far is taken and what is not worth its price goes. What is done is written down after every change, so that a stopped search
goes on.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np

from genz_ppl.inference.blockwise.files import blocks_in, digest_of, marks_of, write_whole
from genz_ppl.inference.blockwise.fit import BlockFit, fit_blocks
from genz_ppl.inference.blockwise.fitting import BlockState, Fitting
from genz_ppl.inference.blockwise.moments import Agreement, agreement_of, joined_agreement
from genz_ppl.inference.blockwise.runners import Here, Runner
from genz_ppl.inference.blockwise.sample import sampled
from genz_ppl.inference.blockwise.scores import removal_losses, scores
from genz_ppl.inference.blockwise.trials import Trials
from genz_ppl.inference.worth.chance import chance_gain
from genz_ppl.models.features import check_error_rate_prior
from genz_ppl.settings import DiscoverSettings
from genz_ppl.types import FloatArray


@dataclass(frozen=True)
class SearchRules:
    """The settings of a run of these names, see `DiscoverSettings`, with its defaults. Raises OptionError as that does."""

    add: int = DiscoverSettings.add
    cut: int = DiscoverSettings.cut
    cycles: int = DiscoverSettings.cycles
    max_features: int | None = None
    refit_steps: int = DiscoverSettings.refit_steps
    final_steps: int = DiscoverSettings.final_steps
    smallest_share: float = DiscoverSettings.smallest_share
    smallest_gain: float | None = None
    smallest_worth: float | None = None

    def __post_init__(self) -> None:
        DiscoverSettings(**asdict(self))


@dataclass(frozen=True)
class BlockEvent:
    """A change of the model. event: "add", "cut" or "prune", the last at the end; column: of answers; bound: after it, in the
    units of the targets; gain: nats that an addition brought before the whole model was refitted."""

    event: str
    column: int
    bound: float
    gain: float | None = None


OnEvent = Callable[[BlockEvent], None]


@dataclass
class Stand:
    """Where a search is. cut: columns that were cut once; before: those in use when the round began."""

    state: BlockState
    best: BlockState
    events: list[BlockEvent] = field(default_factory=list)
    cycle: int = 1
    added: int = 0
    exhausted: bool = False
    cuts: int = 0
    cut: set[int] = field(default_factory=set)
    before: tuple[int, ...] = ()
    settled: bool = False


class Search:
    """The search in a folder `place` that all workers see."""

    def __init__(
        self, fitting: Fitting, files: Sequence[Path], place: Path, rules: SearchRules, on_event: OnEvent | None
    ) -> None:
        self.fitting, self.place, self.rules, self.on_event = fitting, place.absolute(), rules, on_event
        prior = fitting.layer.concentration.tolist()
        self._mark = digest_of([prior, asdict(rules), marks_of(files)])
        moments = fitting.moments
        share = moments.yes / np.maximum(moments.answered, 1.0)
        fair = (moments.answered > 0) & (share >= rules.smallest_share) & (share <= 1 - rules.smallest_share)
        self.candidates: list[int] = np.flatnonzero(fair).tolist()
        self._agreement: Agreement | None = None

    def run(self) -> Stand:
        """To the end; the model of `Stand.state` had its last cuts, and waits for its last fit."""
        self.place.mkdir(parents=True, exist_ok=True)
        stand = self._resumed() or self._begun()
        while self._moved(stand):
            self._save(stand)
        return stand

    def _begun(self) -> Stand:
        shutil.rmtree(self.place, ignore_errors=True)
        state = self.fitting.refit(self.fitting.blank(()), (), self._folder(0) / "blank", self.rules.refit_steps)
        return Stand(state, state)

    def _moved(self, stand: Stand) -> bool:
        """One step of Algorithm 4; False at the end."""
        rules, active = self.rules, stand.state.features
        room = rules.max_features is None or len(active) < rules.max_features
        if stand.settled:
            return self._pruned(stand)
        if stand.added < rules.add and room and not stand.exhausted and self._added(stand):
            return True
        if stand.cuts < rules.cut and stand.added > 0 and len(active) > 1:
            stand.cuts += 1
            if self._cut(stand):
                return True
        if stand.added == 0 or stand.cycle >= rules.cycles or set(stand.state.features) == set(stand.before):
            stand.state, stand.settled = stand.best, True
            return True
        stand.cycle, stand.before = stand.cycle + 1, stand.state.features
        stand.added, stand.cuts, stand.exhausted = 0, 0, False
        return True

    def _added(self, stand: Stand) -> bool:
        """Algorithm 1 with all columns as its candidates; whether one was good enough."""
        left = [column for column in self.candidates if column not in stand.state.features]
        trials = self._trials(stand)
        best = trials.best(stand.state, left, self._agree()) if left else None
        if best is None or best.gain <= self._least(not stand.state.features):
            stand.exhausted = True
            return False
        features = best.state.features
        kept = best.state.start(range(len(features)))
        stand.state = self.fitting.refit(best.state.parameters, features, trials.place / "kept", trials.steps, kept)
        stand.added += 1
        self._note(stand, BlockEvent("add", best.column, stand.state.bound, best.gain))
        return True

    def _cut(self, stand: Stand) -> bool:
        """Algorithm 3: the question that costs least goes, but none that was cut before and came back."""
        saved = np.array([-np.inf if column in stand.cut else 0.0 for column in stand.state.features])
        if not np.isfinite(saved).any():
            return False
        place, without = self._trials(stand).least_useful(stand.state, saved)
        column = stand.state.features[place]
        stand.cut.add(column)
        stand.state = without
        self._note(stand, BlockEvent("cut", column, without.bound))
        return True

    def _pruned(self, stand: Stand) -> bool:
        """At the end: the question whose removal costs least goes if that is less than its price."""
        state, worth = stand.state, self.rules.smallest_worth
        if not state.features or worth == 0:
            return False
        trials, price = self._trials(stand), self._chance(len(state.features) == 1) if worth is None else worth
        place, without = trials.least_useful(state, np.zeros(len(state.features)))
        whole = self.fitting.refit(
            state.parameters, state.features, trials.place / "whole", trials.steps, state.start(range(len(state.features)))
        )
        if whole.bound - without.bound >= price:
            return False
        stand.state = without
        self._note(stand, BlockEvent("prune", state.features[place], without.bound))
        return True

    def _least(self, first: bool) -> float:
        """Nats that an addition must bring."""
        return self._chance(first) if self.rules.smallest_gain is None else self.rules.smallest_gain

    def _chance(self, first: bool) -> float:
        return chance_gain(len(self.candidates), self.fitting.moments.n_targets, first)

    def _cost(self, state: BlockState) -> float:
        """The price of a model's questions together, as `discovery.mine.price.cost` has it."""
        worth = self.rules.smallest_worth
        each = [self._chance(number == 0) if worth is None else worth for number in range(len(state.features))]
        return sum(each)

    def _note(self, stand: Stand, event: BlockEvent) -> None:
        """Remember the model if its bound after the price of its questions is the highest so far; tell of the event."""
        stand.events.append(event)
        if not stand.settled and stand.state.bound - self._cost(stand.state) > stand.best.bound - self._cost(stand.best):
            stand.best = stand.state
        if self.on_event is not None:
            self.on_event(event)

    def _agree(self) -> Agreement:
        if self._agreement is None:
            self._agreement = self.fitting.runner.joined(agreement_of, self.fitting.files, joined_agreement)
        return self._agreement

    def _trials(self, stand: Stand) -> Trials:
        """In the folder of the next event, empty at first: an earlier try may have been stopped."""
        folder = self._folder(len(stand.events) + 1)
        shutil.rmtree(folder, ignore_errors=True)
        return Trials(self.fitting, folder, self.rules.refit_steps)

    def _folder(self, number: int) -> Path:
        return self.place / f"event-{number:04d}"

    def _save(self, stand: Stand) -> None:
        """Write down where the search is, then delete what no model needs any more."""
        noted = asdict(replace(stand, state=None, best=None)) | {  # type: ignore[arg-type]
            "mark": self._mark,
            "cut": sorted(stand.cut),
            "state": stand.state.noted(),
            "best": stand.best.noted(),
        }
        write_whole(self.place / "search.json", json.dumps(noted))
        needed = {Path(state.task.folder) for state in (stand.state, stand.best)}
        for folder in self.place.glob("event-*/*"):
            if folder not in needed:
                shutil.rmtree(folder, ignore_errors=True)

    def _resumed(self) -> Stand | None:
        """Where a stopped search of the same blocks was; None where there is none."""
        try:
            noted = json.loads((self.place / "search.json").read_text())
            if noted.pop("mark") != self._mark:
                return None
            state, best = (BlockState.read(noted.pop(name)) for name in ("state", "best"))
            events = [BlockEvent(**event) for event in noted.pop("events")]
            cut, before = set(noted.pop("cut")), tuple(noted.pop("before"))
            stand = Stand(state, best, events, cut=cut, before=before, **noted)
        except (OSError, ValueError, KeyError, TypeError):
            return None
        there = (one.task.kept(file).exists() for one in (state, best) for file in self.fitting.files)
        return stand if all(there) else None


@dataclass(frozen=True)
class BlockSearch:
    """What `search_blocks` found. fit: of its questions, `fit.features`, to all items. n_searched: items that it looked at.

    losses: nats that the bound loses without each, the others' posteriors as they are; prevalence: mean of q; both (K,), of all
    items.
    """

    fit: BlockFit
    events: tuple[BlockEvent, ...]
    n_searched: int
    losses: FloatArray
    prevalence: FloatArray


def search_blocks(
    folder: str | Path,
    rules: SearchRules | None = None,
    runner: Runner | None = None,
    work: str | Path | None = None,
    sample: int | None = None,
    error_rate_prior: tuple[float, float] = (1.0, 9.0),
    on_event: OnEvent | None = None,
    seed: int = 0,
) -> BlockSearch:
    """Find which of the questions, whose answers are columns of the blocks in a folder, explain the targets, and fit those.

    rules: by default those of a run. runner, work, error_rate_prior: as in `fit_blocks`; a search that was stopped goes on after
    its last change; none: "search" in `folder`. sample: questions are chosen on about so many items, drawn from all blocks from
    `seed` and written into `work` as blocks; None: on all. The last fit is always to all. on_event: is told every change.
    With all items each gain, bound and choice is what `genz_ppl.inference.worth` finds in memory under the paper's model.
    Raises InputError for blocks that cannot be read or hold missing numbers; ModelError where workers fail for good.
    """
    check_error_rate_prior(error_rate_prior)
    rules, runner, files = rules or SearchRules(), runner or Here(), blocks_in(folder)
    place = Path(work) if work is not None else Path(folder) / "search"
    searched = files if sample is None else sampled(files, place / "sample", sample, seed)
    fitting = Fitting(searched, runner, error_rate_prior)
    stand = Search(fitting, searched, place / "changes", rules, on_event).run()
    state, events = stand.state, tuple(stand.events)
    if searched is not files:
        whole, rates = Fitting(files, runner, error_rate_prior), state.parameters.error_rates
        more = partial(fit_blocks, features=state.features, starting_rates=rates, error_rate_prior=error_rate_prior)
        fit = more(folder, rules.final_steps, runner, place / "last")
    else:
        whole, places = fitting, range(len(state.features))
        found = Trials(whole, place / "last", rules.final_steps).refit(state, "fit", state.parameters, state.features, places)
        fit = BlockFit(found.parameters, np.array([found.bound]), whole.moments.n, whole.files, found.task)
    present = place / "found.npz"
    fit.parameters.save(present)
    last_state = BlockState(fit.parameters, replace(fit.task, parameters=str(present.absolute())), float(fit.bounds[-1]))
    sums = scores(whole, last_state, ())
    prevalence = sums.normal.diagonal()[: len(fit.features)].numpy() / whole.moments.n
    return BlockSearch(fit, events, fitting.moments.n, removal_losses(whole, last_state, sums), prevalence)
