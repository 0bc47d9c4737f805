"""What both estimators are made of: a run of `discover`, or a fit to answers that are given, behind scikit-learn's methods."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from genz_ppl.discovery.discover import Discovery, discover
from genz_ppl.errors import InputError, OptionError
from genz_ppl.estimators.explainers import Explainer, Given, Mined, posterior_of
from genz_ppl.inference.fit import fit
from genz_ppl.llm.base import FoundationModel
from genz_ppl.settings import AUTO
from genz_ppl.types import FloatArray

# Rows that a fit needs: two to train on, and one that a run keeps aside.
LEAST_ROWS = 3
ANSWERS, POSTERIOR = "answers", "posterior"


class GenZEstimator(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn publishes no types
    """Base of `GenZRegressor` and `GenZClassifier`: their parameters and what does not depend on the kind of target."""

    def __init__(
        self,
        model: str | FoundationModel = "rules",
        *,
        answers: bool = False,
        text: str | Sequence[str] | None = None,
        covariates: Sequence[str] = (),
        link: str = AUTO,
        likelihood: str = AUTO,
        inference: str = "auto",
        cycles: int = 10,
        add: int = 5,
        cut: int = 2,
        max_features: int | None = None,
        settings: Mapping[str, Any] | None = None,
        model_settings: Mapping[str, Any] | None = None,
        store: str | None = None,
        output: str = POSTERIOR,
        random_state: Any = 0,
    ) -> None:
        self.model = model
        self.answers = answers
        self.text = text
        self.covariates = covariates
        self.link = link
        self.likelihood = likelihood
        self.inference = inference
        self.cycles = cycles
        self.add = add
        self.cut = cut
        self.max_features = max_features
        self.settings = settings
        self.model_settings = model_settings
        self.store = store
        self.output = output
        self.random_state = random_state

    @property
    def questions_(self) -> list[str]:
        """The K questions that were found, or the columns of answers that were given."""
        check_is_fitted(self)
        return self._explainer.texts

    @property
    def run_(self) -> Discovery:
        """The run behind a fit: its table of features, its report, its program. OptionError where answers were given."""
        check_is_fitted(self)
        if not isinstance(self._explainer, Mined):
            raise OptionError("run_: answers=True fits to answers that are given, without a run; see questions_ and result_")
        return self._explainer.run

    def transform(self, X: Any) -> FloatArray:
        """Questions as features for another model, (T, K) float64: the answers (1, 0, NaN), or with output="posterior" the
        probability of a yes given the answer, which knows the question's error rate and is never NaN.
        """
        table = self._table(X)
        answers = self._explainer.answers(table)
        return answers if self.output == ANSWERS else posterior_of(self._explainer.state, answers)

    def get_feature_names_out(self, input_features: Any = None) -> Any:
        """The questions, (K,) of str: the columns of `transform`."""
        return np.array(self.questions_, dtype=object)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = not self.answers
        return tags

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_explainer")

    def _checked(self, X: Any, y: Any, numeric: bool) -> tuple[pd.DataFrame, Any]:
        """X as a table, and y, (T,) or of numbers also (T, D). Raises ValueError for what scikit-learn refuses."""
        if self.output not in (ANSWERS, POSTERIOR):
            raise OptionError(f"output: expected {ANSWERS} or {POSTERIOR}, got {self.output!r}")
        checks = {"dtype": np.float64 if self.answers else None, "ensure_all_finite": "allow-nan"}
        checked, targets = validate_data(
            self, X, y, ensure_min_samples=LEAST_ROWS, multi_output=numeric, y_numeric=numeric, **checks
        )
        return self._named(X, checked), targets

    def _table(self, X: Any) -> pd.DataFrame:
        """New rows as a table with the columns of the fit."""
        check_is_fitted(self)
        checks = {"dtype": np.float64 if self.answers else None, "ensure_all_finite": "allow-nan"}
        return self._named(X, validate_data(self, X, reset=False, **checks))

    def _named(self, X: Any, checked: Any) -> pd.DataFrame:
        """Rows numbered, columns by their names; those of arrays are x0, x1, ... as scikit-learn calls them."""
        frame = X if isinstance(X, pd.DataFrame) else pd.DataFrame(checked, columns=getattr(self, "feature_names_in_", None))
        if not hasattr(self, "feature_names_in_"):
            frame = frame.set_axis([f"x{number}" for number in range(frame.shape[1])], axis=1)
        return frame.reset_index(drop=True)

    def _means(self, X: Any) -> tuple[FloatArray, FloatArray | None]:
        """Predictions for new rows: see `Explainer.means`."""
        table = self._table(X)
        return self._explainer.means(table)

    def _explained(self, table: pd.DataFrame, targets: FloatArray, names: Sequence[str], likelihood: str) -> Self:
        """Find the questions that explain targets, (T, D), of these names, or fit to given answers."""
        seed = self.random_state
        if not isinstance(seed, int | np.integer):
            seed = check_random_state(seed).randint(2**31)
        common: dict[str, Any] = {"link": self.link, "likelihood": likelihood, "inference": self.inference, "seed": int(seed)}
        how = self._given if self.answers else self._mined
        self._explainer: Explainer = how(table, targets, names, common)
        return self

    def _mined(self, table: pd.DataFrame, targets: FloatArray, names: Sequence[str], common: dict[str, Any]) -> Mined:
        """A run on all rows but one: a run has items that it tests on."""
        own = [_unlike(name, table.columns) for name in names]
        frame = pd.concat([table, pd.DataFrame(targets, columns=own, index=table.index)], axis=1)
        search: dict[str, Any] = {"cycles": self.cycles, "add": self.add, "cut": self.cut, "max_features": self.max_features}
        search |= {"test_fraction": 1 / len(frame)} | dict(self.settings or {})
        roles: dict[str, Any] = {"target": own, "text": self.text, "covariates": list(self.covariates)}
        served: dict[str, Any] = {"store": self.store, "model_settings": self.model_settings, "progress": False}
        return Mined(discover(frame, self.model, **served, **roles, **common, **search), self.model_settings)

    def _given(self, table: pd.DataFrame, targets: FloatArray, names: Sequence[str], common: dict[str, Any]) -> Given:
        """A fit to the columns that hold answers."""
        lacking = [name for name in self.covariates if name not in table.columns]
        if lacking:
            raise InputError(f"covariates: expected columns of X, and there is no {lacking[0]!r}")
        questions = [name for name in table.columns if name not in set(self.covariates)]
        inputs = table[questions].to_numpy(dtype=np.float64), table[list(self.covariates)].to_numpy(dtype=np.float64)
        given = {"likelihood": "gaussian", "link": "linear"}
        common |= {name: value for name, value in given.items() if common[name] == AUTO}
        result = fit(inputs[0], targets, inputs[1], **common, **dict(self.settings or {}))
        return Given(result, questions, list(self.covariates))


def _unlike(name: str, columns: Any) -> str:
    """The name, with _ behind it as often as it is one of the columns."""
    while name in set(columns):
        name += "_"
    return name
