"""A recommender that is made: its proof, lists with reasons, weights, its folder and its report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from genz_ppl.errors import InputError, OptionError, RunDirectoryError, did_you_mean
from genz_ppl.recommend import folder as folders
from genz_ppl.recommend.features import ItemFeatures
from genz_ppl.recommend.models import Model
from genz_ppl.recommend.ranking import USERS_AT_ONCE, top_places
from genz_ppl.recommend.reasons import Reason, in_a_line, parts
from genz_ppl.recommend.reporting import write_report
from genz_ppl.recommend.settings import RecommendSettings
from genz_ppl.types import FloatArray, IntArray

# Of the users whose lists a report shows: how many, items of each list, reasons of each item.
SHOWN_USERS, SHOWN_ITEMS, SHOWN_REASONS = 3, 8, 3


class Recommendation:
    """What `recommend` made, or `load` read: nothing here asks a model.

    users, items: ids. about: counts, verdict and what was left out, as in recommend.json.
    """

    def __init__(
        self,
        settings: RecommendSettings,
        users: Sequence[str],
        items: Sequence[str],
        model: Model,
        seen: sparse.csr_array,
        features: ItemFeatures | None,
        about: Mapping[str, Any],
        metrics: Mapping[str, Any],
        paired: pd.DataFrame,
    ) -> None:
        self.settings, self.users, self.items = settings, tuple(users), tuple(items)
        self.model, self.seen, self.features = model, seen, features
        self.about, self._metrics, self._paired = dict(about), dict(metrics), paired
        self._places = {name: at for at, name in enumerate(self.users)}

    def __repr__(self) -> str:
        new = int((~self.model.warm).sum())
        return f"<Recommendation: {self.settings.backbone}, {len(self.users)} users, {len(self.items)} items, {new} of them new>"

    @property
    def metrics(self) -> dict[str, Any]:
        """{split: {"all", "head", "tail", "cold": {metric: [one value a seed]}}} of the fused model (see `judge`)."""
        return dict(self._metrics)

    @property
    def paired(self) -> pd.DataFrame:
        """One row a test: against, stratum, metric, by, n, mean, sd, t, p, wilcoxon_p. Differences: fused minus the other."""
        return self._paired.copy()

    @property
    def verdict(self) -> list[str]:
        """What the tests say, in words."""
        return list(self.about.get("verdict", []))

    @property
    def weights(self) -> pd.DataFrame:
        """(U, K): what a yes adds to a user's score of a new item, users by questions.

        Raises OptionError unless the profiles' answers are fused by `fill`.
        """
        if self.model.fill is None or self.features is None or not self.features.questions:
            raise OptionError("weights: need answers to questions, fused by fill (--features answers --fuse fill)")
        named = [at for at, name in enumerate(self.features.names) if name]
        values = self.model.fill.weights(self.model.factors, np.arange(len(self.users)))[:, named]
        names = [self.features.names[at] for at in named]
        return pd.DataFrame(values, index=pd.Index(self.users, name="user"), columns=names)

    def top(self, users: Sequence[object] | None = None, n: int = 20, why: int = 0, new: bool = False) -> pd.DataFrame:
        """The best n items of each user that they have not chosen: user, rank, item, score, new, with `why` also why.

        users: ids, all if None. new: a list of new items alone, by their own scores; in lists of all items new ones have the
        score of known items that are as likely to be liked. why: how many reasons each item gets (see `explain`).
        Raises InputError for unknown ids, OptionError for an n beyond the catalogue, and where there is no new item.
        """
        places = self._positions(users)
        allowed = ~self.model.warm & self.model.factors.scored if new else self.model.factors.scored
        if new and not allowed.any():
            raise OptionError("--new: there are no new items with a profile; leave it out")
        if not 1 <= n <= allowed.sum():
            which = "new items" if new else "items"
            raise OptionError(f"--top: expected a number from 1 to {int(allowed.sum())}, the number of {which}, got {n}")
        if why < 0:
            raise OptionError(f"--why: expected a number of at least 0, got {why}")
        kept: list[tuple[IntArray, IntArray, IntArray, FloatArray]] = []
        for start in range(0, len(places), USERS_AT_ONCE):
            part = places[start : start + USERS_AT_ONCE]
            block = self.model.factors(part) if new else self.model(part)
            block[:, ~allowed] = -np.inf
            block[self.seen[part].toarray() > 0] = -np.inf
            best = top_places(block, n)
            scores = np.take_along_axis(block, best, 1)
            row, rank = np.nonzero(scores > -np.inf)
            kept.append((part[row], rank, best[row, rank], scores[row, rank].astype(np.float64)))
        user, rank, item, score = (np.concatenate(column) for column in zip(*kept, strict=True))
        return self._table(user, rank, item, score, why)

    def _table(self, user: IntArray, rank: IntArray, item: IntArray, score: FloatArray, why: int) -> pd.DataFrame:
        names, titles = np.array(self.users, dtype=object), np.array(self.items, dtype=object)
        found = pd.DataFrame(
            {
                "user": pd.Series(names[user], dtype="str"),
                "rank": rank.astype(np.int64) + 1,
                "item": pd.Series(titles[item], dtype="str"),
                "score": score,
                "new": ~self.model.warm[item],
            }
        )
        if why:
            lines = [in_a_line(self._parts(one, other), why) for one, other in zip(user.tolist(), item.tolist(), strict=True)]
            found["why"] = pd.Series(lines, dtype="str")
        return found

    def explain(self, user: object, item: object) -> pd.DataFrame:
        """The parts of a score: reason, value, weight, adds. Their sum is the score that the model alone gives.

        For a new item by `fill`: a constant, and each answer times the user's weight. For a known item by ease or l3: the items
        that the user chose, each with its weight. Empty for other models. Raises InputError for unknown ids.
        """
        where = {name: at for at, name in enumerate(self.items)}
        name = str(item)
        if name not in where:
            raise InputError(
                f"there is no item {name[:40]!r}; {did_you_mean(name, self.items)}give one of its {len(self.items)} ids"
            )
        found = self._parts(int(self._positions([user])[0]), where[name])
        return pd.DataFrame(found, columns=list(Reason._fields)).astype(
            {"reason": "str", **dict.fromkeys(Reason._fields[1:], float)}
        )

    def _parts(self, user: int, item: int) -> list[Reason]:
        return parts(self.model, self.features, user, item, self.items)

    def _positions(self, users: Sequence[object] | None) -> IntArray:
        if users is None:
            return np.arange(len(self.users))
        names = [str(one) for one in users]
        unknown = [name for name in names if name not in self._places]
        if unknown:
            more = f" and {len(unknown) - 1} more" if len(unknown) > 1 else ""
            hint = did_you_mean(unknown[0], self.users)
            raise InputError(
                f"there is no user {unknown[0][:40]!r}{more}; {hint}give users of the pairs it was made of, with enough of them"
            )
        return np.array([self._places[name] for name in dict.fromkeys(names)], dtype=np.int64)

    def report(self, path: str | Path) -> None:
        """Write one HTML file: the verdict, the strata, the paired differences, and users with their reasons."""
        users, examples = list(self.users[:SHOWN_USERS]), []
        for which, new in (("all items", False), ("new items", True)):
            open_ = self.model.factors.scored & ~self.model.warm if new else self.model.factors.scored
            if open_.any():
                table = self.top(users, min(SHOWN_ITEMS, int(open_.sum())), SHOWN_REASONS, new)
                examples += [(user, which, table[table["user"] == user]) for user in users]
        write_report(self.settings, self.about, self.verdict, self._paired, examples, Path(path))

    def save(self, folder: str | Path) -> None:
        """Write the folder, which must not be there yet. Raises RunDirectoryError."""
        features = self.features
        counts = np.asarray(self.seen.sum(axis=0), dtype=np.int64).ravel()
        missing = set() if features is None else set(features.missing)
        tables = {
            "users": pd.DataFrame({"user": list(self.users)}),
            "items": pd.DataFrame({"item": list(self.items), "pairs": counts, "profile": [n not in missing for n in self.items]}),
            "feature_names": pd.DataFrame({"name": [] if features is None else list(features.names)}, dtype="str"),
            "paired": self._paired,
        }
        arrays = folders.arrays_of(self.model, self.seen, features)
        about = {name: value for name, value in self.about.items() if name != "seconds"}  # the same again is the same file
        folders.write_folder(Path(folder), self.settings, about, self._metrics, tables, arrays)

    @classmethod
    def load(cls, folder: str | Path) -> Recommendation:
        """From a folder of `genz recommend`. Raises RunDirectoryError."""
        settings, about, metrics, tables, arrays = folders.read_folder(Path(folder))
        try:
            users, items = tables["users"]["user"].tolist(), tables["items"]["item"].tolist()
            model, seen = folders.model_of(arrays, len(users), len(items))
            features = None
            if "features" in arrays:
                missing = tuple(name for name, there in zip(items, tables["items"]["profile"], strict=True) if not there)
                held = [np.asarray(arrays[name]) for name in ("features", "features_means", "features_said")]
                features = ItemFeatures(tuple(items), held[0], tuple(tables["feature_names"]["name"]), held[1], held[2], missing)
            return cls(settings, users, items, model, seen, features, about, metrics, tables["paired"])
        except (KeyError, ValueError, IndexError) as error:
            reason = " ".join(str(error).split())[:160]
            raise RunDirectoryError(f"{folder}: cannot be read ({reason}); take an intact copy, or make it again") from None
