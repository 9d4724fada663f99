"""Value and gradient of blocks and flows on a GPU against float64 on the CPU."""

import copy

import pytest
import torch

import resflow_lite as rf
from resflow_lite.models.branches import conv_branch, dense_branch


@pytest.mark.parametrize("memory", ["store", "backward_in_forward", "recompute"])
@pytest.mark.parametrize("gradient", ["neumann", "series"])
@pytest.mark.parametrize("kind", ["convolutions", "dense"])
def test_a_block_in_float64_is_the_block_on_a_cpu(script, gpu, kind, gradient, memory):
    torch.set_default_dtype(torch.float64)
    estimator = script.SameProbes(rf.Truncated(3))
    if kind == "dense":
        branch, x = dense_branch((6, 16, 16, 6), "lipswish", 0.9, preactivation=True), torch.randn(5, 6)
    else:
        branch, x = conv_branch(3, 16, "lipswish", 0.9, preactivation=True), torch.randn(5, 3, 7, 6)
    block, weights, found = rf.ResidualBlock(branch, estimator, gradient=gradient, memory=memory), torch.rand(5), []
    block(x)  # the layers learn the size of the image
    for device in (torch.device("cpu"), gpu):
        here, point = copy.deepcopy(block).to(device), x.to(device).requires_grad_()
        y, log_det = here(point, torch.Generator().manual_seed(0))
        loss = (weights.to(device) * log_det).sum() + y.square().sum()
        found.append([y, log_det, *torch.autograd.grad(loss, [point, *here.parameters()])])
    for exact, mine in zip(*found):
        assert float((mine.cpu() - exact).detach().norm() / exact.detach().norm()) < 1e-12


@pytest.mark.parametrize("memory", ["store", "backward_in_forward", "recompute"])
@pytest.mark.parametrize("precision", ["fp64", "fp32", "tf32", "bf16"])
def test_a_flow_is_the_flow_on_a_cpu_to_the_rounding_of_its_precision(script, gpu, precision, memory):
    _, error = script.flow_errors(gpu, precision, memory)
    assert error < script.PRECISIONS[precision]


def test_a_flow_returns_what_it_took(script, gpu):
    flow, x = script.small_flow()
    for dtype, error in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        there = copy.deepcopy(flow).to(gpu, dtype).eval()
        z, _ = there.encode(x.to(gpu, dtype), torch.Generator().manual_seed(0))
        assert float((there.decode(z) - x.to(gpu, dtype)).abs().max()) < error


def test_norms_on_a_gpu_are_those_on_a_cpu(script, gpu):
    """To a thousandth; so are the proofs, of three layers each."""
    flow, _ = script.small_flow()
    there = copy.deepcopy(flow).to(gpu, torch.float32)
    with torch.no_grad():
        for model in (flow, there):
            for parameter in model.parameters():
                parameter.mul_(1.3)
            rf.update_norms_(model, tol=1e-5)
    layers = [[m for m in model.modules() if hasattr(m, "norm_upper")] for model in (flow, there)]
    assert len(layers[0]) > 10
    for mine, other in zip(layers[1], layers[0]):
        assert float(mine.sigma().detach()) == pytest.approx(float(other.sigma().detach()), rel=1e-3)
    exact, found = flow.certify().bounds, there.certify().bounds
    assert found == pytest.approx(exact, rel=4e-3)
