"""The operations of a GPU's training step: plain torch against autograd and conv2d, Triton against plain torch."""

import importlib.util
import json
import os
import subprocess
import sys
import types
from contextlib import nullcontext
from functools import cache, partial
from pathlib import Path

import pytest
import torch
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight

import resflow_lite as rf
from resflow_lite import numerics
from resflow_lite.layers import activations
from resflow_lite.layers.lipschitz import LipschitzLayer, applied_together
from resflow_lite.models.branches import conv_branch
from resflow_lite.numerics import kernels
from resflow_lite.numerics.kernels import (
    MatrixConv,
    collect,
    columns,
    gather,
    kernel_matrix,
    kernel_of,
    lipswish,
    lipswish_pull_back,
)
from resflow_lite.numerics.stacked import gram_product

SCALE = torch.tensor([0.75], dtype=torch.float64)
SHAPES = [(2, 1, 1, 1), (2, 5, 7, 1), (1, 4, 4, 2), (2, 6, 5, 3), (3, 3, 4, 12), (1, 1, 9, 5)]
"""Of images (B, H, W, C)."""


def as_matrix(weight):
    return MatrixConv(kernel_matrix(weight), weight.shape)


def test_the_derivatives_of_lipswish_are_autograds():
    z = torch.linspace(-9, 9, 500).requires_grad_()
    value, slope, curvature = lipswish(z, SCALE, 2)
    assert torch.allclose(value, z * torch.sigmoid(SCALE * z) / 1.1, atol=1e-14)
    (first,) = torch.autograd.grad(value.sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), z)
    assert torch.allclose(slope, first, atol=1e-13) and torch.allclose(curvature, second, atol=1e-13)


def test_the_pull_back_of_lipswish_is_autograds():
    """Of <y_bar, a(z)> + <p, a'(z) z'> in z, z' and s."""
    z, tangent, scale = torch.randn(4, 3, 2, 2), torch.randn(4, 3, 2, 2), SCALE.clone()
    y_bar, p = torch.randn(z.shape), torch.randn(z.shape)
    inputs = [t.requires_grad_() for t in (z, tangent, scale)]
    value, slope = lipswish(z, scale, 1)
    exact = torch.autograd.grad((y_bar * value).sum() + (p * slope * tangent).sum(), inputs)
    with torch.no_grad():
        found = lipswish_pull_back(z, tangent, y_bar, p, scale)
    assert found[2].shape == (1,)
    for mine, other in zip(found, exact):
        assert torch.allclose(mine, other, atol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_row_of_the_gathered_matrix_holds_the_neighbours_of_a_pixel(shape):
    batch, height, width, channels = shape
    x = torch.randn(shape)
    rows = gather(x).view(batch, height, width, -1)
    assert rows.shape[3] == columns(channels) >= 9 * channels and columns(channels) % 8 == 0
    assert not rows[..., 9 * channels :].any()
    patches = torch.nn.functional.unfold(x.permute(0, 3, 1, 2), 3, padding=1)  # columns in the order (c, i, j)
    patches = patches.view(batch, channels, 9, height, width).permute(0, 3, 4, 2, 1).flatten(3)
    assert torch.equal(rows[..., : 9 * channels], patches)


@pytest.mark.parametrize("shape", SHAPES)
def test_collect_is_the_adjoint_of_gather(shape):
    x = torch.randn(shape)
    rows = gather(x.requires_grad_())
    g = torch.randn(rows.shape)
    (exact,) = torch.autograd.grad((rows * g).sum(), x)
    assert torch.allclose(collect(g, shape), exact, atol=1e-13)


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 8)])
@pytest.mark.parametrize("channels", [1, 3, 12])
@pytest.mark.parametrize("width", [5, 16])
@pytest.mark.parametrize("widens", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_a_convolution_as_matrix_products_is_the_convolution(size, channels, width, widens, kernel):
    n_in, n_out = (channels, width) if widens else (width, channels)
    weight, bias, padding = torch.randn(n_out, n_in, kernel, kernel), torch.randn(n_out), kernel // 2
    z, u = torch.randn(2, n_in, *size), torch.randn(2, n_out, *size)
    conv = as_matrix(weight)
    for memory in (torch.contiguous_format, torch.channels_last):
        z, u = z.contiguous(memory_format=memory), u.contiguous(memory_format=memory)
        found = conv.product(z, bias), conv.product(z), conv.transpose(u), kernel_of(conv.outer(u, z), weight.shape)
        exact = (
            conv2d(z, weight, bias, padding=padding),
            conv2d(z, weight, padding=padding),
            conv2d_input(z.shape, weight, u, padding=padding),
            conv2d_weight(z, weight.shape, u, padding=padding),
        )
        for mine, other in zip(found, exact):
            assert mine.shape == other.shape and torch.allclose(mine, other, rtol=0, atol=1e-10)
        assert torch.equal(kernel_of(conv.matrix, weight.shape), weight)
        assert all(image.is_contiguous(memory_format=torch.channels_last) for image in found[:3])


@pytest.mark.parametrize(("n_in", "n_out"), [(2, 5), (5, 2)])
def test_a_convolution_as_matrix_products_is_differentiable(n_in, n_out):
    weight, z, u = torch.randn(n_out, n_in, 3, 3), torch.randn(2, n_in, 2, 3), torch.randn(2, n_out, 2, 3)
    functions = (
        lambda weight, z, u: as_matrix(weight).product(z),
        lambda weight, z, u: as_matrix(weight).transpose(u),
        lambda weight, z, u: kernel_of(as_matrix(weight).outer(u, z), weight.shape),
    )
    inputs = [t.requires_grad_() for t in (weight, z, u)]
    for function in functions:
        assert torch.autograd.gradcheck(function, inputs)


def test_what_must_be_differentiated_or_exact_or_lies_on_a_cpu_is_left_to_plain_torch(monkeypatch):
    z = torch.ones(3, dtype=torch.float32)
    assert not kernels.fused(z)
    monkeypatch.setattr(kernels, "_runs_on", lambda device: True)
    assert kernels.fused(z) and kernels.fused(z, z.bfloat16())
    assert not kernels.fused(z, z.double())
    weight = torch.ones(3, dtype=torch.float32, requires_grad=True)
    assert not kernels.fused(z, weight)
    with torch.no_grad():
        assert kernels.fused(z, weight)


def test_where_triton_does_not_run_plain_torch_computes_and_says_so_once(monkeypatch):
    def no_compiler(*_):
        raise RuntimeError("Failed to find C compiler")

    monkeypatch.setattr(kernels, "INTERPRETED", True)
    monkeypatch.setattr(kernels, "_runs_on", cache(kernels._runs_on.__wrapped__))
    monkeypatch.setattr(numerics, "triton_kernels", types.SimpleNamespace(lipswish=no_compiler), raising=False)
    z = torch.linspace(-3, 3, 7, dtype=torch.float32)
    with pytest.warns(UserWarning, match="Triton does not run on cpu, plain torch does its work: Failed to f") as seen:
        for _ in range(2):
            (value,) = lipswish(z, SCALE.float(), 0)
    assert len(seen) == 1 and torch.allclose(value, z * torch.sigmoid(0.75 * z) / 1.1)


def test_the_rule_of_two_cotangents_is_asked_for_where_it_serves(monkeypatch):
    """A block's gradients are the same with it, also where a control variate adds a cotangent of the slope."""
    branch = conv_branch(2, 6, "lipswish", 0.9, preactivation=True)
    estimators = [rf.PowerSeries(rf.Truncated(3), control_variate=control) for control in (False, True)]
    x, calls = torch.randn(3, 2, 4, 4), []

    def gradients(estimator):
        y, log_det = rf.ResidualBlock(branch, estimator)(x, torch.Generator().manual_seed(0))
        return torch.autograd.grad(y.square().sum() + log_det.sum(), list(branch.parameters()))

    plain = [gradients(estimator) for estimator in estimators]
    monkeypatch.setattr(activations, "fused", lambda *tensors: True)
    monkeypatch.setattr(activations, "lipswish_pull_back", lambda *a: calls.append(1) or lipswish_pull_back(*a))
    for estimator, before in zip(estimators, plain):
        for mine, other in zip(gradients(estimator), before):
            assert torch.allclose(mine, other, atol=1e-12)
        assert len(calls) == 3 or estimator.control_variate


def in_a_process(script, **environment):
    if importlib.util.find_spec("triton") is None:
        pytest.skip("Triton is not installed: pip install triton")
    here = os.environ | dict(OMP_NUM_THREADS="1") | environment
    line = [sys.executable, Path(__file__).with_name(script)]
    result = subprocess.run(line, env=here, capture_output=True, text=True)
    assert not result.returncode, result.stderr
    return result.stdout


def test_triton_computes_what_plain_torch_does_to_rounding():
    errors = json.loads(in_a_process("triton_on_cpu.py", TRITON_INTERPRET="1"))
    assert len(errors) == 21
    for name, error in errors.items():
        assert error < 1e-5, (name, error)


def test_tritons_kernels_compile_for_a_gpu():
    assert in_a_process("triton_compiled.py", TRITON_INTERPRET="0").startswith("76 kernels")


@pytest.mark.parametrize(
    ("activation", "control_variate"), [("lipswish", False), ("lipswish", True), ("clipswish", False)]
)
def test_a_flow_on_matrix_products_is_the_flow_on_convolutions(monkeypatch, activation, control_variate):
    """Also where the weights of all layers of one shape are computed together, each by itself, or under other norms."""
    estimator = rf.PowerSeries(rf.Truncated(3), control_variate=control_variate)
    model = rf.ImageModel((1, 4, 4), (2, 2), 40, 1, 8, activation=activation, train_estimator=estimator)
    flow, x, weights, found = rf.image_flow(model), torch.rand(6, 1, 4, 4), torch.rand(6), []
    flow.initialize_(x)
    layers = [m for m in flow.modules() if isinstance(m, LipschitzLayer)]
    swishes = [m for m in flow.modules() if isinstance(m, rf.LipSwish)]
    with torch.no_grad():
        for layer in layers[::2]:  # some divided by their norm, some not
            layer.weight.mul_(3)
    rf.update_norms_(flow)
    for kinds, together in (((), nullcontext), (("cpu",), nullcontext), (("cpu",), partial(applied_together, flow))):
        monkeypatch.setattr(kernels, "MATRICES", kinds)
        assert all(layer.is_matrix() == bool(kinds) for layer in layers)
        with together():
            assert all((step.ready is not None) == (together is not nullcontext) for step in [*layers, *swishes])
            log_prob = flow.log_prob(x, torch.Generator().manual_seed(0))
        assert all(step.ready is None for step in [*layers, *swishes])
        gradient = torch.autograd.grad((weights * log_prob).sum(), list(flow.parameters()))
        found.append([log_prob.detach(), flow.eval().log_prob(x, torch.Generator().manual_seed(0)), *gradient])
        flow.train()
    for one, *others in zip(*found):
        for other in others:
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_layers_of_other_norms_and_of_no_input_yet_are_left_to_themselves(monkeypatch):
    monkeypatch.setattr(kernels, "MATRICES", ("cpu",))
    mixed, fresh, kept = rf.LipschitzLinear(3, 5, 0.9, 1, 4), rf.LipschitzLinear(3, 5), rf.LipschitzLinear(3, 5)
    for layer in (mixed, kept):
        layer(torch.ones(1, 3))
    with applied_together(torch.nn.ModuleList([mixed, fresh, kept])):
        assert mixed.ready is None and fresh.ready is None
        torch.testing.assert_close(kept.ready[0], kept.applied())
    assert kept.ready is None


@pytest.mark.parametrize("batch", [1, 7])
def test_the_products_of_norms_by_gather_are_those_by_unfold(monkeypatch, batch):
    weights, v = torch.randn(3, 64, 4, 3, 3), torch.randn(3, batch, 4 * 5 * 6)
    by_unfold = gram_product(weights, (5, 6), whole=False)
    monkeypatch.setattr(kernels, "MATRICES", ("cpu",))
    by_gather = gram_product(weights, (5, 6), whole=False)
    assert by_gather.__qualname__ != by_unfold.__qualname__
    torch.testing.assert_close(by_gather(v), by_unfold(v), rtol=1e-10, atol=1e-10)
