"""Checks of the exercises of chapter 5, gradients and memory."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import grad

from .verdict import close, exercise, expect, shaped

__all__ = ["check_log_det_gradient", "check_neumann_vector", "check_number_to_log", "check_weighted_surrogate"]

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


@exercise
def check_weighted_surrogate(weighted_surrogate: Callable[..., Tensor]) -> str:
    """weighted_surrogate(g, x, u, v, weights): a scalar with gradient sum_b weights_b u_b^T (dJ_b) v_b."""
    generator = torch.Generator().manual_seed(0)

    def randn(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    g = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 3)).double()
    with torch.no_grad():
        for p in g.parameters():
            p.copy_(0.5 * randn(*p.shape))
    x, u, v = randn(4, 3).requires_grad_(), randn(4, 3), randn(4, 3)
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
