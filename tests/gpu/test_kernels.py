"""Triton's kernels on a GPU against plain torch in float64 on the CPU."""

import math

import pytest
import torch
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight

from resflow_lite.numerics import kernels
from resflow_lite.numerics.kernels import (
    MatrixConv,
    add_terms_,
    channel_sums,
    collect,
    columns,
    gather,
    kernel_matrix,
    kernel_of,
    lipswish,
    lipswish_pull_back,
    scaled_product,
)
from resflow_lite.numerics.tensor_float import tensor_float

ROUNDING = {torch.float32: 5e-6, torch.bfloat16: 2e-2}
SHAPES = [(2, 1, 1, 1), (64, 28, 28, 1), (5, 32, 32, 3), (3, 9, 7, 12), (2, 8, 8, 48)]
"""Of images (B, H, W, C)."""


def as_matrix(weight):
    return MatrixConv(kernel_matrix(weight), weight.shape)


@pytest.fixture(autouse=True)
def by_triton(gpu):
    pytest.importorskip("triton", reason="Triton is not installed: pip install triton")
    with torch.no_grad():
        assert kernels.fused(torch.ones(1, device=gpu))
        yield


@pytest.fixture(params=ROUNDING, ids=str)
def compare(request, gpu):
    """Holds a function of tensors on the GPU in a low precision against float64 on the CPU, same numbers."""
    dtype = request.param

    def check(function, *inputs):
        low = [t.to(gpu, dtype, memory_format=torch.preserve_format) for t in inputs]
        exact = function(*[t.double().cpu() for t in low])
        found = function(*low)  # after that: it may write over its inputs
        for mine, other in zip(*(f if isinstance(f, tuple) else (f,) for f in (found, exact))):
            assert mine.dtype == dtype and mine.shape == other.shape
            assert float((mine.cpu() - other).abs().max() / other.abs().max()) < ROUNDING[dtype]

    return check


def test_lipswish_and_its_derivatives(compare):
    scale = torch.tensor([0.75])
    for shape in ((1,), (100_003,), (16, 512, 8, 8)):
        z, tangent, y_bar, p = (torch.randn(shape) for _ in range(4))
        if len(shape) == 4:
            z, p = (t.contiguous(memory_format=torch.channels_last) for t in (z, p))
        for order in range(3):
            compare(lambda z, s, order=order: lipswish(z, s, order), z, scale)
        compare(lambda *a: lipswish_pull_back(*a)[:2], z, tangent, y_bar, p, scale)
        # a sum of many signs: held where none cancel
        compare(lambda *a: lipswish_pull_back(*a)[2], z.abs(), tangent.abs(), y_bar.abs(), p.abs(), scale)


@pytest.mark.parametrize("shape", SHAPES)
def test_gather_and_collect(compare, shape):
    x = torch.randn(shape)
    g = torch.randn(x[..., 0].numel(), columns(shape[3]))
    compare(gather, x)
    compare(lambda g: collect(g, shape), g)
    compare(lambda g, x: collect(g, shape, x), g, x)


@pytest.mark.parametrize("shape", [(5, 3), (64, 512, 14, 14), (9000, 512)])  # the last two by our kernel
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_sums_of_channels(compare, shape, memory):
    x = torch.rand(shape)  # a sum of many signs: held where none cancel
    compare(channel_sums, x.contiguous(memory_format=memory) if x.dim() == 4 else x)


@pytest.mark.parametrize("n", [1, 40, 64])
def test_terms_are_added_over_the_first_samples(gpu, n):
    u, total, before, w = (torch.randn(64, 3, 32, 32) for _ in range(4))
    low = [t.to(gpu, torch.bfloat16)[:n] for t in (before, w)]
    sums = [t.to(gpu).contiguous(memory_format=torch.channels_last) for t in (u, total)]
    add_terms_(*sums, *low, 0.75, -0.25)
    add_terms_(u, total, *(t.float().cpu() for t in low), 0.75, -0.25)
    for mine, exact in zip(sums, (u, total)):
        assert torch.allclose(mine.cpu(), exact, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("m", "k", "n"), [(1, 1, 1), (300, 16, 24), (70_000, 32, 512), (129, 432, 200)])
@pytest.mark.parametrize("transposed", [False, True])
def test_products_with_a_factor_for_every_entry(gpu, compare, m, k, n, transposed):
    """The way that is taken and every other one, as far as the card can."""
    from resflow_lite.numerics.triton_products import WAYS, milliseconds

    rows, matrix, scale = torch.randn(m, k), torch.randn(k, n), torch.randn(m, n)
    matrix = matrix.T.contiguous().T if transposed else matrix
    with tensor_float(False):
        compare(scaled_product, rows, matrix, scale)
    exact = rows.double() @ matrix.double() * scale
    with tensor_float(True):  # ten bits
        inputs = [t.to(gpu) for t in (rows, matrix, scale)]
        for way in (scaled_product, *(way for way in WAYS if milliseconds(way, *inputs) < math.inf)):
            assert float((way(*inputs).cpu() - exact).abs().max() / exact.abs().max()) < 5e-3


@pytest.mark.parametrize(("n_in", "n_out"), [(1, 64), (64, 3), (12, 128), (128, 48)])
def test_a_convolution_as_matrix_products(compare, n_in, n_out):
    weight, bias = torch.randn(n_out, n_in, 3, 3) / 10, torch.randn(n_out)
    z, u = torch.randn(4, n_in, 14, 13), torch.randn(4, n_out, 14, 13)
    with tensor_float(False):
        compare(lambda w, z, b: as_matrix(w).product(z, b), weight, z, bias)
        compare(lambda w, u: as_matrix(w).transpose(u), weight, u)
        compare(lambda w, u, z: as_matrix(w).transpose(u, z), weight, u, z)
        compare(lambda w, u, z: kernel_of(as_matrix(w).outer(u, z), w.shape), weight, u, z)


@pytest.mark.parametrize(("n_in", "n_out"), [(3, 16), (16, 3)])
def test_float64_stays_float64(gpu, n_in, n_out):
    weight = torch.randn(n_out, n_in, 3, 3, dtype=torch.float64)
    z, u = (torch.randn(2, n, 5, 7, dtype=torch.float64) for n in (n_in, n_out))
    conv = as_matrix(weight.to(gpu))
    found = (
        conv.product(z.to(gpu)),
        conv.transpose(u.to(gpu)),
        kernel_of(conv.outer(u.to(gpu), z.to(gpu)), weight.shape),
    )
    exact = (
        conv2d(z, weight, padding=1),
        conv2d_input(z.shape, weight, u, padding=1),
        conv2d_weight(z, weight.shape, u, padding=1),
    )
    for mine, other in zip(found, exact):
        assert float((mine.cpu() - other).abs().max()) < 1e-10
    scale = torch.tensor([0.75], dtype=torch.float64)
    for mine, other in zip(lipswish(z.to(gpu), scale.to(gpu), 2), lipswish(z, scale, 2)):
        assert float((mine.cpu() - other).abs().max()) < 1e-13


def test_a_batch_with_more_than_two_billion_entries(gpu):
    """Offsets of 32 bits would wrap: the last images tell."""
    shape = (5000, 64, 64, 12)
    if torch.cuda.mem_get_info(gpu)[0] < 16e9:
        pytest.skip("needs 16 GB of free memory on the GPU")
    x = torch.zeros(shape, device=gpu, dtype=torch.bfloat16)
    x[-1] = torch.randn(shape[1:], device=gpu)
    rows = gather(x)
    assert rows.numel() > 2**31
    assert torch.equal(rows[-64 * 64 :], gather(x[-1:]))
    assert torch.equal(collect(rows, shape)[-1:], collect(rows[-64 * 64 :], (1, *shape[1:])))
    flat, scale = rows.view(-1), torch.ones(1, device=gpu)
    assert torch.equal(lipswish(flat, scale, 0)[0][-1000:], lipswish(flat[-1000:].clone(), scale, 0)[0])


def test_the_kernels_can_be_captured_in_a_graph(gpu):
    """Nothing is read back and no shape depends on a value: replayed on new numbers, the graph gives theirs."""
    x, scale = torch.randn(4, 3, 8, 8, device=gpu), torch.tensor([0.75], device=gpu)
    conv, square = as_matrix(torch.randn(32, 3, 3, 3, device=gpu)), torch.randn(64, 64, device=gpu).bfloat16()

    def step():
        value, slope = lipswish(conv.product(x), scale, 1)
        z_bar, q, s_bar = lipswish_pull_back(value, slope.clone(), value, slope.clone(), scale)
        found = conv.transpose(z_bar, x), conv.outer(q, x), s_bar, channel_sums(z_bar)
        both = torch.zeros_like(z_bar), torch.zeros_like(z_bar)
        add_terms_(*both, z_bar, q, 0.5, 0.25)
        return *found, *both, scaled_product(x.view(-1, 64).bfloat16(), square.T, x.view(-1, 64).bfloat16())

    step()  # compiles, and finds the fastest way of each product
    graph = torch.cuda.CUDAGraph()
    torch.cuda.synchronize()
    with torch.cuda.graph(graph):
        found = step()
    for seed in range(2):
        x.normal_(generator=torch.Generator(gpu).manual_seed(seed))
        graph.replay()
        for mine, other in zip(found, step()):
            assert torch.allclose(mine, other, rtol=1e-5, atol=1e-5)
