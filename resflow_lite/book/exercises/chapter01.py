"""Checks of the exercises of chapter 1, the change of variables."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .verdict import close, exercise, expect, shaped


@exercise
def check_log_normal(log_prob: Callable[[Tensor], Tensor]) -> str:
    """log_prob(x): (B,) positive -> (B,) nats, the density of x = exp(z) with z standard normal."""
    x = torch.tensor([0.2, 1.0, 3.5], dtype=torch.float64)
    answer = shaped(log_prob(x), (3,), "one log-density for each x")
    constant = -0.5 * math.log(2 * math.pi)
    base = -0.5 * x.log().square() + constant
    right = base - x.log()
    expect(not close(answer, base), "that is log N(log x), the first term alone; log |f'(x)| is missing")
    expect(not close(answer, base + x.log()), "the sign is wrong: f(x) = log x has the slope 1 / x, not x")
    expect(not close(answer, -0.5 * x.square() + constant - x.log()), "log N is to be taken at z = log x, not at x")
    expect(not close(answer, right.exp()), "that is the density; the answer is its logarithm")
    expect(not close(answer, right - constant), "the normalising constant of the normal, -log(2 pi) / 2, is missing")
    expect(close(answer, right), f"at x = {x.tolist()} expected {_rounded(right)}, got {_rounded(answer)}")
    return "the density of exp(z) is the normal one at log x, times 1 / x."


@exercise
def check_log_abs_det(log_abs_det: Callable[[Callable[[Tensor], Tensor], Tensor], Tensor]) -> str:
    """log_abs_det(f, x): f (D,) -> (D,), x (B, D) -> (B,) nats."""
    matrix = torch.tensor([[0.5, 2.0, 0.0], [1.5, 0.5, 1.0], [0.3, -1.0, 1.0]], dtype=torch.float64)

    def f(x: Tensor) -> Tensor:
        return torch.sinh(x @ matrix.T)

    x = torch.tensor([[0.1, -0.4, 0.3], [0.5, 0.2, -0.6]], dtype=torch.float64)
    answer = log_abs_det(f, x)
    pair = isinstance(answer, tuple) and len(answer) == 2 and all(isinstance(part, Tensor) for part in answer)
    expect(not pair, "that is a pair; slogdet returns the sign and the logarithm: take the second, .logabsdet")
    answer = shaped(answer, (2,), "one number for each of 2 rows")
    jacobians = torch.cosh(x @ matrix.T)[:, :, None] * matrix
    right = torch.linalg.slogdet(jacobians).logabsdet
    diagonal = jacobians.diagonal(dim1=1, dim2=2).abs().log().sum(1)
    expect(not close(answer, diagonal), "the product of the diagonal is the determinant of triangular matrices only")
    expect(not bool(answer.isnan().any()), "this determinant is negative: take the absolute value first")
    expect(not close(answer, right.exp()), "that is |det|; the answer is its logarithm")
    expect(not close(answer, -right), "the sign is wrong: that is the log-determinant of the inverse map")
    expect(close(answer, right), f"expected {_rounded(right)}, got {_rounded(answer)}")
    return "one Jacobian per row, and the logarithm of how much it changes volumes."


@exercise
def check_polar(log_prob: Callable[[Tensor, Tensor], Tensor]) -> str:
    """log_prob(r, theta): (B,), (B,) -> (B,) nats, of the polar coordinates of a standard normal point."""
    r, theta = torch.tensor([[0.3, 1.0, 2.5], [0.1, 3.0, 6.0]], dtype=torch.float64)
    answer = shaped(log_prob(r, theta), (3,), "one log-density for each pair")
    base = -0.5 * r.square() - math.log(2 * math.pi)
    right = base + r.log()
    expect(not close(answer, base), "that is the density of x; a cell of sides dr and dtheta has the area r dr dtheta")
    expect(not close(answer, base - r.log()), "the sign is wrong: from (r, theta) to x areas grow by r")
    constant = 0.5 * math.log(2 * math.pi)
    expect(not close(answer, right + 2 * constant), "the constant of the normal density, 1 / (2 pi), is missing")
    expect(not close(answer, right + constant), "the constant of the normal density counts twice in the plane")
    expect(close(answer, right), f"at r = {r.tolist()} expected {_rounded(right)}, got {_rounded(answer)}")
    return "the r of r dr dtheta is a Jacobian determinant."


@exercise
def check_units(log_prob_in_metres: Callable[[Tensor, int], Tensor]) -> str:
    """log_prob_in_metres(log_prob_in_cm, D): (B,) -> (B,) nats."""
    log_prob, D = torch.tensor([-3.0, -10.5], dtype=torch.float64), 3
    answer = shaped(log_prob_in_metres(log_prob, D), (2,), "one log-density for each point")
    shift = math.log(100)
    expect(not close(answer, log_prob + shift), "each of the D coordinates changes its unit, not one")
    expect(not close(answer, log_prob - D * shift), "the other way: a metre is longer, and holds more mass")
    right = log_prob + D * shift
    expect(close(answer, right), f"for {log_prob.tolist()} and D = 3 expected {_rounded(right)}")
    return "the same model has gained 4.6 nats per dimension by a change of units alone."


class _Slide:
    """y = (x_1, x_2 e^(s x_1)): its log-determinant is s x_1, and its inverse has minus that at the same pair."""

    def __init__(self, s: float, *, swap: bool) -> None:
        self.s, self.order = s, [1, 0] if swap else [0, 1]

    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = x[:, self.order]
        return torch.stack([x[:, 0], x[:, 1] * (self.s * x[:, 0]).exp()], 1), self.s * x[:, 0]

    def inverse(self, y: Tensor) -> Tensor:
        return torch.stack([y[:, 0], y[:, 1] * (-self.s * y[:, 0]).exp()], 1)[:, self.order]


@exercise
def check_way_back(sample_with_log_prob: Callable[..., tuple[Tensor, Tensor]]) -> str:
    """sample_with_log_prob(layers, z): x = f^-1(z), (B, D), and log p(x), (B,)."""
    layers = [_Slide(0.7, swap=False), _Slide(-0.4, swap=True)]
    z = torch.tensor([[0.5, -1.0], [-0.8, 0.3], [1.2, 0.9]], dtype=torch.float64)
    answer = sample_with_log_prob(layers, z)
    expect(isinstance(answer, tuple) and len(answer) == 2, "expected a pair: the samples x, and log p of each")
    x, log_p = shaped(answer[0], (3, 2), "the samples"), shaped(answer[1], (3,), "one log p for each sample")
    undone = layers[0].inverse(layers[1].inverse(z))
    other = layers[1].inverse(layers[0].inverse(z))
    expect(not close(x, other), "the layers are undone in the wrong order: the last comes first")
    expect(close(x, undone), "these x do not come from z: encoding them does not give z back")
    middle, first = layers[0](x)
    log_det = first + layers[1](middle)[1]
    base, at_x = (-0.5 * t.square().sum(1) - math.log(2 * math.pi) for t in (z, x))
    right = base + log_det
    expect(
        not close(log_p, base - log_det), "it is off by twice the log-determinant: whose is the one in equation (2)?"
    )
    expect(not close(log_p, base), "that is log N(z) alone; the log-determinant is missing")
    expect(not close(log_p, at_x + log_det), "log N is to be taken at z, where the normal density is, not at x")
    late = layers[1](z)[1] + layers[0](layers[1].inverse(z))[1]
    expect(not close(log_p, base + late), "a layer's log-determinant belongs to its input: undo the layer first")
    expect(close(log_p, right), f"for z = {z.tolist()} expected {_rounded(right)}, got {_rounded(log_p)}")
    return "samples with their densities, in one pass; log_prob of the same x says the same."


def _rounded(values: Tensor) -> list[float]:
    return [round(float(v), 4) for v in torch.as_tensor(values).flatten()]
