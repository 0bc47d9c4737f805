"""What a run knows at a step boundary; enough to go on from there to the same end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from genz_ppl.llm.combined import parse
from genz_ppl.settings import AUTO, DiscoverSettings
from genz_ppl.types import FloatArray, IntArray

if TYPE_CHECKING:  # torch takes a second to import, and tables are read without it
    import torch

    from genz_ppl.inference.state import State

UNASKED = -2
#: Steps in which noise that turns out to have heavy tails begins a run again.
EARLY = 2
NAN = float("nan")
#: What happened ("add", "discard", "prune", "final") and the wording it is about.
Event = tuple[str, str]
#: The learning curve: what a row holds, by column.
CURVE: dict[str, type] = {
    **{"step": int, "cycle": int, "event": str, "feature": str, "n_features": int},
    **{"bound": float, "train_error": float, "test_error": float, "metric": str},
    **dict.fromkeys(("answers_asked", "proposals_asked", "calls", "tokens_in", "tokens_out"), int),
    **{"cost": float, "seconds": float},
}


@dataclass
class FeatureRecord:
    """One feature of a run. gain_when_added: nats by which the bound rose with it. removed_at: None while active.

    searched: how many wordings the model chose it from, see `Oracle.searched`; searched_alone: as the only feature. Known at
    the end of a run, NaN before: gain, nats that the bound would lose without it now; effect with its interval, see
    `FeatureEffects`; strongest: of several targets (or classes) the one it moves most, strongest_effect: by how much.
    """

    id: str
    text: str
    origin: str
    gain_when_added: float
    added_at: int
    removed_at: int | None = None
    searched: float = 1.0
    searched_alone: float = 1.0
    gain: float = NAN
    effect: float = NAN
    effect_lower: float = NAN
    effect_upper: float = NAN
    strongest: str = ""
    strongest_effect: float = NAN

    @property
    def active(self) -> bool:
        """Whether the feature is part of the model now."""
        return self.removed_at is None


@dataclass
class Counters:
    """What was asked of the foundation model so far. answers_asked counts item-feature pairs."""

    answers_asked: int = 0
    proposals_asked: int = 0
    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0


@dataclass
class Snapshot:
    """The model of an earlier step: ids of its features in column order, fitted state and bound.

    judged: the bound of the model that ranks steps, which is the same where its steps have closed forms.
    freedoms: of its features' coefficients, see `freedoms`; None where all are whole.
    """

    step: int
    ids: list[str]
    state: State
    bound: float
    judged: float
    freedoms: list[list[float]] | None = None


@dataclass
class Progress:
    """A run at a step boundary.

    state: the fitted model of the active features, in the order of `active`. n_test: U, the number of test items.
    pool: every wording ever answered on the training items, as int8 of 1, 0, -1 (no valid answer) and -2 (not asked); test_pool:
    the same on the test items, for wordings that were kept at least once (with `DiscoverSettings.test_at_end`, in the end);
    held_pool: the same on the n_held items held back, for those kept in the end.
    layers: of several annotators, or beside labels by people, what each has answered about the items of all three sides,
    (T + U + H, A), of which the pools hold the votes; gold: labels by people of training items, (T,), by question, mined or not;
    bills: what each annotator was asked and cost.
    splits: those last shown, (T,) each, from 0 to 255. cycle_start: the places in the pool of the features that the cycle began
    with. best: the step with the highest bound, less the price of its features, so far. The counts that end in _done, and
    added_in_cycle: where in its cycle the run is. n_kinds: of the pool's wordings, see `Oracle.n_kinds`, 0 where that is not
    known. failures: additions in a row that found nothing. care: with which wordings are screened (see `Race`), from the most
    failures so far. settled: its cycles are over and it is back at the best model. outcome: at the end, a `Summary` of the
    whole as a dictionary; likelihood: the present one of a run that chooses it by the tails of the noise, "" of others; link:
    of one that chooses it by held-out folds the present one, or "auto" until it has looked at them, "" of others; link_scores:
    what they said, a `LinkScore` a link as dictionaries; unit: what effects are in, see `Discovery.unit`.
    While a run is under way its states are on the run's device.
    """

    state: State
    bound: float
    n_test: int
    features: list[FeatureRecord] = field(default_factory=list)
    curve: list[dict[str, Any]] = field(default_factory=list)
    pool: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    test_pool: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    held_pool: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    splits: list[NDArray[np.uint8]] = field(default_factory=list)
    best: Snapshot | None = None
    counters: Counters = field(default_factory=Counters)
    step: int = 0
    cycle: int = 1
    additions_done: int = 0
    updates_done: int = 0
    refinements_done: int = 0
    cuts_done: int = 0
    added_in_cycle: int = 0
    failures: int = 0
    care: int = 0
    settled: bool = False
    seconds: float = 0.0
    status: str = "running"
    unit: str = ""
    n_held: int = 0
    n_kinds: int = 0
    likelihood: str = ""
    link: str = ""
    cycle_start: str = ""
    outcome: dict[str, Any] = field(default_factory=dict)
    link_scores: dict[str, dict[str, float]] = field(default_factory=dict)
    layers: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    gold: dict[str, NDArray[np.int8]] = field(default_factory=dict)
    bills: dict[str, dict[str, float]] = field(default_factory=dict)

    @property
    def active(self) -> list[FeatureRecord]:
        """The features of the model, in column order."""
        return [record for record in self.features if record.active]

    def followed(self, settings: DiscoverSettings) -> DiscoverSettings:
        """Settings with the likelihood and the link that the run has come to."""
        link = settings.link if self.link in ("", AUTO) else self.link
        return replace(settings, likelihood=self.likelihood or settings.likelihood, link=link)

    @property
    def train_answers(self) -> NDArray[np.float64]:
        """Answers to the active features on the training items, (T, K)."""
        return self._columns(self.pool, len(self.state.posterior))

    @property
    def one_by_one(self) -> bool:
        """Whether the wordings of the pool are counted one by one, of numbers, or by kinds, of counts and classes."""
        return self.state.model.likelihood.standardised

    @property
    def n_tried(self) -> int:
        """How many wordings, or kinds of wordings, were tried."""
        return len(self.pool) if self.one_by_one else self.n_kinds or len(self.pool)

    @property
    def tested(self) -> bool:
        """Whether the test items were asked about all active features."""
        return all(record.text in self.test_pool for record in self.active)

    @property
    def test_answers(self) -> NDArray[np.float64]:
        """Answers to the active features on the test items, (U, K); NaN where they are not asked about yet."""
        return self._columns(self.test_pool, self.n_test)

    @property
    def held_asked(self) -> bool:
        """Whether the items held back were asked about all active features, which is so at the end of a run."""
        return all(record.text in self.held_pool for record in self.active)

    @property
    def held_answers(self) -> NDArray[np.float64]:
        """The same of the items held back, (H, K)."""
        return self._columns(self.held_pool, self.n_held)

    def given(self, side: str = "train", places: IntArray | slice = slice(None)) -> FloatArray:
        """What models are fitted to, and predict from: the answers of a side, "train", "test" or "held", (T, K); of several
        annotators, and beside labels, those of each, (T, K, A), the labels last. places: of some of its items only."""
        if not self.state.model.features.annotators:
            sizes = {"train": len(self.state.posterior), "test": self.n_test, "held": self.n_held}
            pools = {"train": self.pool, "test": self.test_pool, "held": self.held_pool}
            return self._columns(pools[side], sizes[side], places)
        return self.layers_of([record.text for record in self.active], side)[places]

    def layers_of(self, texts: Sequence[str], side: str = "train") -> FloatArray:
        """What each annotator has answered to questions, combinations by their parts, (T, len(texts), A), the labels last."""
        features, ends = self.state.model.features, np.cumsum([0, len(self.state.posterior), self.n_test, self.n_held])
        number = ("train", "test", "held").index(side)
        rows = slice(ends[number], ends[number + 1])
        learned = features.annotators - features.known
        blank = np.full((ends[number + 1] - ends[number], features.annotators), np.nan)

        def column(text: str) -> FloatArray:
            """Of one question, (T, A)."""
            found = blank.copy()
            if text in self.layers:
                found[:, :learned] = unpack(self.layers[text][rows])
            if text in self.gold and features.known and side == "train":
                found[:, learned] = unpack(self.gold[text])
            return found

        def combined(text: str) -> FloatArray:
            """The same of combinations that have no answers of their own, by their parts."""
            combination, found = parse(text), column(text)
            if combination is None or text in self.layers:
                return found
            parts = np.stack([column(part.text) for part in combination.parts])
            by_parts = np.stack([combination.answer(parts[:, :, a].T) for a in range(features.annotators)], axis=1)
            return np.where(np.isnan(found), by_parts, found)

        return np.stack([combined(text) for text in texts], axis=1) if texts else blank[:, None][:, :0]

    def vote(self) -> None:
        """Let the pools say what annotators answer together, by the rates that are known of them now."""
        features = self.state.model.features
        if not features.annotators:
            return
        from genz_ppl.inference.annotators.answers import voted  # with torch

        for side, pool in (("train", self.pool), ("test", self.test_pool), ("held", self.held_pool)):
            for text, column in pool.items():
                each = self.state.posterior.new_tensor(self.layers_of([text], side))
                votes = voted(each, features.rates(1)[0]).numpy()[:, 0]
                pool[text] = np.where(asked(column), pack(votes), UNASKED).astype(np.int8)

    def to(self, device: torch.device) -> None:
        """Move the fitted states, in place."""
        if device.type == "cpu" == self.state.posterior.device.type:
            return  # they may be a guide's, which do not move
        self.state = self.state.to(device)
        if self.best is not None:
            self.best.state = self.best.state.to(device)

    def _columns(
        self, pool: dict[str, NDArray[np.int8]], n_items: int, places: IntArray | slice = slice(None)
    ) -> NDArray[np.float64]:
        unknown = np.full(n_items, -1, dtype=np.int8)
        columns = [unpack(pool.get(record.text, unknown)[places]) for record in self.active]
        return np.stack(columns, axis=1) if columns else np.zeros((len(unknown[places]), 0))


def asked(packed: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Where a question was asked, whatever came of it."""
    return packed > UNASKED


def pack(answers: FloatArray) -> NDArray[np.int8]:
    """Answers as int8: 1, 0, and -1 for NaN."""
    return np.where(np.isnan(answers), -1, answers).astype(np.int8)


def unpack(packed: NDArray[np.int8]) -> FloatArray:
    """The reverse of `pack`."""
    return np.where(packed < 0, np.nan, packed.astype(np.float64))


def unpacked(columns: Sequence[NDArray[np.int8]]) -> FloatArray:
    """Entries of a pool side by side, (T, N), each as `unpack` has it."""
    found = np.empty((len(columns[0]), len(columns)))
    for place, column in enumerate(columns):  # one by one: of many items all of them would be held twice
        found[:, place] = unpack(column)
    return found
