from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from liked_pairs import liked_pairs
from scipy import sparse

from genz_ppl.recommend.factors import Factors, least_squares_factors
from genz_ppl.recommend.fill import Fill
from genz_ppl.recommend.graph import Graph, Training, graph_factors
from genz_ppl.recommend.interactions import read_interactions
from genz_ppl.recommend.linear import ease_factors, item_weights, popularity_factors, semantic_weights


@pytest.fixture(scope="module")
def train() -> sparse.csr_array:
    return read_interactions(liked_pairs()[0], 4, 1).matrix()


def test_item_weights_are_the_least_squares_under_their_condition(train: sparse.csr_array) -> None:
    x, ridge = train.toarray().astype(np.float64), 5.0
    weights = item_weights(train, ridge)
    assert np.array_equal(np.diag(weights), np.zeros(x.shape[1]))
    for item in (0, 17):  # each column is a ridge regression on the other items
        others = np.delete(np.arange(x.shape[1]), item)
        gram = x[:, others].T @ x[:, others] + ridge * np.eye(len(others))
        expected = np.linalg.solve(gram, x[:, others].T @ x[:, item])
        assert np.allclose(weights[others, item], expected, atol=1e-6)


def test_balanced_users_weigh_less_the_more_they_chose(train: sparse.csr_array) -> None:
    uneven = sparse.csr_array(train.toarray() * (np.random.default_rng(0).random(train.shape) < np.linspace(0.2, 1, 80)[:, None]))
    x = uneven.toarray().astype(np.float64)
    counts = np.maximum(x.sum(axis=1), 1)
    by_user = counts**-0.5
    by_user /= (by_user * x.sum(axis=1)).sum() / x.sum()
    gram = x.T @ (by_user[:, None] * x) + 5.0 * np.eye(x.shape[1])
    inverse = np.linalg.inv(gram)
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert np.allclose(item_weights(uneven, 5.0, 0.5), expected, atol=1e-6)


def test_pulled_weights_minimise_what_they_say(train: sparse.csr_array) -> None:
    x, ridge, pull = train.toarray().astype(np.float64), 5.0, 7.0
    semantic = semantic_weights(np.random.default_rng(1).normal(size=(x.shape[1], 6)), 1.0)
    weights = item_weights(train, ridge, semantic=semantic, pull=pull).astype(np.float64)
    slope = -x.T @ (x - x @ weights) + ridge * weights + pull * (weights - semantic)
    np.fill_diagonal(slope, 0)  # where nothing may move
    assert np.abs(slope).max() < 1e-4
    assert np.allclose(item_weights(train, ridge, semantic=semantic, pull=0.0), item_weights(train, ridge))


def test_semantic_weights_are_those_of_ease_on_features() -> None:
    features = np.random.default_rng(1).integers(0, 2, size=(9, 6)).astype(np.float64)
    expected = item_weights(sparse.csr_array(features.T.astype(np.float32)), 2.0)
    assert np.allclose(semantic_weights(features, 2.0), expected, atol=1e-6)


def test_unchosen_items_have_no_score_of_their_own(train: sparse.csr_array) -> None:
    hidden = train.toarray()
    hidden[:, [3, 8]] = 0
    given = sparse.csr_array(hidden)
    every = [popularity_factors(given), ease_factors(given, 5.0, 0.0), least_squares_factors(given, 8, 0)]
    every.append(graph_factors(given, Training(steps=2, dimensions=4), 0))
    for factors in every:
        scores = factors(np.arange(4))
        assert np.isneginf(scores[:, [3, 8]]).all()
        assert np.isfinite(np.delete(scores, [3, 8], axis=1)).all()


def test_alternating_least_squares_reach_their_minimum() -> None:
    train = sparse.csr_array(np.random.default_rng(0).integers(0, 2, size=(12, 9)).astype(np.float32))
    unseen, ridge = 0.1, 0.01

    def objective(users: np.ndarray, items: np.ndarray) -> float:
        x, product = train.toarray(), users @ items.T
        held = ridge * (x.sum(axis=1) + unseen * 9) @ (users**2).sum(axis=1)
        held += ridge * (x.sum(axis=0) + unseen * 12) @ (items**2).sum(axis=1)
        return float((x * (1 - product) ** 2).sum() + unseen * (product**2).sum() + held)

    found = least_squares_factors(train, 3, 0, unseen=unseen, ridge=ridge, sweeps=200)
    users = torch.tensor(np.asarray(found.users, np.float64), requires_grad=True)
    items = torch.tensor(found.items.astype(np.float64), requires_grad=True)
    x, product = torch.tensor(train.toarray().astype(np.float64)), users @ items.T
    loss = (x * (1 - product) ** 2).sum() + unseen * (product**2).sum()
    loss = loss + ridge * ((x.sum(1) + unseen * 9) @ users.square().sum(1) + (x.sum(0) + unseen * 12) @ items.square().sum(1))
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(objective(np.asarray(found.users), found.items), rel=1e-4)
    assert users.grad is not None
    assert items.grad is not None
    assert max(users.grad.abs().max(), items.grad.abs().max()) < 2e-2


def test_filled_scores_are_a_ridge_regression_of_each_users_scores(train: sparse.csr_array) -> None:
    random = np.random.default_rng(0)
    features = random.normal(size=(train.shape[1], 5))
    hidden = train.toarray()
    hidden[:, :6] = 0
    factors = ease_factors(sparse.csr_array(hidden), 5.0, 0.0)
    fill = Fill.of(factors, features, 3.0)
    filled = fill.filled(factors, features)
    scores, known = factors(np.arange(80))[:, 6:].astype(np.float64), features[6:]
    away = known - known.mean(axis=0)
    slopes = np.linalg.solve(away.T @ away + 3.0 * np.eye(5), away.T @ (scores - scores.mean(axis=1, keepdims=True)).T)
    expected = scores.mean(axis=1, keepdims=True) + ((features[:6] - known.mean(axis=0)) @ slopes).T
    found = filled(np.arange(80))
    assert np.allclose(found[:, :6], expected, atol=1e-5)
    assert np.array_equal(found[:, 6:], factors(np.arange(80))[:, 6:]), "known items keep their scores"
    rows = np.arange(80)
    summed = fill.constants(factors, rows)[:, None] + fill.weights(factors, rows) @ features[:6].T
    assert np.allclose(found[:, :6], summed, atol=1e-5)


def test_more_features_than_items_give_the_same_regression(train: sparse.csr_array) -> None:
    features = np.random.default_rng(0).normal(size=(train.shape[1], 100))
    factors = least_squares_factors(train, 4, 0)
    away, centre = features - features.mean(axis=0), factors.items.mean(axis=0)
    slopes = np.linalg.solve(away.T @ away + 2.0 * np.eye(100), away.T @ (factors.items - centre))
    assert np.allclose(Fill.of(factors, features, 2.0).slopes, slopes, atol=1e-5)


def test_propagation_is_that_of_torch_geometric(train: sparse.csr_array) -> None:
    with warnings.catch_warnings():  # its import scripts modules, which torch warns of
        warnings.simplefilter("ignore", DeprecationWarning)
        from torch_geometric.nn import LightGCN

    n_users, n_items = train.shape
    torch.manual_seed(0)
    oracle = LightGCN(n_users + n_items, 8, num_layers=3).double()
    rows, columns = (torch.from_numpy(part.astype(np.int64)) for part in train.nonzero())
    edges = torch.stack([torch.cat([rows, columns + n_users]), torch.cat([columns + n_users, rows])])
    with torch.no_grad():
        expected = oracle.get_embedding(edges)
        start = oracle.embedding.weight
        users, items = Graph(train, torch.float64).propagated(start[:n_users], start[n_users:], 3)
    assert (torch.cat([users, items]) - expected).abs().max() < 1e-12


def test_propagation_is_that_of_a_dense_matrix_and_so_is_its_gradient(train: sparse.csr_array) -> None:
    x = torch.tensor(train.toarray(), dtype=torch.float64)
    sizes = (x.sum(1, keepdim=True).clamp(min=1) * x.sum(0, keepdim=True).clamp(min=1)).sqrt()
    full = torch.zeros(140, 140, dtype=torch.float64)
    full[:80, 80:], full[80:, :80] = x / sizes, (x / sizes).T
    start = torch.randn(140, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0), requires_grad=True)
    expected = (start + full @ start + full @ (full @ start)) / 3
    given = start.detach().clone().requires_grad_()
    found = torch.cat(Graph(train, torch.float64).propagated(given[:80], given[80:], 2))
    assert (found - expected).abs().max() < 1e-12
    for one in (found, expected):
        one.pow(3).sum().backward()  # type: ignore[no-untyped-call]
    assert given.grad is not None
    assert start.grad is not None
    assert (given.grad - start.grad).abs().max() < 1e-9


@pytest.mark.parametrize("fuse", ["none", "concat", "align", "project"])
@pytest.mark.parametrize(("loss", "layers"), [("softmax", 2), ("bpr", 0)])
def test_graph_backbones_learn_who_chose_what(train: sparse.csr_array, fuse: str, loss: str, layers: int) -> None:
    features = np.random.default_rng(0).normal(size=(train.shape[1], 12))
    how = Training(fuse=fuse, loss=loss, layers=layers, dimensions=8, steps=40)
    found = graph_factors(train, how, 0, features)
    scores, chosen = found(np.arange(80)), train.toarray() > 0
    better = (scores[chosen].mean() - scores[~chosen].mean()) / scores.std()
    assert better > 0.5
    assert found.items.shape[1] == (16 if fuse == "concat" else 8)
    again = graph_factors(train, how, 0, features)
    assert np.array_equal(found.items, again.items), "the same seed, the same bits"
    assert not np.array_equal(found.items, graph_factors(train, how, 1, features).items)


def test_training_leaves_the_users_random_numbers_alone(train: sparse.csr_array) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    graph_factors(train, Training(steps=1, dimensions=4), 0)
    assert torch.equal(torch.rand(3), expected)


def test_scores_are_products_of_factors() -> None:
    factors = Factors(np.eye(2, dtype=np.float32), np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.array([True, True, False]))
    assert factors(np.array([1])).tolist() == [[2.0, 4.0, -np.inf]]
    assert factors.with_items(np.array([False, False, True]), np.array([[7, 8]], np.float32))(np.array([1]))[0, 2] == 8
