"""The exact-trace control variate: the trace, unbiasedness of value and gradient, less variance."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.estimators.logdet import SeriesDraw, dense_jacobian
from resflow_lite.layers.gradient import residual_step
from resflow_lite.models.branches import conv_branch, dense_branch


def random_branches(preactivation):
    def weak(n_in, n_out):
        return dense_branch((n_in, 7, 9, n_out), "lipswish", 0.95, preactivation=preactivation)

    yield weak(4, 4), torch.randn(3, 4)
    for size in ((4, 5), (2, 3), (2, 2)):
        yield conv_branch(2, 6, "lipswish", 0.95, preactivation=preactivation), torch.randn(3, 2, *size)


@pytest.mark.parametrize("preactivation", [False, True])
def test_the_trace_is_that_of_the_frozen_jacobian(preactivation):
    """Image sizes down to 2 x 2, where every pixel is a border."""
    for branch, x in random_branches(preactivation):
        g = branch.linearize(x)
        jacobian = dense_jacobian(g)
        if preactivation:
            slope = g.steps[0].slope
            frozen = g.frozen_slope.expand_as(slope)
            jacobian = jacobian * (frozen / slope).flatten(1)[:, None, :]
        assert torch.allclose(g.trace(), jacobian.diagonal(dim1=1, dim2=2).sum(1), atol=1e-13)
        u = torch.randn_like(x)
        product, of_frozen = g.vjp_pair(u)
        assert torch.allclose(product, g.vjp(u))
        assert torch.allclose(of_frozen.flatten(1), (jacobian.mT @ u.flatten(1)[..., None])[..., 0], atol=1e-13)


@pytest.mark.parametrize("gradient", ["series", "neumann"])
@pytest.mark.parametrize("preactivation", [False, True])
@pytest.mark.parametrize("n_terms", [0, 1, 4])
def test_it_changes_nothing_in_expectation(strong_dense, preactivation, gradient, n_terms):
    """Over all sixteen sign probes at once: value and gradients equal those of the plain estimator exactly."""
    branch, x, weights = strong_dense(preactivation=preactivation), 0.3 * torch.randn(3, 4), torch.randn(3)
    probes = torch.cartesian_prod(*[torch.tensor([-1.0, 1.0])] * 4)[:, None].expand(-1, 3, -1)
    results = []
    for control in (False, True):
        estimator = rf.PowerSeries(rf.Truncated(n_terms), n_probes=16, control_variate=control)
        point = x.clone().requires_grad_()
        draw = SeriesDraw(rf.Truncated(n_terms).draw(3), probes)
        output, value = residual_step(branch, point, estimator, draw, gradient, "recompute")
        found = torch.autograd.grad((weights * value).sum() + output.sum(), [point, *branch.parameters()])
        results.append([value.detach(), *found])
    for plain, controlled in zip(*results):
        assert torch.allclose(plain, controlled, atol=1e-10)


@pytest.mark.parametrize("memory", ["store", "backward_in_forward", "recompute"])
@pytest.mark.parametrize("n_probes", [1, 2])
def test_memory_modes_agree(memory, n_probes):
    estimator = rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 1), n_probes=n_probes, control_variate=True)
    for preactivation in (False, True):
        for branch, x in random_branches(preactivation):
            weights, results = torch.randn(3), []
            for mode in ("store", memory):
                point = x.clone().requires_grad_()
                block = rf.ResidualBlock(branch, estimator, memory=mode)
                y, log_det = block(point, torch.Generator().manual_seed(0))
                loss = (weights * log_det).sum() + y.square().sum()
                results.append(torch.autograd.grad(loss, [point, *branch.parameters()]))
            for a, b in zip(*results):
                assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize(("preactivation", "factor"), [(False, 5.0), (True, 2.0)])
def test_it_cuts_the_variance_of_value_and_gradient(preactivation, factor):
    """A branch as it is initialised, 16 dimensions. The benchmark measures trained ones."""
    torch.manual_seed(1)
    branch, x = dense_branch((16, 32, 32, 16), "lipswish", 0.9, preactivation=preactivation), torch.randn(8, 16)
    variances = {}
    for control in (False, True):
        terms = rf.Roulette(rf.Geometric(0.5), 2)
        block = rf.ResidualBlock(branch, rf.PowerSeries(terms, "gaussian", control_variate=control))
        generator, values, gradients = torch.Generator().manual_seed(0), [], []
        for _ in range(300):
            _, log_det = block(x, generator)
            values.append(log_det.detach())
            gradient = torch.autograd.grad(log_det.sum(), list(branch.parameters()))
            gradients.append(torch.cat([g.flatten() for g in gradient]))
        variances[control] = [float(torch.stack(t).var(0).sum()) for t in (values, gradients)]
    assert variances[False][0] > factor * variances[True][0]
    assert variances[False][1] > factor * variances[True][1]


def test_a_map_without_an_exact_trace_is_refused(as_plain_module, strong_dense):
    estimator = rf.PowerSeries(control_variate=True)
    for branch in (as_plain_module(strong_dense()), dense_branch((4, 8, 4), "lipswish", 0.9)):
        with pytest.raises(rf.SettingsError, match="no exact trace"):
            rf.log_det(branch, torch.zeros(2, 4), estimator)
