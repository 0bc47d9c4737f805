"""`GenZRegressor`: numbers explained by questions, for scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import RegressorMixin

from genz_ppl.errors import OptionError
from genz_ppl.estimators.base import GenZEstimator
from genz_ppl.settings import CLASS_LIKELIHOODS


class GenZRegressor(RegressorMixin, GenZEstimator):  # type: ignore[misc]
    """Finds yes/no questions about the rows of a table whose answers explain a number or several, and predicts by them.

    model: who answers and words questions, as in `discover`: "rules" (embedded, the default), "table:FILE", "openai:NAME",
    "similarity", or an object with answer, propose and suggest. answers: True if X holds answers already, 1, 0 and NaN, in
    all columns but the covariates: then nothing is asked, and the model is `genz_ppl.inference.fit`.
    text: the columns a model reads, or a template "{title} ({year})"; None: all. covariates: columns of numbers that the model
    p(y | z, x) has beside the questions. link, likelihood, inference, cycles, add, cut, max_features: as in
    `DiscoverSettings`; settings: others of it (of `fit` where answers are given). model_settings, store: of a served model,
    as in `discover`; its answers are shared by all fits that have the store, so that folds pay once.
    output: what `transform` gives, "posterior" or "answers". random_state: int, RandomState, or None (another search each time).

    After `fit`: questions_, run_ (the `Discovery`, with features, report and program), n_features_in_, feature_names_in_.
    X: a DataFrame of any columns, or an array, whose columns are x0, x1, ...; missing cells are allowed. All
    rows train but one, the last in the permutation of the seed, which a run keeps aside; `settings={"test_fraction": 0.2}`
    keeps more.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Find the questions. y: (T,) or (T, D), finite numbers. ValueError for what does not fit, before anything is asked."""
        table, targets = self._checked(X, y, numeric=True)
        if self.likelihood in CLASS_LIKELIHOODS:
            raise OptionError(f"likelihood: {self.likelihood!r} is of classes; expected one of numbers, or take GenZClassifier")
        self._single = targets.ndim == 1
        names = [str(name) for name in y.columns] if isinstance(y, pd.DataFrame) else None
        names = names or (["y"] if self._single else [f"y{number}" for number in range(targets.shape[1])])
        return self._explained(table, targets.reshape(len(table), -1).astype(np.float64), names, self.likelihood)

    def predict(self, X: Any, return_std: bool = False) -> Any:
        """Predictive means, (T,) or (T, D) as y was; with return_std also their standard deviations, of the same shape."""
        mean, sd = self._means(X)
        assert sd is not None
        if self._single:
            mean, sd = mean[:, 0], sd[:, 0]
        return (mean, sd) if return_std else mean

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
