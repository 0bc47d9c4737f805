"""Who works on blocks: this process, or the workers of a Dask scheduler. A result does not depend on who, or on how many.

A further kind needs the two methods of `Runner`. With torch.distributed, for GPUs, each rank would take every n-th block, and the
branches of the tree would be sent to the rank that joins them; an all-reduce would be faster, but sums in an order of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

from genz_ppl.errors import GenzError, ModelError, OptionError
from genz_ppl.inference.isolation import allowed_threads
from genz_ppl.settings import ENGINE_NAMES

Result = TypeVar("Result")
# How many results are joined at a time. The tree is the same whoever joins them, and with it every last digit.
BRANCHES = 8
# So often a task is tried again whose worker has died.
DEATHS = 20


class Runner(Protocol):
    """Does a function for each of many tasks; functions and arguments are such that pickle knows."""

    def each(self, function: Callable[..., Result], tasks: Sequence[str], *arguments: Any) -> list[Result]:
        """function(task, *arguments) of every task, in their order."""

    def joined(
        self, function: Callable[..., Result], tasks: Sequence[str], join: Callable[[Sequence[Result]], Result], *arguments: Any
    ) -> Result:
        """The same, joined in a tree that depends on the number of tasks alone."""


class Here:
    """This process, one task after the other."""

    def each(self, function: Callable[..., Result], tasks: Sequence[str], *arguments: Any) -> list[Result]:
        """See `Runner.each`."""
        return [function(task, *arguments) for task in tasks]

    def joined(
        self, function: Callable[..., Result], tasks: Sequence[str], join: Callable[[Sequence[Result]], Result], *arguments: Any
    ) -> Result:
        """See `Runner.joined`; no more than one branch of every height is kept."""
        waiting: list[list[Result]] = [[]]
        for task in tasks:
            _put(waiting, function(task, *arguments), join)
        last: list[Result] = []
        for branch in waiting:
            parts = [*branch, *last]
            last = parts if len(parts) < 2 else [join(parts)]
        return last[0]


def _put(waiting: list[list[Result]], result: Result, join: Callable[[Sequence[Result]], Result]) -> None:
    height = 0
    while True:
        waiting[height].append(result)
        if len(waiting[height]) < BRANCHES:
            return
        result, waiting[height] = join(waiting[height]), []
        height += 1
        if height == len(waiting):
            waiting.append([])


class OnDask:
    """The workers of a Dask client, which read the blocks themselves: nothing but names and sums goes through the scheduler."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def each(self, function: Callable[..., Result], tasks: Sequence[str], *arguments: Any) -> list[Result]:
        """See `Runner.each`."""
        with _dask_errors():
            return list(self._client.gather(self._submitted(function, tasks, arguments)))

    def joined(
        self, function: Callable[..., Result], tasks: Sequence[str], join: Callable[[Sequence[Result]], Result], *arguments: Any
    ) -> Result:
        """See `Runner.joined`. Futures of a step are let go with it, so that no history grows."""
        with _dask_errors():
            level = self._submitted(function, tasks, arguments)
            while len(level) > 1:
                parts = [level[start : start + BRANCHES] for start in range(0, len(level), BRANCHES)]
                level = [part[0] if len(part) == 1 else self._client.submit(join, part, pure=False) for part in parts]
            found: Result = level[0].result()
        return found

    def _submitted(self, function: Callable[..., Any], tasks: Sequence[str], arguments: Sequence[Any]) -> list[Any]:
        return [self._client.submit(function, task, *arguments, pure=False, retries=0) for task in tasks]


@contextmanager
def _dask_errors() -> Iterator[None]:
    import distributed

    try:
        yield
    except (GenzError, KeyboardInterrupt):
        raise
    except distributed.KilledWorker as error:
        raise ModelError(f"--engine dask: a block was given up after {DEATHS} of its workers had died ({error})") from None
    except (OSError, TimeoutError, distributed.CommClosedError) as error:
        raise ModelError(
            f"--engine dask: the scheduler is gone or a worker cannot read the blocks ({error}); see that every host has the "
            "same folder, then go on from the last step"
        ) from None


@contextmanager
def open_runner(engine: str, scheduler: str | None = None, workers: int | None = None) -> Iterator[Runner]:
    """The runner of that name: "here", or "dask" with the scheduler at an address; none: `workers` processes of this host.

    Raises OptionError for a name that there is none of, a scheduler that cannot be reached, and where Dask is not installed.
    """
    if engine not in ENGINE_NAMES:
        raise OptionError(f"engine: expected {' or '.join(ENGINE_NAMES)}, got {engine!r}")
    if engine == "here":
        if scheduler is not None:
            raise OptionError("scheduler: goes with engine dask; add --engine dask, or leave it out")
        yield Here()
        return
    check_dask()
    import dask
    import distributed

    with dask.config.set({"distributed.scheduler.allowed-failures": DEATHS, "distributed.comm.timeouts.connect": "5s"}):
        cluster: Any = None
        try:
            if scheduler is None:
                number = workers or allowed_threads()
                cluster = distributed.LocalCluster(
                    n_workers=number, threads_per_worker=1, dashboard_address="127.0.0.1:0", silence_logs=50, memory_limit=0
                )
            client = distributed.Client(cluster or scheduler, timeout="5s", set_as_default=False)
        except (OSError, TimeoutError, ValueError) as error:
            if cluster is not None:
                cluster.close()
            where = "on this host" if scheduler is None else f"at {scheduler}"
            raise OptionError(
                f"engine: no Dask scheduler {where} ({' '.join(str(error).split())}); start one with 'dask scheduler' and "
                "workers with 'dask worker', or leave --scheduler out"
            ) from None
        try:
            yield OnDask(client)
        finally:
            with suppress(OSError, TimeoutError):
                client.close()
            if cluster is not None:
                cluster.close()


def check_dask() -> None:
    """Raise OptionError where Dask is not installed."""
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise OptionError("engine: dask is not installed; install it with pip install 'genz-ppl[dask]'") from None
