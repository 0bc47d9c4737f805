"""Refits that try a question more or less: what `genz_ppl.inference.worth` ranks wordings and removals by, over blocks.

Every trial is E- and M-steps over all blocks, with q of its own in a folder of its own, deleted unless the trial is adopted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from genz_ppl.inference.blockwise.fitting import BlockState, Fitting
from genz_ppl.inference.blockwise.moments import Agreement
from genz_ppl.inference.blockwise.scores import quick_gains, removal_losses, scores
from genz_ppl.inference.blockwise.steps import Parameters, Start
from genz_ppl.inference.worth import prune
from genz_ppl.inference.worth.candidates import FINALISTS, STARTING_RATE, distinct
from genz_ppl.types import FloatArray


@dataclass(frozen=True)
class BlockCandidate:
    """A column of answers with the nats that it adds to the bound, and the model with it."""

    column: int
    gain: float
    state: BlockState


@dataclass(frozen=True)
class Trials:
    """place: a folder for trials that all workers see; steps: of a refit."""

    fitting: Fitting
    place: Path
    steps: int

    def best(self, state: BlockState, candidates: Sequence[int], agreement: Agreement) -> BlockCandidate | None:
        """Of some columns that which raises the bound most: the first that `rank_candidates` names. None where all answer like
        those in use."""
        gains = quick_gains(self.fitting, state, scores(self.fitting, state, candidates))
        columns = [*candidates, *state.features]

        def apart(one: int, other: int) -> float:
            return agreement.disagreement(columns[one], columns[other])

        order = distinct(gains, apart, range(len(candidates), len(columns)), FINALISTS)
        if not order:
            return None
        base, best = self.refit(state, "base", state.parameters, state.features, range(len(state.features))), None
        base.forget()
        for index in order:
            column = candidates[index]
            features = (*state.features, column)
            trial = self.refit(state, f"add-{column}", extended(state.parameters), features, range(len(state.features)))
            gain = trial.bound - base.bound
            if best is None or gain > best.gain:
                if best is not None:
                    best.state.forget()
                best = BlockCandidate(column, gain, trial)
            else:
                trial.forget()
        return best

    def least_useful(self, state: BlockState, saved: FloatArray) -> tuple[int, BlockState]:
        """The place of the feature whose removal leaves the highest bound, and the model without it.

        saved: (K,), nats that each removal counts for besides; -inf for one that is not to go.
        """
        places = np.flatnonzero(saved > -np.inf).tolist()
        if len(saved) > prune.FINALISTS:
            losses = removal_losses(self.fitting, state, scores(self.fitting, state, ()))
            order = np.argsort(losses - saved, kind="stable")[: prune.FINALISTS].tolist()
            places = sorted(place for place in order if place in places)
        best: tuple[int, BlockState] | None = None
        for place in places:
            kept = [k for k in range(len(saved)) if k != place]
            features = tuple(state.features[k] for k in kept)
            folder = self.place / f"cut-{state.features[place]}"
            trial = self.fitting.refit(chosen(state.parameters, kept), features, folder, self.steps, state.start(kept))
            if best is None or trial.bound + saved[place] > best[1].bound + saved[best[0]]:
                if best is not None:
                    best[1].forget()
                best = place, trial
            else:
                trial.forget()
        assert best is not None
        return best

    def refit(
        self, state: BlockState, name: str, parameters: Parameters, features: Sequence[int], rows: Sequence[int]
    ) -> BlockState:
        """The better of two refits, from the q of a model as far as it has them, and from the answers: see `better_start`."""
        warm = self._one(f"{name}-warm", parameters, features, state.start(rows))
        if not features:
            return warm
        fresh = self._one(f"{name}-fresh", parameters, features, None)
        better, worse = (warm, fresh) if warm.bound >= fresh.bound else (fresh, warm)
        worse.forget()
        return better

    def _one(self, name: str, parameters: Parameters, features: Sequence[int], start: Start | None) -> BlockState:
        return self.fitting.refit(parameters, features, self.place / name, self.steps, start)


def extended(parameters: Parameters) -> Parameters:
    """With one more feature, of no effect yet, whose error rate starts low: see `worth.candidates.extended`."""
    return replace(
        parameters,
        weights=np.concatenate([parameters.weights, np.zeros((1, parameters.weights.shape[1]))]),
        error_rates=np.append(parameters.error_rates, STARTING_RATE),
    )


def chosen(parameters: Parameters, kept: Sequence[int]) -> Parameters:
    """With the features in these places only."""
    return replace(parameters, weights=parameters.weights[list(kept)], error_rates=parameters.error_rates[list(kept)])
