"""Caps and limits that hold for all workers of a run, on whatever host, since they are set aside in the shared store."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, cast

from genz_ppl.llm.served.budget import Budget, Caps, Limits, Reservation
from genz_ppl.llm.served.prices import Price
from genz_ppl.llm.served.spending import Spending
from genz_ppl.llm.store.interface import Store
from genz_ppl.llm.store.store import AnswerStore

if TYPE_CHECKING:
    from genz_ppl.llm.store.postgres.store import PostgresStore


class SharedBudget(Budget):
    """A `Budget` that is a row of the database.

    limits: caps and limits a minute, which the run has from now on; None for those that it has. Raises OptionError for a cap on
    cost without a price.
    """

    def __init__(
        self,
        store: PostgresStore,
        run: int,
        price: Price | None,
        model: str,
        limits: tuple[Caps, Limits, Spending] | None = None,
    ) -> None:
        from genz_ppl.llm.store.postgres import ledger  # psycopg is an extra

        self._store, self._run, self._room = store, run, ledger.room
        super().__init__(ledger.caps_of(store, run) if limits is None else limits[0], price, None, model)
        if limits is not None:
            ledger.set_limits(store, run, *limits)

    @property
    def spent(self) -> Spending:
        """By all workers of the run, and what their calls under way may use."""
        return self._store.spent(self._run)

    @spent.setter
    def spent(self, _: Spending) -> None:
        """The database knows better."""

    def take(
        self, kind: str, model: str, most: Spending, likely_tokens: float, likely_cost: float, paced: bool = True
    ) -> Reservation | None:
        """Set aside what a call may use at most, with its entry in the journal; None where it is to be tried again.

        paced: whether its requests count for the limits a minute, too. Raises CapReachedError if no call is under way and it does
        not fit.
        """
        likely = {"requests": float(most.calls) if paced else 0.0, "tokens": likely_tokens, "cost": likely_cost}
        found = self._room(self._store, self._run, kind, model, most, likely)
        if found.attempt is not None:
            return Reservation(most, found.attempt, found.wait)
        if found.under_way:
            return None
        self.caps = found.caps
        raise self.stop(found.spent, most)

    def settle(self, reservation: Reservation, spent: Spending) -> None:
        """Nothing to do: settling the attempt in the store does."""


def open_budget(store: Store, run: int, price: Price | None, model: str, given: tuple[Caps, Limits, Spending] | None) -> Budget:
    """The budget of a run in a store. given: what the run has from now on; None for a run that another process has opened.

    Raises OptionError for a cap on cost without a price.
    """
    if not isinstance(store, AnswerStore):
        return SharedBudget(cast("PostgresStore", store), run, price, model, given)
    caps, _, spent = given or (Caps(), Limits(), Spending())
    return Budget(caps, price, _larger(store.spent(run), spent), model)


def _larger(one: Spending, other: Spending) -> Spending:
    first, second = asdict(one), asdict(other)
    return Spending(**{name: max(first[name], second[name]) for name in first})
