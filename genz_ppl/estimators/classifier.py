"""`GenZClassifier`: classes explained by questions, for scikit-learn."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from genz_ppl.errors import OptionError
from genz_ppl.estimators.base import GenZEstimator
from genz_ppl.settings import AUTO, CLASS_LIKELIHOODS
from genz_ppl.types import FloatArray


class GenZClassifier(ClassifierMixin, GenZEstimator):  # type: ignore[misc]
    """Finds yes/no questions about the rows of a table whose answers explain a class, two or more, and predicts by them.

    Parameters and attributes: as of `GenZRegressor`, and classes_, the sorted labels. likelihood: "auto" is bernoulli for two
    classes, else categorical.
    """

    def fit(self, X: Any, y: Any) -> Self:
        """Find the questions. y: (T,) of labels. Raises ValueError for what does not fit, before anything is asked."""
        table, labels = self._checked(X, y, numeric=False)
        check_classification_targets(labels)
        self.classes_, codes = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y: expected two classes or more, got one class, {self.classes_[0]!r}")
        if self.likelihood not in (AUTO, *CLASS_LIKELIHOODS):
            raise OptionError(f"likelihood: {self.likelihood!r} is of numbers; expected auto or {' or '.join(CLASS_LIKELIHOODS)}")
        likelihood = ("bernoulli" if len(self.classes_) == 2 else "categorical") if self.likelihood == AUTO else self.likelihood
        return self._explained(table, codes.reshape(-1, 1).astype(np.float64), ["y"], likelihood)

    def predict_proba(self, X: Any) -> FloatArray:
        """(T, classes), in the order of classes_: predictive probabilities, wrong answers averaged over."""
        chances, _ = self._means(X)
        return chances if chances.shape[1] > 1 else np.hstack([1 - chances, chances])

    def predict(self, X: Any) -> Any:
        """(T,): the most probable label."""
        chances = self.predict_proba(X)
        return self.classes_[chances.argmax(axis=1)]
