"""What is in a file of profiles, and what a refresh of it would do: for `genz profile status`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from genz_ppl.llm.served.spending import Spending
from genz_ppl.output import plural
from genz_ppl.profiles.plan import ProfilePlan
from genz_ppl.profiles.table import Profile, Profiles


@dataclass(frozen=True)
class Status:
    """rows: all; missing: ids without a profile; first, last: when the oldest and the newest row were made, UTC.

    plan: what a refresh from the same source would do, None where that cannot be read; why: then the reason.
    """

    file: str
    kind: str
    rows: int
    missing: tuple[str, ...]
    model: str
    prompt_version: str
    encoder: str
    dimensions: int
    questions: int
    first: str
    last: str
    refreshes: int
    spent: Spending
    plan: ProfilePlan | None = None
    why: str = ""

    @property
    def stale(self) -> int | None:
        """Rows that a refresh would change; None where that is not known."""
        return None if self.plan is None else self.rows - self.plan.kept - self.plan.gone

    def lines(self) -> list[str]:
        """In words."""
        spent = self.spent
        tokens = f"{spent.tokens_in} tokens read, {spent.tokens_out} written"
        named = f": {', '.join(self.missing[:5])}{' …' if self.missing[5:] else ''}" if self.missing else ""
        found = [
            f"{self.file}: {plural(self.rows, self.kind)}, made {self.first} to {self.last}; refreshes: {self.refreshes}",
            f"profiles by {self.model}, prompt {self.prompt_version}; vectors by {self.encoder}, {self.dimensions} numbers; "
            f"{plural(self.questions, 'question')}",
            f"{len(self.missing)} without a profile{named}",
            f"cost so far: {plural(spent.calls, 'call')}, {tokens}, ${spent.cost:.4g}",
        ]
        if self.plan is None:
            return [*found, f"what a refresh would do is not known: {self.why}"]
        return [*found, f"{self.stale} stale; a refresh now:", *(f"  {line}" for line in self.plan.lines())]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        plan = None if self.plan is None else self.plan.to_dict()
        return {**asdict(self), "plan": plan, "stale": self.stale}


def status_of(profiles: Profiles, plan: ProfilePlan | None, why: str = "") -> Status:
    """What there is to say of a file. plan: of a refresh of it, or why there is none."""
    times = sorted(row.generated_at for row in profiles.rows)
    shown = [f"{time:%Y-%m-%d %H:%M:%S}" for time in times] or ["never"]
    about = profiles.about
    return Status(
        profiles.source,
        about.kind,
        len(profiles),
        profiles.missing,
        profiles.model,
        profiles.prompt_version,
        profiles.encoder,
        profiles.vectors.shape[1],
        len(about.questions),
        shown[0],
        shown[-1],
        about.refreshes,
        about.spent,
        plan,
        why,
    )


def explained(profiles: Profiles, name: str) -> Iterator[str]:
    """All that a file says of one item or user, in lines. Raises InputError for an unknown id."""
    row: Profile = profiles.find(name)
    yield f"{row.id}: {row.profile or 'no profile'}"
    yield f"tags: {', '.join(row.tags) or 'none'}"
    answers = [] if row.answers is None else row.answers.tolist()
    chances: list[float] = [float("nan")] * len(answers) if row.q is None else row.q.tolist()
    for text, answer, q in zip(profiles.questions, answers, chances, strict=True):
        said = "?" if answer != answer else "yes" if answer else "no"
        yield f"{said}{f' (q {q:.2f})' if q == q else ''}: {text}"
    width = 0 if row.vector is None else len(row.vector)
    yield f"made {row.generated_at:%Y-%m-%d %H:%M:%S} UTC by {row.model}, prompt {row.prompt_version}"
    yield f"vector: {width} numbers by {row.encoder}"
    yield f"source: {profiles.about.made_with.get('source') or 'items in memory'}, item {row.item_hash[:16]}"
