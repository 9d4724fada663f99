"""Derivatives against autograd, Lipschitz constants against a fine grid."""

import pytest
import torch

import resflow_lite as rf
from resflow_lite.layers.activations import ACTIVATIONS, make_activation
from resflow_lite.models.branches import conv_branch, dense_branch

GRID = torch.linspace(-12, 12, 480_001, dtype=torch.float64)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("beta", [-1.0, 0.5, 2.0])
def test_the_derivatives_are_those_of_the_value(name, beta):
    activation = make_activation(name)
    for parameter in activation.parameters():
        parameter.data.fill_(beta)
    z = torch.linspace(-4, 4, 2000).requires_grad_()
    scale = activation.scale()
    value, slope, curvature = activation.derivatives(z, 2, scale)
    (first,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    assert torch.allclose(slope, first, atol=1e-12)
    if name not in ("relu", "elu"):  # autograd through a `where` or a clamp gives their second derivative, too
        (second,) = torch.autograd.grad(slope.sum(), z)
        assert torch.allclose(curvature, second, atol=1e-12)
    step = 1e-5
    ahead, behind = (activation.derivatives(z.detach() + s, 1, scale)[1] for s in (step, -step))
    smooth = z.detach().abs() > 1e-3  # away from the kink of ELU's slope and ReLU
    assert torch.allclose(curvature[smooth], ((ahead - behind) / (2 * step))[smooth], atol=1e-8)
    for order in (0, 1):
        assert torch.equal(activation.derivatives(z, order, scale)[-1], (value, slope)[order])


@pytest.mark.parametrize("name", sorted(set(ACTIVATIONS) - {"clipswish"}))
def test_the_constant_is_the_largest_slope(name):
    activation = make_activation(name)
    largest = float(activation.derivatives(GRID, 1, activation.scale())[1].detach().abs().max())
    assert largest <= activation.lipschitz + 1e-12
    assert largest == pytest.approx(activation.lipschitz, abs=1e-4)
    assert activation.constant(2.0) == activation.constant(1.0) == activation.lipschitz


def test_lipswish_has_the_constant_of_the_paper():
    assert rf.LipSwish.lipschitz * 1.1 == pytest.approx(1.0998393, abs=1e-7)


@pytest.mark.parametrize("p", [1.0, 1.5, 2.0, 4.0])
def test_the_constant_of_clipswish_depends_on_the_norm(p):
    activation = rf.CLipSwish()
    scale = activation.scale()
    slopes = torch.stack([activation.derivatives(sign * GRID, 1, scale)[1] for sign in (1, -1)])
    largest = float(torch.linalg.vector_norm(slopes.detach(), p, dim=0).max())
    assert largest <= activation.constant(p) and largest == pytest.approx(activation.constant(p), abs=1e-6)
    if p == 2:
        assert activation.constant(2.0) == pytest.approx(1.00397, abs=1e-5)
        assert activation.constant(2.0) <= activation.lipschitz + 1e-5


@pytest.mark.parametrize("name", ["clipswish", "elu", "sine", "softplus", "tanh"])
@pytest.mark.parametrize("preactivation", [False, True])
def test_every_activation_works_on_both_paths(name, preactivation, as_plain_module):
    """Same output, log-determinant and gradients from hand-written rules and from autograd."""
    estimator = rf.PowerSeries(rf.Truncated(3))
    cases = (
        (dense_branch((4, 6, 5, 4), name, 0.9, preactivation=preactivation), torch.randn(3, 4)),
        (conv_branch(2, 4, name, 0.9, preactivation=preactivation), torch.randn(3, 2, 4, 4)),
    )
    for branch, x in cases:
        weights, results = torch.randn(3), []
        for module in (branch, as_plain_module(branch)):
            point = x.clone().requires_grad_()
            y, log_det = rf.ResidualBlock(module, estimator)(point, torch.Generator().manual_seed(0))
            loss = (weights * log_det).sum() + y.square().sum()
            results.append([y, log_det, *torch.autograd.grad(loss, [point, *branch.parameters()])])
        for fast, plain in zip(*results):
            assert torch.allclose(fast, plain, atol=1e-10)


def test_an_activation_of_your_own_takes_twelve_lines():
    class Arctan(rf.Activation):
        lipschitz = 1.0

        def derivatives(self, z, order, scale=None):
            slope = 1 / (1 + z * z)
            return (z.atan(), slope, -2 * z * slope * slope)[: order + 1]

    branch = dense_branch((3, 5, 5, 3), Arctan, 0.9)
    block = rf.ResidualBlock(branch, rf.Exact(), rf.Exact())
    from resflow_lite.checks import check_bijection

    check_bijection(block, torch.randn(4, 3))


def test_steps_that_do_not_fit_are_refused():
    linear = rf.LipschitzLinear
    with pytest.raises(rf.SettingsError, match="3 inputs follows 4 outputs"):
        rf.LipschitzBranch([linear(2, 4), rf.LipSwish(), linear(3, 2)])
    with pytest.raises(rf.SettingsError, match="maps 2 channels to 3"):
        rf.LipschitzBranch([linear(2, 4), rf.LipSwish(), linear(4, 3)])
    with pytest.raises(rf.SettingsError, match="not ReLU"):
        rf.LipschitzBranch([linear(2, 2), torch.nn.ReLU()])
    rf.LipschitzBranch([rf.CLipSwish(), linear(4, 4), rf.CLipSwish(), linear(8, 2)])
    with pytest.raises(rf.SettingsError, match="expected one of lipswish"):
        make_activation("swish")
