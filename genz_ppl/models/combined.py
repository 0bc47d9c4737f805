"""Effects of combinations of features: what combines them is not asked about, so that it errs where its parts do."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

from genz_ppl.errors import OptionError
from genz_ppl.models.genz import GenZ
from genz_ppl.models.links import InUnits, LinearLink, Link
from genz_ppl.models.priors import Prior

#: Rules of which any may hold; of a rule all parts must, each a feature's position and whether it must not hold.
Rules = Sequence[Sequence[tuple[int, bool]]]


class CombinedLink(Link):
    """A link linear in combinations of the features z, (..., K): f(c, x), with c_j in {0, 1} for each of C combinations.

    A conjunction is the product of its parts, 1 - z of those that must not hold; a disjunction of rules r is
    1 - prod over r of (1 - r). The Pyro program has features, with their error rates, as sites, and beside them the deterministic
    site "combinations" with event shape (C,). own: f, of C features. A feature on its own is a rule of one part. Raises
    OptionError for rules without parts, and for positions that no feature has.
    """

    name = "combined"

    def __init__(self, n_features: int, combinations: Sequence[Rules], own: LinearLink) -> None:
        super().__init__(n_features, own.n_targets, own.n_covariates, own.training_plan)
        self.combinations, self.own = tuple(tuple(tuple(rule) for rule in rules) for rules in combinations), own
        for number, rules in enumerate(self.combinations):
            places = [place for rule in rules for place, _ in rule]
            if not rules or not all(rules) or not all(0 <= place < n_features for place in places):
                raise OptionError(
                    f"combinations: expected rules of (position of a feature, whether it must not hold), positions from 0 to "
                    f"{n_features - 1}, got {rules!r} in combination {number}"
                )

    def combined(self, z: Tensor) -> Tensor:
        """c, (..., C), of features, (..., K), each 0 or 1."""
        columns = [z.new_zeros(*z.shape[:-1], 0)]
        for rules in self.combinations:
            none = z.new_ones(z.shape[:-1])
            for rule in rules:
                holds = [1 - z[..., place] if negated else z[..., place] for place, negated in rule]
                none = none * (1 - torch.stack(holds).prod(0))
            columns.append((1 - none).unsqueeze(-1))
        return torch.cat(columns, dim=-1)

    def forward(self, z: Tensor, covariates: Tensor) -> Tensor:
        """z: (..., K), each 0 or 1; covariates: (..., P). Returns (..., D)."""
        columns = self.combined(z)
        # As `pyro.deterministic`, whose log density is float32, which sums over assignments in float64 do not take.
        site = dist.Delta(columns, event_dim=1)
        value: Tensor = self.own(pyro.sample("combinations", site, obs=columns, infer={"_deterministic": True}), covariates)
        return value

    def function(self) -> Callable[[Tensor, Tensor], Tensor]:
        """See `Link.function`."""
        return lambda z, covariates: self.own(self.combined(z), covariates)

    def with_columns(self, kept: list[int], n_added: int) -> Link:
        """Raises OptionError: what other features would combine to is not known."""
        raise OptionError("combinations: the features of a model of combinations stay as they are; fit another one")

    def priors(self) -> dict[str, Prior]:
        """See `Link.priors`: those of f."""
        return self.own.priors()

    def placed(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """See `Link.placed`."""
        return {f"own.{name}": value for name, value in self.own.placed(values).items()}

    def prior_spread(self, name: str) -> float | Tensor:
        """See `Link.prior_spread`."""
        return self.own.prior_spread(name.removeprefix("own."))

    def parameters_in_units(self, location: InUnits, spread: Tensor, centre: Tensor, width: Tensor) -> dict[str, Tensor]:
        """Those of f, see `LinearLink.parameters_in_units`; its weights of combinations as combination_weights, (C, D), and with
        products combination_interactions, (C, P, D)."""
        found = self.own.parameters_in_units(location, spread, centre, width)
        return {f"combination_{name}" if name in ("weights", "interactions") else name: value for name, value in found.items()}


def of_combinations(model: GenZ) -> GenZ:
    """A model with a `CombinedLink` as one whose features are the combinations; the parameters are the same ones."""
    alone = copy.copy(model)
    # Past `__setattr__`: Pyro refuses a module that has run under another root.
    alone.__dict__["_modules"] = {**model._modules, "link": model.link.own}
    return alone
