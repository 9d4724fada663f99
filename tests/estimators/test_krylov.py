"""Krylov against slogdet: exact where the space is exhausted, unbiased for practical purposes long before."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.estimators.krylov import _log_corner


def linear(a):
    return lambda x: x @ a.T


def signs(d):
    return torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * d)


def matrix(d, radius, seed=0):
    a = torch.randn(d, d, generator=torch.Generator().manual_seed(seed))
    return a * radius / torch.linalg.eigvals(a).abs().max()


def truth(a):
    return torch.linalg.slogdet(torch.eye(len(a)) + a)[1]


@pytest.mark.parametrize("n_steps", [5, 8, 20])
@pytest.mark.parametrize("radius", [0.5, 0.95])
def test_with_as_many_steps_as_dimensions_or_more_it_is_exact(n_steps, radius):
    """More steps than dimensions: the space is exhausted (breakdown) and nothing more is added."""
    a = matrix(5, radius)
    estimator = rf.Krylov(n_steps)
    estimate = estimator.estimate(rf.linearize(linear(a), torch.zeros(32, 5)), signs(5)[None])
    assert torch.isfinite(estimate.value).all()
    assert torch.allclose(estimate.value.mean(), truth(a), atol=1e-9)


@pytest.mark.parametrize(
    "a",
    [torch.zeros(4, 4), 0.9 * torch.eye(4), torch.diag(torch.tensor([-0.9, -0.9, 0.5, 0.5])), torch.ones(4, 4).triu(1)],
    ids=["zero", "identity", "two eigenvalues", "nilpotent"],
)
def test_an_invariant_space_ends_the_iteration_without_harm(a):
    a = a.double()  # made before the tests switch to float64
    value = rf.Krylov(10).estimate(rf.linearize(linear(a), torch.zeros(16, 4)), signs(4)[None]).value
    assert torch.allclose(value.mean(), truth(a), atol=1e-9)


def test_the_bias_at_equal_products_is_far_below_taylor_s():
    """Over all sign probes, so that only bias is left."""
    skew = torch.eye(8) + 0.1 * torch.randn(8, 8)
    a = skew @ torch.diag(torch.linspace(-0.9, 0.5, 8)) @ torch.linalg.inv(skew)
    g, probes = rf.linearize(linear(a), torch.zeros(256, 8)), signs(8)
    krylov = rf.Krylov(6).estimate(g, probes[None])
    taylor = rf.PowerSeries(rf.Truncated(6))
    draw = taylor.draw(torch.zeros(256, 8))
    taylor = taylor.estimate(g, type(draw)(draw.weights, probes[None]))
    assert krylov.products == taylor.products == 6
    assert abs(krylov.value.mean() - truth(a)) < 0.05 * abs(taylor.value.mean() - truth(a))


def test_it_stops_when_consecutive_estimates_agree():
    a = matrix(40, 0.5)
    x = torch.zeros(10, 40)
    estimate = rf.log_det(linear(a), x, rf.Krylov(40, tol=1e-6), torch.Generator().manual_seed(0))
    full = rf.log_det(linear(a), x, rf.Krylov(40), torch.Generator().manual_seed(0))
    assert estimate.n_terms < 40 and estimate.products == estimate.n_terms
    assert torch.allclose(estimate.value, full.value, atol=1e-5)


def test_several_probes_are_averaged():
    a, x = matrix(6, 0.8), torch.zeros(3, 6)
    estimator = rf.Krylov(6, n_probes=4)
    draw = estimator.draw(x, torch.Generator().manual_seed(0))
    together = estimator.estimate(rf.linearize(linear(a), x), draw)
    apart = [rf.Krylov(6).estimate(rf.linearize(linear(a), x), draw[i : i + 1]).value for i in range(4)]
    assert torch.allclose(together.value, torch.stack(apart).mean(0))
    assert together.products == 24


def test_the_logarithm_of_small_matrices():
    h = torch.stack([matrix(6, radius, seed=i) for i, radius in enumerate([0.3, 0.9, 0.98])])
    eigenvalues, vectors = torch.linalg.eig(torch.eye(6) + h)
    exact = (vectors @ torch.diag_embed(eigenvalues.log()) @ torch.linalg.inv(vectors)).real[:, 0, 0]
    assert torch.allclose(_log_corner(h), exact, atol=1e-8)


@pytest.mark.parametrize(("eigenvalue", "tolerance"), [(-0.98, 1e-13), (-0.999, 1e-11), (-0.9999, 1e-7)])
def test_the_logarithm_near_a_singular_block(eigenvalue, tolerance):
    """J = -.999 I is known after one step: log(.001) in every dimension."""
    x = torch.zeros(2, 3)
    found = rf.log_det(lambda z: eigenvalue * z, x, rf.Krylov(2)).value.detach()
    assert torch.allclose(found, 3 * torch.log1p(torch.tensor([eigenvalue])), rtol=0, atol=3 * tolerance)


@pytest.mark.parametrize("eigenvalues", [[-2.0], [-2.0, -2.0], [-2.0, -3.0], [-1.5, -0.3]])
def test_an_eigenvalue_below_minus_one_is_refused_and_a_large_one_is_not(eigenvalues):
    """log(1 + t lambda) has a pole on the way there; the value was any number."""
    d, x = torch.tensor(eigenvalues), torch.zeros(3, len(eigenvalues))
    with pytest.raises(rf.NotContractiveError, match="eigenvalue of -1 or below"):
        rf.log_det(lambda z: d * z, x, rf.Krylov(5))
    found = rf.log_det(lambda z: -d * z, x, rf.Krylov(5)).value
    assert torch.allclose(found, (1 - d).log().sum())


@pytest.mark.parametrize(
    ("eigenvalue", "dtype"),
    [(1e-8 - 1, torch.float64), (1e-12 - 1, torch.float64), (1e-6 - 1, torch.float32), (1e4, torch.float64)],
)
def test_a_logarithm_that_is_not_resolved_is_refused(eigenvalue, dtype):
    """It was off by .02 to 2.5 nats in every dimension."""
    with pytest.raises(rf.NotContractiveError, match="not resolved in torch.float"):
        rf.log_det(lambda z: eigenvalue * z, torch.zeros(2, 3, dtype=dtype), rf.Krylov(2))


@pytest.mark.parametrize("turn", [1e-3, 1e-6])
def test_a_pair_of_eigenvalues_just_beside_the_cut_is_refused(turn):
    """-1.3 +- i turn: the path from 1 to 1 + lambda comes nearer to 0 than the nodes lie to each other."""
    a = torch.tensor([[-1.3, turn], [-turn, -1.3]])
    with pytest.raises(rf.NotContractiveError, match="not resolved"):
        rf.log_det(linear(a), torch.zeros(2, 2), rf.Krylov(2))


@pytest.mark.parametrize("size", [3, 40])
def test_single_precision_resolves_what_contracts(size):
    h = torch.stack([matrix(size, radius, seed=i) for i, radius in enumerate([0.3, 0.9, 0.98])])
    for each in (h, 0.5 * (h + h.mT) / torch.linalg.matrix_norm(h, 2)[:, None, None]):
        assert torch.allclose(_log_corner(each.float()).double(), _log_corner(each), atol=1e-3)


def test_a_gradient_through_it_is_refused(strong_dense):
    for memory in ("store", "recompute"):
        block = rf.ResidualBlock(strong_dense(), rf.Krylov(3), rf.Krylov(3), memory=memory)
        _, log_det = block(torch.zeros(2, 4))
        with pytest.raises(rf.SettingsError, match="test time"):
            log_det.sum().backward()


def test_wrong_values_are_refused():
    for wrong in (dict(n_steps=0), dict(n_probes=1.5), dict(tol=-1.0)):
        with pytest.raises(rf.SettingsError, match=next(iter(wrong))):
            rf.Krylov(**wrong)
