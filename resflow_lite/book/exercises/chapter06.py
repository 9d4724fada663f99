"""Checks of the exercises of chapter 6, activations and norms."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu

from .verdict import close, exercise, expect, shaped

__all__ = ["check_gelu_derivatives", "check_closed_form", "check_restarts", "check_chain_bound"]


@exercise
def check_gelu_derivatives(gelu_derivatives: Callable[[Tensor], tuple[Tensor, Tensor]]) -> str:
    """gelu_derivatives(z): (slope, curvature) of z Phi(z)."""
    z = torch.linspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(gelu(z).sum(), z, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), z)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    answer = gelu_derivatives(z.detach())
    expect(isinstance(answer, (tuple, list)) and len(answer) == 2, "expected two tensors: the slope and the curvature")
    expect(not close(answer[0], gelu(z).detach()), "the first is the value z Phi(z); the slope is its derivative")
    expect(not close(answer[0], torch.special.ndtr(z).detach()), "z Phi(z) is a product: Phi is half of its slope")
    expect(close(answer[0], slope.detach()), "the slope is wrong; compare it with torch.autograd.grad")
    expect(not close(answer[1], (2 * density).detach()), "the derivative of z times the density has a second part")
    expect(close(answer[1], curvature), "the slope is right, the curvature is not")
    return "its largest slope is 1.129, at z = sqrt(2), a hill: divide by 1.13 and it may be used in a block."


@exercise
def check_closed_form(closed_form: Callable[[Tensor, float, float], Any]) -> str:
    """closed_form(A, p, q): |A|_(p->q) for p = 1 or q = infinity."""
    A = torch.tensor([[3.0, -1.0, 0.5], [1.0, 2.0, -2.0]], dtype=torch.float64)

    def norm(order: float, axis: int) -> Tensor:
        return torch.linalg.vector_norm(A, order, dim=axis).max()

    right = {(1, 2): norm(2, 0), (1, 1): norm(1, 0), (1, math.inf): A.abs().max()}
    right |= {(math.inf, math.inf): norm(1, 1), (2, math.inf): norm(2, 1), (3, math.inf): norm(1.5, 1)}
    swapped = {(1, 2): norm(2, 1), (1, 1): norm(1, 1)}
    for (p, q), truth in right.items():
        pair = f"p = {p:g}, q = {q:g}"
        answer = shaped(closed_form(A, p, q), (), f"one number for {pair}")
        rows = (p, q) in swapped and close(answer, swapped[p, q])
        expect(not rows, f"{pair}: these are rows; corners are columns")
        wrong = p != 2 and q == math.inf and close(answer, norm(p, 1)) and not close(answer, truth)
        expect(not wrong, f"{pair}: the rows are right, but their norm is the dual one, 1/p + 1/p* = 1")
        expect(close(answer, truth), f"{pair}: expected {float(truth):.4f}, got {float(answer):.4f}")
    return "both families at the price of one pass over the entries."


@exercise
def check_restarts(restarts: Callable[[float, float], Any]) -> str:
    """restarts(h, c): the smallest K with 1 - (1 - h)^K >= c."""
    for h, c in ((0.32, 0.99), (0.9, 0.95), (0.05, 0.999), (0.6, 0.5)):
        answer = restarts(h, c)
        exact = math.log(1 - c) / math.log(1 - h)
        right, case = math.ceil(exact), f"hit rate {h}, certainty {c}"
        expect(not isinstance(answer, (str, list, tuple)), f"expected an integer, got a {type(answer).__name__}")
        expect(answer == right or not close(answer, exact), f"{case}: {exact:.2f} starts; round up to an integer")
        expect(answer == right or answer != math.floor(exact), f"{case}: {answer} starts are not enough; round up")
        added = answer != right and answer == math.ceil(c / h)
        expect(not added, f"{case}: hit rates do not add up; failures multiply, (1 - h)^K")
        expect(answer == right, f"{case}: expected {right}, got {answer}")
    return "a dozen starts for a hit rate of a third. Certainty from below never becomes a proof, though."


@exercise
def check_chain_bound(chain_bound: Callable[[Sequence[float], Sequence[tuple[float, float]]], Any]) -> str:
    """chain_bound(norms, orders): the product of the norms where the chain closes, infinity otherwise."""
    inf = math.inf
    cases = [
        ([0.9, 0.8, 0.5], [(2, 2), (2, 2), (2, 2)], 0.36),
        ([0.9, 0.8], [(2, inf), (inf, 2)], 0.72),
        ([0.9], [(3, 3)], 0.9),
        ([0.9, 0.9], [(2, 1), (inf, 2)], inf),
        ([0.9, 0.9], [(2, inf), (inf, inf)], inf),
    ]
    for norms, orders, right in cases:
        answer = chain_bound(list(norms), list(orders))
        expect(not isinstance(answer, (str, list, tuple)), f"expected a number, got a {type(answer).__name__}")
        case = f"norms {norms}, orders {orders}"
        around = orders[0][0] != orders[-1][1] and close(answer, math.prod(norms))
        expect(not around, f"{case}: the last codomain is not the first domain, and {answer:.2f} bounds nothing")
        broken = right == inf and close(answer, math.prod(norms))
        expect(not broken, f"{case}: a codomain is not the next domain, and {answer:.2f} bounds nothing")
        expect(not close(answer, sum(norms)) or len(norms) == 1, f"{case}: norms of a product multiply")
        same = answer == inf if right == inf else close(answer, right)
        expect(bool(same), f"{case}: expected {right:g}, got {answer}")
    return "the same question that LipschitzBranch asks when it is built."
