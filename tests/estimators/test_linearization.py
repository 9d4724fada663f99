"""Products with the Jacobian against the dense Jacobian, for autograd and for hand-written rules."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.estimators.logdet import dense_jacobian


def reference(g, x):
    """(B, D, D) by torch.func, one sample at a time."""
    shape = x.shape[1:]
    rows = [torch.func.jacrev(lambda v: g(v.view(1, *shape)).flatten())(sample.flatten()) for sample in x]
    return torch.stack(rows)


@pytest.fixture(params=["dense", "dense-pre", "conv", "conv-pre"])
def case(request, strong_dense, strong_conv):
    kind, _, pre = request.param.partition("-")
    if kind == "dense":
        return strong_dense(preactivation=bool(pre)), 0.3 * torch.randn(3, 4)
    return strong_conv(channels=2, preactivation=bool(pre)), 0.3 * torch.randn(3, 2, 4, 4)


@pytest.mark.parametrize("plain", [False, True])
def test_products_agree_with_the_jacobian(case, plain, as_plain_module):
    branch, x = case
    branch(x)
    g = rf.linearize(as_plain_module(branch) if plain else branch, x)
    jacobian = reference(branch, x)
    u, v = torch.randn_like(x), torch.randn_like(x)
    flat = lambda t: t.flatten(1)[..., None]  # noqa: E731
    assert torch.allclose(flat(g.vjp(u)), jacobian.mT @ flat(u), atol=1e-12)
    assert torch.allclose(flat(g.jvp(v)), jacobian @ flat(v), atol=1e-12)
    assert torch.allclose(dense_jacobian(g), jacobian, atol=1e-12)
    assert torch.allclose(g.output, branch(x), atol=1e-14)


def test_a_constant_and_a_linear_map_are_maps_too():
    x, v = torch.randn(2, 3), torch.randn(2, 3)
    constant = rf.linearize(lambda z: torch.ones(2, 3), x)
    assert torch.equal(constant.vjp(v), torch.zeros(2, 3)) and torch.equal(constant.jvp(v), torch.zeros(2, 3))
    linear = rf.linearize(lambda z: 0.5 * z, x)
    assert torch.allclose(linear.vjp(v), 0.5 * v) and torch.allclose(linear.jvp(v), 0.5 * v)


def test_a_map_that_changes_the_shape_is_refused():
    with pytest.raises(rf.SettingsError, match="equal shapes"):
        rf.log_det(lambda z: z[:, :2], torch.randn(2, 3), rf.Exact())


def test_exact_refuses_what_would_not_fit():
    with pytest.raises(rf.SettingsError, match="4096"):
        rf.log_det(lambda z: z, torch.zeros(1, 4097), rf.Exact())


@pytest.mark.parametrize("terms", [rf.Truncated(60), rf.Roulette(rf.Geometric(0.3), n_exact=60)])
def test_the_value_is_differentiable_in_x_and_parameters(terms, strong_dense):
    """Sixty exact terms at radius 0.5 are exact to 1e-10 up to the probe: average over all sign probes."""
    from resflow_lite.estimators.logdet import SeriesDraw

    branch = strong_dense(coeff=0.7)
    x = (0.3 * torch.randn(2, 4)).requires_grad_()
    weights = torch.randn(2)
    exact = rf.log_det(branch, x, rf.Exact())
    tensors = [x, *branch.parameters()]
    expected = torch.autograd.grad((weights * exact.value).sum(), tensors, materialize_grads=True)
    signs = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)[:, None].expand(-1, 2, -1)
    estimate = rf.PowerSeries(rf.Truncated(60), n_probes=16).estimate(
        rf.linearize(branch, x), SeriesDraw(rf.Truncated(60).draw(2), signs)
    )
    found = torch.autograd.grad((weights * estimate.value).sum(), tensors, materialize_grads=True)
    assert torch.allclose(estimate.value, exact.value, atol=1e-8)
    for f, e in zip(found, expected):
        assert torch.allclose(f, e, atol=1e-7)


def test_an_estimate_reports_what_it_cost(strong_dense):
    branch, x = strong_dense(), torch.zeros(3, 4)
    estimate = rf.log_det(branch, x, rf.PowerSeries(rf.Truncated(4), n_probes=3))
    assert (estimate.n_terms, estimate.products) == (4, 12)
    assert estimate.value.shape == (3,) and torch.equal(estimate.output, branch(x))
    assert rf.log_det(branch, x, rf.Exact()).products == 4


def test_no_terms_are_a_zero_that_still_has_a_gradient(strong_dense):
    branch = strong_dense()
    estimate = rf.log_det(branch, torch.zeros(2, 4), rf.PowerSeries(rf.Truncated(0)))
    assert torch.equal(estimate.value, torch.zeros(2))
    estimate.value.sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in branch.parameters())


def test_a_generator_makes_draws_repeatable(strong_dense):
    branch, x = strong_dense(), torch.zeros(3, 4)
    estimator = rf.PowerSeries(rf.Roulette())
    values = [rf.log_det(branch, x, estimator, torch.Generator().manual_seed(5)).value for _ in range(2)]
    assert torch.equal(*values)
    assert not torch.equal(values[0], rf.log_det(branch, x, estimator, torch.Generator().manual_seed(6)).value)
