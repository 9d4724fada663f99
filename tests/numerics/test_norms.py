"""Certified norms between any two orders: never below what many starts of power iteration find."""

import math

import pytest
import torch

import resflow_lite as rf
from resflow_lite.numerics.norms import conjugate, vector_norm

INF = math.inf


def dual_vectors(y, p):
    """The maximisers of <y, v> over |v|_p = 1, row by row, up to their length."""
    if p == INF:
        return y.sign()
    if p == 1:
        return torch.nn.functional.one_hot(y.abs().argmax(1), y.shape[1]) * y.sign()
    scaled = y / y.abs().amax(1, keepdim=True).clamp_min(1e-300)
    return scaled.sign() * scaled.abs().pow(conjugate(p) - 1)


def best_ratio(matrix, p, q, generator):
    """The largest |A v|_q / |v|_p that 100 random starts and the basis vectors lead to."""
    v = torch.cat([torch.randn(100, matrix.shape[1], generator=generator), torch.eye(matrix.shape[1])])
    best = 0.0
    for _ in range(30):
        ratios = torch.linalg.vector_norm(v @ matrix.T, q, dim=1) / torch.linalg.vector_norm(v, p, dim=1)
        best = max(best, float(ratios.max()))
        v = dual_vectors(dual_vectors(v @ matrix.T, conjugate(q)) @ matrix, p)
    return best


def small_layer(matrix, p, q):
    """A dense layer that applies matrix / 10^6, too small to be scaled."""
    layer = rf.LipschitzLinear(matrix.shape[1], matrix.shape[0], 1.0, p, q)
    layer.weight.data.copy_(matrix / 1e6)
    layer(torch.zeros(1, matrix.shape[1]))
    return layer


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_certificate_of_any_two_orders_is_never_below_the_norm(dtype):
    generator = torch.Generator().manual_seed(0)

    def draw(low, high):
        return int(torch.randint(low, high, (), generator=generator))

    def order():
        return (1.0, 2.0, INF)[draw(0, 3)] if draw(0, 3) == 0 else 1 / float(torch.rand((), generator=generator))

    for i in range(300):
        p, q = order(), order()
        if i % 3:
            n_in, n_out = draw(1, 12), draw(1, 12)
            layer, shape = rf.LipschitzLinear(n_in, n_out, 1.0, p, q), (n_in,)
        else:
            n_in, n_out = draw(1, 3), draw(1, 3)
            layer = rf.LipschitzConv2d(n_in, n_out, 3, 1.0, p, q)
            shape = (n_in, draw(1, 5), draw(1, 5))
        if i % 4 == 0 and n_in == n_out and i % 3:
            layer.weight.data.copy_(torch.eye(n_in))
        layer.to(dtype).weight.data *= 1e-3 * 10 ** float(4 * torch.rand((), generator=generator))
        layer(torch.zeros(1, *shape, dtype=dtype))
        if i % 5 == 0:  # a stale vector
            layer.weight.data += 0.5 * layer.weight.std(correction=0) * torch.randn(layer.weight.shape, dtype=dtype)
        applied = layer.normalized_weight(torch.zeros(1, *shape, dtype=dtype)).detach().double()
        basis = torch.eye(math.prod(shape)).view(-1, *shape)
        upper = layer.norm_upper()
        best = best_ratio(layer.double().product(applied, basis).flatten(1).T, p, q, generator)
        assert best <= upper, (i, layer, shape, p, q)
        assert upper < 2.5 * best + 1e-12, (i, layer, shape, p, q)


@pytest.mark.parametrize("orders", [(INF, 3.0), (4.0, 3.0), (INF, 2.5), (5.0, 2.5), (1.5, 1.2), (4.0, 1.5), (3.0, 5.0)])
def test_the_norm_of_the_identity_between_any_two_orders_is_certified_to_a_thousandth(orders):
    p, q = orders
    true = 8 ** max(1 / q - 1 / p, 0)
    assert true <= 1e6 * small_layer(torch.eye(8), p, q).norm_upper() <= 1.001 * true


def test_high_orders_neither_under_nor_overflow():
    for order in (50.0, 400.0, torch.tensor(400.0)):
        for scale in (1e-3, 1e3):
            x = torch.full((2,), scale, dtype=torch.float32)
            assert vector_norm(x, order).item() == pytest.approx(scale * 2 ** (1 / float(order)), rel=1e-4)


def test_the_matrix_on_which_interpolation_over_the_reals_fails():
    matrix = torch.tensor([[1.0, 1.0], [1.0, -1.0]])
    best = best_ratio(matrix, 4, 4 / 3, torch.Generator().manual_seed(0))
    assert 2**0.75 < best <= 1e6 * small_layer(matrix, 4, 4 / 3).norm_upper()
