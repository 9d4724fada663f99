"""Checks of the exercises of chapter 5, gradients and memory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

from .verdict import close, exercise, expect, shaped

MATRIX = [[0.1, 0.4, -0.2], [-0.3, 0.2, 0.1], [0.2, 0.1, -0.4]]
WEIGHTS = [1.0, 1.0, 2.0, 4.0]


@exercise
def check_log_det_gradient(log_det_gradient: Callable[[Tensor], Tensor]) -> str:
    """log_det_gradient(J): (D, D) -> (D, D), the derivatives of log det(I + J) by the entries of J."""
    J = torch.tensor(MATRIX, dtype=torch.float64)
    answer = shaped(log_det_gradient(J), (3, 3), "one derivative for each entry of J")
    inverse = torch.linalg.inv(torch.eye(3, dtype=J.dtype) + J)
    expect(not close(answer, inverse), "nearly: compare the derivative by J[0, 1] with a finite difference")
    expect(not close(answer, torch.linalg.inv(J).T), "that is the gradient of log det(J); the identity is missing")
    expect(close(answer, inverse.T), f"for J = {MATRIX} the entry [0, 1] should be {float(inverse[1, 0]):.4f}")
    return "the inverse, transposed. Autograd through slogdet computes the same."


@exercise
def check_neumann_vector(neumann_vector: Callable[[Callable, Tensor, Sequence[float]], Tensor]) -> str:
    """neumann_vector(pull_back, v, c): u = sum_k (-1)^(k-1) c_k (J^T)^(k-1) v."""
    J, v = torch.tensor(MATRIX, dtype=torch.float64), torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    calls = []

    def pull_back(w: Tensor) -> Tensor:
        calls.append(w)
        return J.T @ w

    def u(matrix: Tensor, sign: int, first: int) -> Tensor:
        powers = [torch.linalg.matrix_power(matrix, first + k) @ v for k in range(len(WEIGHTS))]
        return sum(sign**k * c * w for k, (c, w) in enumerate(zip(WEIGHTS, powers)))

    answer = shaped(neumann_vector(pull_back, v, WEIGHTS), (3,), "a vector like v")
    expect(not close(answer, u(J.T, 1, 0)), "the signs should alternate, and start with plus")
    expect(not close(answer, u(J.T, -1, 1)), "one power of J too many: the first term is c_1 v itself")
    plain = sum((-1) ** k * torch.linalg.matrix_power(J.T, k) @ v for k in range(len(WEIGHTS)))
    expect(not close(answer, plain), "the weights c_k are missing: this u is that of a truncated series")
    divided = sum((-1) ** k * c / (k + 1) * torch.linalg.matrix_power(J.T, k) @ v for k, c in enumerate(WEIGHTS))
    expect(not close(answer, divided), "the 1/k does not belong here: the k places of dJ in term k cancel it")
    right = u(J.T, -1, 0)
    expect(close(answer, right), f"expected {right.tolist()}, got {answer.tolist()}")
    needed = len(WEIGHTS) - 1
    expect(len(calls) <= needed, f"right, but with {len(calls)} products where {needed} are enough")
    return "n - 1 products without a graph; the one with a graph, J^T u, comes on top."


@exercise
def check_number_to_log(number_to_log: Callable[[Sequence[float], Sequence[float]], Any]) -> str:
    """number_to_log(d, c): d_k = v^T J^k v and weights c_k -> the estimate of log det(I + J)."""
    d = [-0.9, 0.5, -0.3, 0.2]
    answer = shaped(number_to_log(d, WEIGHTS), (), "one number")
    surrogate = sum((-1) ** k * c * t for k, (c, t) in enumerate(zip(WEIGHTS, d)))
    right = sum((-1) ** k * c * t / (k + 1) for k, (c, t) in enumerate(zip(WEIGHTS, d)))
    unweighted = sum((-1) ** k * t / (k + 1) for k, t in enumerate(d))
    expect(not close(answer, surrogate), "that is <u, J v>, an estimate of tr(J (I + J)^-1): the 1/k is missing")
    expect(not close(answer, unweighted), "without the weights c_k the estimate is truncated, and biased")
    expect(not close(answer, -right), "the sign is wrong: the first term counts with plus")
    expect(close(answer, right), f"for d = {d} and c = {WEIGHTS} expected {right:.4f}, got {float(answer):.4f}")
    return "the same numbers as in <u, J v>, each divided by its k."


def _network() -> nn.Sequential:
    g = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in g.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return g


def _points(n: int) -> list[Tensor]:
    """n batches (4, 3); the first requires a gradient."""
    generator = torch.Generator().manual_seed(1)
    first, *others = (torch.randn(4, 3, generator=generator, dtype=torch.float64) for _ in range(n))
    return [first.requires_grad_(), *others]


@exercise
def check_weighted_surrogate(weighted_surrogate: Callable[..., Tensor]) -> str:
    """weighted_surrogate(g, x, u, v, weights): a scalar with gradient sum_b weights_b u_b^T (dJ_b) v_b."""
    g, (x, u, v) = _network(), _points(3)
    weights = torch.tensor([0.5, 2.0, 0.1, 1.2], dtype=torch.float64)

    def gradient(scalar: Tensor) -> Tensor:
        return torch.cat([d.flatten() for d in grad(scalar, list(g.parameters()), materialize_grads=True)])

    def true(weights: Tensor, left: Tensor, right: Tensor) -> Tensor:
        (pulled,) = grad(g(x), x, left, create_graph=True)
        return gradient((weights * (pulled * right).sum(1)).sum())

    answer = weighted_surrogate(g, x, u, v, weights)
    expect(isinstance(answer, Tensor), f"expected a tensor, got a {type(answer).__name__}")
    expect(answer.numel() == 1, f"expected a scalar, not shape {tuple(answer.shape)}: sum over the samples")
    expect(answer.requires_grad, "this scalar has no graph: grad(..., create_graph=True) keeps one")
    found, right = gradient(answer.sum()), true(weights, u, v)
    one = torch.ones(4, dtype=torch.float64)
    expect(not close(found, true(weights[0] * one, u, v)), "that is the first sample's weight for all of them")
    expect(not close(found, true(weights.mean() * one, u, v)), "the mean weight for all samples is not theirs")
    expect(not close(found, true(one, u, v)), "the weights are missing")
    expect(not close(found, true(weights, v, u)), "u and v have changed places: it is J^T u, multiplied by v")
    expect(close(found, right), "its gradient is not the weighted sum of u^T dJ v")
    return "with the weights inside, every sample keeps its own."


@exercise
def check_estimate_with_gradient(estimate_with_gradient: Callable[..., Tensor]) -> str:
    """estimate_with_gradient(g, x, v, c): (B,), the inner products with the gradient of <u, J v>, u constant."""
    g, (x, v) = _network(), _points(2)
    c, parameters = [1.0, 1.0, 1.5], list(g.parameters())

    def gradient(values: Tensor) -> Tensor:
        found = grad(values.sum(), parameters, materialize_grads=True, retain_graph=True)
        return torch.cat([d.flatten() for d in found])

    y, w, u, value = g(x), v, torch.zeros_like(v), torch.zeros(4, dtype=torch.float64)
    for k, c_k in enumerate(c, 1):
        u = u + (-1) ** (k - 1) * c_k * w
        (w,) = grad(y, x, w, create_graph=True)
        value = value + c_k * (-1) ** (k + 1) / k * (w * v).sum(1)
    surrogate, moving = ((grad(y, x, each, create_graph=True)[0] * v).sum(1) for each in (u.detach(), u))
    right, of_value, of_moving = gradient(surrogate), gradient(value), gradient(moving)

    answer = shaped(estimate_with_gradient(g, x, v, c), (4,), "one estimate for each row")
    expect(answer.requires_grad, "these numbers have no graph: nothing can be trained with them")
    expect(not close(answer.detach(), surrogate.detach()), "that is <u, J v>: it has the gradient, but not the value")
    expect(close(answer.detach(), value.detach()), f"the values should be {[round(t, 4) for t in value.tolist()]}")
    found = gradient(answer)
    twice = any(close(found, of_value + each) for each in (right, of_moving))
    expect(not twice, "the gradient comes in twice: the value has a graph, too. Who shall have one?")
    expect(not close(found, of_moving), "u has a graph, and it must be a constant in equation (3)")
    expect(not close(found, of_value), "that is the backpropagated series: right on average, but it keeps every term")
    expect(close(found, right), "the value is right, its gradient is not that of <u, J v>")
    return "this value, that gradient, and a graph through one product."
