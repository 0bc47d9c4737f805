"""Backbones trained by gradient: BPR's factors, and LightGCN's, which are averages over the graph of who chose what."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from genz_ppl.recommend.factors import Factors, Matrix
from genz_ppl.types import FloatArray

# Items that a softmax runs over at once, all if there are fewer; users of a step; pairs of a step of BPR; views in InfoNCE.
MOST_ITEMS, MOST_USERS, BPR_PAIRS, MOST_VIEWS = 4096, 8192, 65536, 2048
# Of cosines in a softmax.
TEMPERATURE = 0.15


class _Product(torch.autograd.Function):
    """A constant sparse matrix times a dense one; its gradient is a product with the transpose, which is at hand."""

    @staticmethod
    def forward(ctx: Any, matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
        ctx.transposed = transposed
        return matrix @ dense

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, None, Tensor]:
        return None, None, ctx.transposed @ gradients[0]


def _product(matrix: Tensor, transposed: Tensor, dense: Tensor) -> Tensor:
    found: Tensor = _Product.apply(matrix, transposed, dense)  # type: ignore[no-untyped-call]
    return found


class Graph:
    """Who chose what as LightGCN's normalised graph: an edge of user u and item i weighs 1 / sqrt(degree u * degree i)."""

    def __init__(self, train: sparse.csr_array, dtype: torch.dtype = torch.float32) -> None:
        degrees = [np.asarray(train.sum(axis=axis), dtype=np.float64).ravel() for axis in (1, 0)]
        scales = [sparse.diags_array(np.where(one > 0, one, 1.0) ** -0.5) for one in degrees]
        weighted = sparse.csr_array(scales[0] @ train.astype(np.float64) @ scales[1])
        self.forth, self.back = _torch_csr(weighted, dtype), _torch_csr(sparse.csr_array(weighted.T), dtype)

    def propagated(self, users: Tensor, items: Tensor, layers: int) -> tuple[Tensor, Tensor]:
        """(U, d) and (I, d): the mean of what each node holds at first and after each of `layers` averages over neighbours."""
        sums = [users, items]
        for _ in range(layers):
            users, items = _product(self.forth, self.back, items), _product(self.back, self.forth, users)
            sums = [sums[0] + users, sums[1] + items]
        return sums[0] / (layers + 1), sums[1] / (layers + 1)


def _torch_csr(matrix: sparse.csr_array, dtype: torch.dtype) -> Tensor:
    with warnings.catch_warnings():  # torch says that its CSR is in beta
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(matrix.indptr.astype(np.int64)),
            torch.from_numpy(matrix.indices.astype(np.int64)),
            torch.from_numpy(matrix.data).to(dtype),
            matrix.shape,
        )


@dataclass(frozen=True)
class Training:
    """How factors are trained. fuse: "none", "concat", "align" or "project". loss: "softmax" or "bpr". layers: 0 is no graph.

    align: the weight of InfoNCE beside the loss. steps, rate: of Adam.
    """

    fuse: str = "none"
    loss: str = "softmax"
    layers: int = 3
    dimensions: int = 64
    steps: int = 80
    rate: float = 0.05
    align: float = 0.01


class _Side(nn.Module):
    """What one kind of nodes holds before the graph: vectors of their own, projected features, or both.

    With "align" the features are a second view, which the first is drawn to and which stands for nodes without an edge.
    """

    def __init__(self, size: int, features: FloatArray | None, linked: Tensor, how: Training) -> None:
        super().__init__()
        self.linked, self.fuse = linked[:, None].to(torch.float32), how.fuse if features is not None else "none"
        self.own = nn.Parameter(0.1 * torch.randn(size, how.dimensions))
        self.padding = how.dimensions if how.fuse == "concat" and features is None else 0
        if features is not None:
            self.features = torch.from_numpy(features - features.mean(axis=0)).to(torch.float32)
            hidden = [] if self.fuse == "concat" else [nn.Linear(features.shape[1], 2 * how.dimensions), nn.LeakyReLU()]
            width = 2 * how.dimensions if hidden else features.shape[1]
            self.project = nn.Sequential(*hidden, nn.Linear(width, how.dimensions, bias=False))
        if self.padding:
            self.beside = nn.Parameter(0.1 * torch.randn(size, self.padding))

    def start(self) -> Tensor:
        """(size, d), with "concat" (size, 2 d)."""
        if self.fuse == "project":
            return self.project(self.features)  # type: ignore[no-any-return]
        own = self.own * self.linked
        if self.fuse == "concat":
            return torch.cat([own, self.project(self.features)], dim=1)
        return torch.cat([own, self.beside], dim=1) if self.padding else own

    def view(self) -> Tensor | None:
        """(size, d): the second view, None without one."""
        return self.project(self.features) if self.fuse == "align" else None


def graph_factors(
    train: sparse.csr_array,
    how: Training,
    seed: int,
    items: FloatArray | None = None,
    users: FloatArray | None = None,
) -> Factors:
    """Train BPR or LightGCN on the whole graph in every step, and give the factors after it.

    items: (N, D) features, needed for all but "none"; users: (U, E), with "concat" and "align". "softmax": the multinomial
    likelihood of each user's items by cosines over a temperature; "bpr": of each chosen item against one that is not
    (Rendle et al. 2009). "concat": each item holds a vector of its own and a linear projection of its features;
    "align": InfoNCE draws both views of a node together (RLMRec, Ren et al. 2024) and only the first is given out, the
    second for items that nobody has chosen; "project": items are projected features alone and users the means of theirs
    (AlphaRec, Sheng et al. 2025).
    """
    state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    try:
        return _trained(train, how, items, users)
    finally:
        torch.random.set_rng_state(state)


def _trained(train: sparse.csr_array, how: Training, items: FloatArray | None, users: FloatArray | None) -> Factors:
    graph, degrees = Graph(train), [np.asarray(train.sum(axis=axis)).ravel() for axis in (1, 0)]
    linked = [torch.from_numpy(one > 0) for one in degrees]
    given = (users, items) if how.fuse != "none" else (None, None)
    sides = [_Side(len(one), held, link, how) for one, held, link in zip(degrees, given, linked, strict=True)]
    optimiser = torch.optim.Adam([one for side in sides for one in side.parameters()], lr=how.rate)
    loss = _Softmax(train, linked) if how.loss == "softmax" else _Ranking(train)
    for _ in range(how.steps):
        first, second = _after(graph, sides, how)
        value = loss(first, second)
        if how.fuse == "align":
            views = [_contrast(held, side.view(), link) for held, side, link in zip((first, second), sides, linked, strict=True)]
            value = value + how.align * sum(views)
        optimiser.zero_grad()
        value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    with torch.no_grad():
        first, second = _after(graph, sides, how)
        view, scored = sides[1].view(), linked[1]
        if view is not None:
            second = torch.where(scored[:, None], second, view)
        if how.loss == "softmax":  # cosines: users' lengths change no list
            first, second = functional.normalize(first, dim=1), functional.normalize(second, dim=1)
    known = scored.numpy() if how.fuse == "none" else np.ones(len(second), dtype=bool)
    return Factors(_plain(first), _plain(second), known)


def _after(graph: Graph, sides: list[_Side], how: Training) -> tuple[Tensor, Tensor]:
    """Both sides' factors."""
    items = sides[1].start()
    users = _product(graph.forth, graph.back, items) if how.fuse == "project" else sides[0].start()
    return graph.propagated(users, items, how.layers)


class _Softmax:
    """Minus the mean log-likelihood of a chosen item among those that anybody has chosen."""

    def __init__(self, train: sparse.csr_array, linked: list[Tensor]) -> None:
        self.train, (self.users, self.items) = train, [torch.nonzero(one)[:, 0] for one in linked]

    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        some = _sample(self.users, MOST_USERS), _sample(self.items, MOST_ITEMS)
        chosen = torch.from_numpy(self.train[some[0].numpy()][:, some[1].numpy()].toarray())
        logits = (functional.normalize(users[some[0]], dim=1) / TEMPERATURE) @ functional.normalize(items[some[1]], dim=1).T
        total = (chosen.sum(dim=1) * torch.logsumexp(logits, dim=1)).sum() - (chosen * logits).sum()
        return total / chosen.sum().clamp(min=1)


class _Ranking:
    """BPR: minus the mean log-probability that a chosen item is before another one."""

    def __init__(self, train: sparse.csr_array) -> None:
        rows, columns = train.nonzero()
        self.rows, self.columns = torch.from_numpy(rows.astype(np.int64)), torch.from_numpy(columns.astype(np.int64))
        self.popular = torch.unique(self.columns)

    def __call__(self, users: Tensor, items: Tensor) -> Tensor:
        at = torch.randint(len(self.rows), (min(BPR_PAIRS, len(self.rows)),))
        other = self.popular[torch.randint(len(self.popular), (len(at),))]
        user, chosen, others = users[self.rows[at]], items[self.columns[at]], items[other]
        size = (user.square().sum() + chosen.square().sum() + others.square().sum()) / len(at)
        return functional.softplus(-(user * (chosen - others)).sum(dim=1)).mean() + 1e-4 * size


def _contrast(held: Tensor, view: Tensor | None, linked: Tensor) -> Tensor:
    """InfoNCE of two views of the nodes that have an edge."""
    if view is None:
        return torch.zeros(())
    some = _sample(torch.nonzero(linked)[:, 0], MOST_VIEWS)
    cosines = functional.normalize(held[some], dim=1) @ functional.normalize(view[some], dim=1).T / TEMPERATURE
    return functional.cross_entropy(cosines, torch.arange(len(some)))


def _sample(positions: Tensor, most: int) -> Tensor:
    return positions if len(positions) <= most else positions[torch.randperm(len(positions))[:most]].sort().values


def _plain(tensor: Tensor) -> Matrix:
    found: Matrix = tensor.numpy().astype(np.float32)
    return found
