"""Certificates of models: refused when stale, repaired by enforce_, never given to what is not known."""

import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite.estimators.logdet import dense_jacobian


@pytest.fixture(params=["lipswish", "clipswish", "elu"])
def flow(request):
    model = rf.ImageModel((1, 4, 4), blocks=(1, 1), width=6, n_dense=1, dense_width=8, activation=request.param)
    flow = rf.image_flow(model)
    flow.initialize_(torch.rand(50, 1, 4, 4))
    for layer in flow.modules():
        if isinstance(layer, rf.LipschitzLinear | rf.LipschitzConv2d):
            layer.weight.data *= 4  # so that the normalisation has work to do
    rf.update_norms_(flow, 1e-6)
    return flow


def test_stale_norms_are_refused_and_repaired(flow):
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for layer in flow.modules():
            if hasattr(layer, "norm_upper"):
                layer.weight += torch.randn(layer.weight.shape, generator=generator) * layer.weight.std()
    stale = flow.certify()
    assert not stale.holds and stale.worst[1] > 1 and "NOT PROVEN" in str(stale)
    repaired = flow.enforce_()
    assert repaired.holds and repaired.worst[1] < 1 and "NOT PROVEN" not in str(repaired)
    assert flow.certify().bounds == repaired.bounds
    assert flow.enforce_().bounds == repaired.bounds  # what holds is left alone


def test_the_bound_is_above_every_jacobian(flow):
    certificate = flow.certify()
    for name, block in flow.named_modules():
        if isinstance(block, rf.ResidualBlock):
            layer = next(step for step in block.branch.steps if hasattr(step, "vector_shape"))
            dense = isinstance(layer, rf.LipschitzLinear)
            channels = layer.weight.shape[1] // (2 if block.branch.steps[0].__class__ is rf.CLipSwish else 1)
            x = torch.randn((20, channels) if dense else (20, channels, *layer.right.shape[2:]))
            jacobians = dense_jacobian(rf.linearize(block.branch, x)).detach()
            assert torch.linalg.matrix_norm(jacobians, 2).max() <= certificate.bounds[name]


def test_a_certified_block_inverts_with_a_bounded_error(flow):
    flow.enforce_()
    block = next(m for m in flow.modules() if isinstance(m, rf.ResidualBlock))
    x = torch.randn(5, 1, 4, 4)
    y = block.transform(x).detach()
    for solver in ("anderson", "banach"):
        solution = rf.invert(block, y, solver, tol=1e-6)
        assert solution.converged.all()
        error = (solution.x - x).flatten(1).square().mean(1).sqrt()
        assert (error <= solution.error_bound).all() and (solution.error_bound < 1e-3).all()


def test_a_block_that_is_not_invertible_is_not_proven_in_mixed_norms():
    """3 -> infinity -> 3 with a stale vector: a bound of .81 was printed where det(I + J) = -.62 at 0."""
    n, linear = 8, rf.LipschitzLinear
    branch = rf.LipschitzBranch([linear(n, n, 0.9, 3, math.inf), rf.LipSwish(), linear(n, n, 0.9, math.inf, 3)])
    first, act, second = branch.steps
    with torch.no_grad():
        first.weight.fill_(0.9 / n ** (2 / 3))
        first.bias.fill_(2.39936 / float(torch.nn.functional.softplus(act.beta)))  # where the slope is largest
        second.weight.zero_()
        second.weight[0, 0] = -0.9  # the vector that is kept from here looks at one entry only
        branch(torch.zeros(1, n))
        second.weight.copy_(-0.9 * torch.eye(n))
    block = rf.ResidualBlock(branch)
    jacobian = dense_jacobian(rf.linearize(branch, torch.zeros(1, n))).detach()[0]
    assert torch.linalg.det(torch.eye(n) + jacobian) < 0
    assert not rf.Flow(rf.Chain([block]), (n,), (n,)).certify().holds


def test_a_plain_module_is_never_certified():
    flow = rf.Flow(rf.Chain([rf.ResidualBlock(torch.nn.Linear(2, 2))]), (2,), (2,))
    assert flow.certify().worst == ("bijection.layers.0", math.inf)
    assert not flow.enforce_().holds


def test_before_the_first_input_nothing_is_proven():
    flow = rf.toy_flow(2)
    assert not flow.certify().holds
    flow.initialize_(torch.randn(50, 2))
    assert flow.certify().holds
