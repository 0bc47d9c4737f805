"""How many calls the answers of a run take: at the most, whatever is proposed, and in a typical run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from genz_ppl.discovery.mine.rounds import FEWER, FIRST_ROUND, MOST_CLOSE, MOST_FALLEN, WAVE, checkpoints, growing
from genz_ppl.settings import DiscoverSettings

# The tokens of so many items, at the most or likely.
Weigh = Callable[[int], float]
# Of a typical run, by those on films: the share of its additions that are made; of waves tried until one is won, of wordings left
# after each round, of races that are won; of additions those with a race where there is screening, without suggestions and with
# them; and of the others those in which a wording of the pool gets the rest of its answers.
MADE, TRIED, LEFT, WON, MINED, MINED_BESIDE, RECALLED = 0.9, 0.2, 0.5, 0.9, 0.5, 0.25, 0.25
# Items of the first round of a race: the fewer, the sharper the split.
FIRST_ROUNDS = range(int(FIRST_ROUND * FEWER), FIRST_ROUND + 1)
# Doublings of a race beyond which there is no table of items.
_MOST_CARE = 60


@dataclass(frozen=True)
class Batches:
    """How questions are cut into calls. items: the most in one that asks a single question, two of them, ..., and so many as it
    asks at the most. kinds: of items, which never share a call. twins: items that say the same as another, whose answers may be
    known already and so break up a call."""

    items: tuple[int, ...]
    kinds: int = 1
    twins: int = 0

    @property
    def features(self) -> int:
        """The most questions in a call."""
        return len(self.items)

    @property
    def size(self) -> int:
        """The most items in a call about one question, and so in any."""
        return self.items[0]


@dataclass(frozen=True)
class Shape:
    """So many calls of one form: each about so many items and features at the most."""

    calls: float
    items: int
    features: int


@dataclass(frozen=True)
class Asked:
    """Questions and their calls. answers: a draw counts once. items: mentioned in all calls; weight: their tokens."""

    answers: float = 0
    items: float = 0
    weight: float = 0
    shapes: tuple[Shape, ...] = ()

    @property
    def calls(self) -> float:
        """Of all shapes."""
        return sum(shape.calls for shape in self.shapes)

    def __add__(self, other: Asked) -> Asked:
        return Asked(
            self.answers + other.answers, self.items + other.items, self.weight + other.weight, self.shapes + other.shapes
        )

    def times(self, count: float) -> Asked:
        """So often."""
        shapes = tuple(Shape(count * shape.calls, shape.items, shape.features) for shape in self.shapes)
        return Asked(count * self.answers, count * self.items, count * self.weight, shapes)


def together(n_items: int, n_features: int, batches: Batches, weigh: Weigh) -> Asked:
    """All these questions at once, nothing of them known."""
    shapes: tuple[Shape, ...] = ()
    columns = cuts(n_features, batches.features)
    for others, features in columns:
        size = batches.items[features - 1]
        rows = cuts(n_items, size)
        if n_items > 1:  # each further kind of item may leave one more call that is not full
            rows += [(1, min(n_items, size))] * (batches.kinds - 1)
        shapes += tuple(Shape(some * others, items, features) for some, items in rows)
    parts = sum(others for others, _ in columns)
    return Asked(n_items * n_features, n_items * parts, parts * weigh(n_items), shapes)


def cuts(total: int, most: int) -> list[tuple[int, int]]:
    """(how many, of what size) pieces `total` is cut into, none larger than `most`."""
    whole, rest = divmod(total, most)
    return [(count, size) for count, size in ((whole, most), (1, rest)) if count and size]


def most_asked(settings: DiscoverSettings, n_races: int, wordings: int, n_items: int, batches: Batches, weigh: Weigh) -> Asked:
    """What is asked on training items at the most. wordings: new ones an addition.

    With screening a wording may have been asked about before, on other items than those beside it, and is then in calls of its
    own: so each counts as if it were. Of those in a race one, the winner, is asked about on all items, and a few fall at the
    last checkpoint. Of suggestions all are asked about together at the start; then each addition may ask the rest about one
    wording that is left over.
    """
    suggested = settings.suggestions or 0
    if not settings.screen:
        return together(n_items, suggested, batches, weigh) + together(n_items, wordings, batches, weigh).times(n_races)
    if suggested:
        asked, n_left = together(min(settings.screen, n_items), suggested, batches, weigh), n_races
        most = apart(n_items, 1 + len(checkpoints(settings.screen, n_items)), batches, 1)
        rest = Asked(n_items, n_items, weigh(n_items), (Shape(most, min(n_items, batches.size), 1),))
        asked += rest.times(n_races)
    else:
        asked, n_left = first_race(settings, wordings, n_items, batches, weigh), n_races - 1
    calls, answers, steps, weight, beside = 0, 0, 0, 0.0, 1
    for count, care, entered in races(settings, n_left, wordings, suggested):
        courses = race_courses(settings, n_items, care)
        last, most = courses[0][-1], max(map(len, courses))
        looks = checkpoints(last, n_items)
        beside = min(batches.features, entered if care else WAVE)
        ends: tuple[list[int], ...] = ([], looks, [*looks, n_items])
        lost, fell, won = (max(raced([*course, *end], batches, beside) for course in courses) for end in ends)
        # Where none wins, one that was given up before may get the rest of its answers: no more than of a winner, since it has
        # those of all rounds; where twins break up calls, in one more.
        calls += count * ((entered - 1) * lost + won + bool(batches.twins))
        answers += count * ((entered - 1) * last + n_items)
        weight += count * ((entered - 1) * weigh(last) + weigh(n_items))
        steps += count * (entered * most + 1 + (MOST_FALLEN + 1) * len(looks))
        if looks:
            calls, answers = calls + count * MOST_FALLEN * fell, answers + count * MOST_FALLEN * looks[-1]
            weight += count * MOST_FALLEN * weigh(looks[-1])
    n_wordings = n_races * wordings + suggested
    every = max(0, n_wordings * n_items - round(asked.answers))  # no question is asked twice, so there is nothing beyond this
    answers, weight = min(answers, every), min(weight, n_wordings * weigh(n_items))
    calls = min(calls, apart(every, steps, batches, beside))
    return asked + Asked(answers, answers, weight, (Shape(calls, min(n_items, batches.size), beside if batches.twins else 1),))


def first_race(settings: DiscoverSettings, wordings: int, n_items: int, batches: Batches, weigh: Weigh) -> Asked:
    """The most of a race before which nothing is known: the wordings of a wave are asked about together."""
    waves = [size for count, size in cuts(wordings, WAVE) for _ in range(count)]
    courses = race_courses(settings, n_items, 0)
    last, steps = courses[0][-1], [added(sizes) for sizes in courses]
    calls = max(sum(together(step, wave, batches, weigh).calls for wave in waves for step in course) for course in steps)
    looks = checkpoints(last, n_items)
    fallen = MOST_FALLEN * looks[-1] if looks else 0
    calls += sum(together(step, 1, batches, weigh).calls for step in added([last, *looks, n_items])[1:])
    calls += MOST_FALLEN * sum(together(step, 1, batches, weigh).calls for step in added([last, *looks])[1:])
    beside = min(WAVE, wordings, batches.features)
    parts = math.ceil(min(WAVE, wordings) / beside)
    answers, items = (wordings - 1) * last + n_items + fallen, parts * ((len(waves) - 1) * last + n_items + fallen)
    weight = parts * ((len(waves) - 1) * weigh(last) + weigh(n_items) + weigh(fallen))
    return Asked(answers, items, weight, (Shape(calls, min(n_items, batches.size), beside),))


def raced(sizes: list[int], batches: Batches, beside: int) -> int:
    """The most calls about one wording in a race; sizes: its answers after each round."""
    # Answers that are there already make a round smaller, or join it to the next, neither of which takes more calls.
    steps = added(sizes)
    calls = sum(min(step, math.ceil(step / batches.size) + batches.kinds - 1) for step in steps)
    return min(sizes[-1], calls + math.ceil(len(steps) * batches.kinds * broken(sizes[-1], batches, beside)))


def added(sizes: list[int]) -> list[int]:
    """By how much each size is larger than the one before; one that is not is left out."""
    return [size - before for before, size in zip([0, *sizes], sizes, strict=False) if size > before]


def apart(n_items: int, steps: int, batches: Batches, beside: int) -> int:
    """The most calls for so many answers about one wording at a time, got in so many steps; beside: wordings in a call."""
    steps = min(steps * batches.kinds, n_items)
    more = math.ceil(steps * broken(n_items, batches, beside))
    return min(n_items, (n_items + steps * (batches.size - 1)) // batches.size + more)


def broken(n_items: int, batches: Batches, beside: int) -> float:
    """Further calls for a wording in a step: items that other answers break up make one for each pattern of what is known, shared
    by the wordings beside each other."""
    groups = range(1, min(beside, _MOST_CARE) + 1)
    return max(min((1 << features) - 2, batches.twins, n_items) / features for features in groups)


def races(settings: DiscoverSettings, n_races: int, wordings: int, suggested: int = 0) -> Iterator[tuple[int, int, int]]:
    """(how many, their care, wordings in each) of races after the first, at the most: care grows with failures in a row, and
    brings old wordings."""
    settled = _MOST_CARE + MOST_CLOSE
    for number in range(min(n_races, settled)):
        care = max(0, min(number, settings.patience - 2, _MOST_CARE))
        close = min(MOST_CLOSE, (number + 1) * wordings + suggested) if care else 0
        yield (1 if number < settled - 1 else n_races - number), care, wordings + close


def race_courses(settings: DiscoverSettings, n_items: int, care: int) -> list[list[int]]:
    """The rounds that a race may have: with how many items it begins depends on how sharp the split is."""
    last = (settings.screen or 1) * 2**care
    return [growing(first * (2 if care else 1), last, n_items) for first in FIRST_ROUNDS]


def typically_asked(settings: DiscoverSettings, additions: int, n_items: int, batches: Batches, weigh: Weigh) -> Asked:
    """What a typical run asks on training items: each race has new wordings, a part of them left after each round."""
    wordings, mined = settings.proposals * polarities(settings), typically_mined(settings, additions)
    suggested = together(min(settings.screen or n_items, n_items), settings.suggestions or 0, batches, weigh)
    if not settings.screen:
        return suggested + together(n_items, wordings, batches, weigh).times(mined)
    waves, left = max(1.0, TRIED * wordings / WAVE), float(min(WAVE, wordings))
    before, raced = 0, Asked()
    for size in growing(FIRST_ROUNDS[0], settings.screen, n_items):
        raced += together(size - before, max(1, round(left)), batches, weigh).times(waves * min(1.0, left))
        left, before = left * LEFT, size
    completed = WON * mined + RECALLED * max(0.0, additions - mined)
    return suggested + raced.times(mined) + together(n_items - before, 1, batches, weigh).times(completed)


def typically_mined(settings: DiscoverSettings, additions: int) -> float:
    """Additions for which wordings are asked for: with screening some come from the pool, what was cut above all."""
    if not settings.screen or not settings.reconsider:
        return MADE * additions
    return (MINED_BESIDE if settings.suggestions else MINED) * additions


def polarities(settings: DiscoverSettings) -> int:
    """How many ways round a contrast is asked."""
    return 2 if settings.polarity == "both" else 1
