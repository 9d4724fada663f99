"""Checks of the exercises of chapters 6, activations and norms, and 6b, induced norms."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import gelu

from .verdict import close, exercise, expect, number, shaped


@exercise
def check_gelu_derivatives(gelu_derivatives: Callable[[Tensor], tuple[Tensor, Tensor]]) -> str:
    """gelu_derivatives(z): (slope, curvature) of z Phi(z)."""
    z = torch.linspace(-3, 3, 13, dtype=torch.float64).requires_grad_()
    (slope,) = torch.autograd.grad(gelu(z).sum(), z, create_graph=True)
    (curvature,) = torch.autograd.grad(slope.sum(), z)
    density = torch.exp(-z * z / 2) / math.sqrt(2 * math.pi)
    answer = gelu_derivatives(z.detach())
    expect(isinstance(answer, (tuple, list)) and len(answer) == 2, "expected two tensors: the slope and the curvature")
    answer = [shaped(part, (13,), "the slope and the curvature, each like z") for part in answer]
    expect(not close(answer[0], gelu(z).detach()), "the first is the value z Phi(z); the slope is its derivative")
    expect(not close(answer[0], torch.special.ndtr(z).detach()), "z Phi(z) is a product: Phi is half of its slope")
    expect(close(answer[0], slope.detach()), "the slope is wrong; compare it with torch.autograd.grad")
    expect(not close(answer[1], (2 * density).detach()), "the derivative of z times the density has a second part")
    expect(close(answer[1], curvature), "the slope is right, the curvature is not")
    return "its largest slope is 1.129, at z = sqrt(2), a hill: divide by 1.13 and it may be used in a block."


@exercise
def check_lipswish_slope(lipswish_slope: Callable[[Tensor, float], Any]) -> str:
    """lipswish_slope(z, s): the derivative of z sigmoid(s z) / 1.1 by z."""
    z = torch.linspace(-4, 4, 17, dtype=torch.float64)
    for s in (1.0, 0.5, 3.0):
        gate = torch.sigmoid(s * z)
        right = (gate + s * z * gate * (1 - gate)) / 1.1
        answer = shaped(lipswish_slope(z, s), (17,), "one slope per entry of z")
        inner = close(answer, (gate + z * gate * (1 - gate)) / 1.1) and s != 1
        expect(not inner, f"s = {s}: the inner derivative of sigmoid(s z) is missing, the factor s")
        expect(not close(answer, 1.1 * right), f"s = {s}: the division by 1.1 is missing, so the slope passes 1")
        expect(s == 1 or not close(answer, s * right), f"s = {s}: the factor s belongs to the second part only")
        expect(not close(answer, gate / 1.1), f"s = {s}: the product rule has a second part")
        expect(not close(answer, z * gate / 1.1), f"s = {s}: that is the value, not its slope")
        wrong = f"s = {s}: at z = {z[10]} expected {right[10]:.4f}, got {answer[10]:.4f}"
        expect(close(answer, right), wrong)
    return "with t = s z it is a function of t alone, so its maximum is the same for every s."


@exercise
def check_tanh_curvature(tanh_curvature: Callable[[float], Any]) -> str:
    """tanh_curvature(delta): |a''| of tanh where a' = 1 - delta, 2 sqrt(delta) (1 - delta)."""
    for delta in (0.01, 0.25, 0.81):
        answer, right = number(tanh_curvature(delta)), 2 * math.sqrt(delta) * (1 - delta)
        case = f"delta = {delta}"
        expect(not close(answer, -right), f"{case}: the size is asked for, without the sign")
        expect(not close(answer, 2 * math.sqrt(delta)), f"{case}: that is Taylor's, good for small delta only")
        expect(not close(answer, 2 * delta * (1 - delta)), f"{case}: 1 - tanh^2 = 1 - delta, so tanh^2 = delta")
        expect(not close(answer, math.sqrt(delta) * (1 - delta)), f"{case}: the derivative of tanh^2 has a factor 2")
        at_z = 2 * math.tanh(delta) * (1 - math.tanh(delta) ** 2)
        expect(not close(answer, at_z), f"{case}: delta is no z; at this z the slope is 1 - delta")
        expect(close(answer, right), f"{case}: expected {right:.4f}, got {answer:.4f}")
    return "near slope 1 it is 2 sqrt(delta): a hill with kappa = 2."


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


def _dual(y: Tensor, p: float) -> Tensor:
    """The v with |v|_p = 1 and the largest <y, v>, 1 < p < infinity."""
    v = y.sign() * y.abs() ** (1 / (p - 1))
    return v / torch.linalg.vector_norm(v, p)


@exercise
def check_iterate_once(iterate_once: Callable[[Tensor, Tensor, float, float], Any]) -> str:
    """iterate_once(A, v, p, q): one round of the power iteration for |A|_(p->q), of norm 1 in |.|_p."""
    A = torch.tensor([[1.0, -0.4, 0.3], [0.2, 0.8, -0.5]], dtype=torch.float64)
    v = torch.tensor([0.6, -0.2, 0.4], dtype=torch.float64)
    for p, q in ((3, 3), (3, 1.5), (1.5, 4), (2, 2)):
        answer = shaped(iterate_once(A, v, p, q), (3,), "a vector like v")
        case, starred = f"p = {p}, q = {q}", q / (q - 1)
        right = _dual(A.T @ _dual(A @ v, starred), p)
        plain = A.T @ A @ v
        euclid = p != 2 and close(answer, plain / torch.linalg.vector_norm(plain, p))
        expect(not euclid, f"{case}: that is the iteration of 2 to 2; between the products stand dual vectors")
        undual = close(answer, _dual(A.T @ _dual(A @ v, q), p)) and q != 2
        expect(not undual, f"{case}: A v is measured by |.|_q, and its partner has length 1 in the dual norm, q*")
        swapped = p != 2 and close(answer, _dual(A.T @ _dual(A @ v, starred), p / (p - 1)))
        expect(not swapped, f"{case}: v has length 1 in |.|_p, not in the dual norm")
        half = p != 2 and close(answer, A.T @ _dual(A @ v, starred))
        expect(not half, f"{case}: the second dual vector is missing")
        length = float(torch.linalg.vector_norm(answer, p))
        parallel = close(answer / length, right)
        expect(close(length, 1.0) or not parallel, f"{case}: the direction is right, its {p:g}-norm is {length:.3f}")
        expect(close(answer, right), f"{case}: expected {[round(n, 3) for n in right.tolist()]}")
    return "each half step can only raise |A v|_q."


@exercise
def check_restarts(restarts: Callable[[float, float], Any]) -> str:
    """restarts(h, c): the smallest K with 1 - (1 - h)^K >= c."""
    for h, c in ((0.32, 0.99), (0.9, 0.95), (0.05, 0.999), (0.6, 0.5)):
        answer = number(restarts(h, c), "a whole number of starts")
        exact = math.log(1 - c) / math.log(1 - h)
        right, case = math.ceil(exact), f"hit rate {h}, certainty {c}"
        expect(answer == right or not close(answer, exact), f"{case}: {exact:.2f} starts; round up to an integer")
        expect(answer == right or answer != math.floor(exact), f"{case}: {answer} starts are not enough; round up")
        added = answer != right and answer == math.ceil(c / h)
        expect(not added, f"{case}: hit rates do not add up; failures multiply, (1 - h)^K")
        one = answer != right and close(answer, 1 + math.ceil(math.log(1 - h) / math.log(1 - c)))
        expect(not one, f"{case}: the two are exchanged: (1 - h)^K is to be at most 1 - c")
        expect(answer == right, f"{case}: expected {right}, got {answer:g}")
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
        answer = number(chain_bound(list(norms), list(orders)))
        case = f"norms {norms}, orders {orders}"
        around = orders[0][0] != orders[-1][1] and close(answer, math.prod(norms))
        expect(not around, f"{case}: the last codomain is not the first domain, and {answer:.2f} bounds nothing")
        broken = right == inf and close(answer, math.prod(norms))
        expect(not broken, f"{case}: a codomain is not the next domain, and {answer:.2f} bounds nothing")
        expect(not close(answer, sum(norms)) or len(norms) == 1, f"{case}: norms of a product multiply")
        same = answer == inf if right == inf else close(answer, right)
        expect(bool(same), f"{case}: expected {right:g}, got {answer}")
    return "the same question that LipschitzBranch asks when it is built."
