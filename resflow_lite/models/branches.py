"""Residual branches of Lipschitz layers with activations between: of vectors, and of images."""

from itertools import pairwise

from ..layers.activations import Activation, make_activation
from ..layers.branch import LipschitzBranch
from ..layers.convolution import LipschitzConv2d
from ..layers.lipschitz import LearnedOrder, LipschitzLinear, Order

__all__ = ["NORMS", "closed_chain", "conv_branch", "dense_branch"]

NORMS = ("spectral", "learned")


def closed_chain(n_layers: int, norms: str) -> list[tuple[Order, Order]]:
    """(domain, codomain) of every layer of a branch; the last codomain is the first domain. Source: as LearnedOrder."""
    orders: list[Order] = [LearnedOrder() if norms == "learned" else 2 for _ in range(n_layers)]
    return list(zip(orders, [*orders[1:], orders[0]]))


def dense_branch(
    widths: tuple[int, ...],
    activation: str | type[Activation],
    coeff: float,
    preactivation: bool = False,
    norms: str = "spectral",
) -> LipschitzBranch:
    """Linear layers widths[0] -> widths[1] -> ... with activations between, and one before the first if asked."""
    wider = 1 + make_activation(activation).pairs
    steps = []
    for i, ((n_in, n_out), orders) in enumerate(zip(pairwise(widths), closed_chain(len(widths) - 1, norms))):
        active = i > 0 or preactivation
        steps += [make_activation(activation)] if active else []
        steps.append(LipschitzLinear(n_in * wider if active else n_in, n_out, coeff, *orders))
    return LipschitzBranch(steps)


def conv_branch(
    channels: int,
    width: int,
    activation: str | type[Activation],
    coeff: float,
    preactivation: bool,
    norms: str = "spectral",
) -> LipschitzBranch:
    """channels -3x3-> width -1x1-> width -3x3-> channels, an activation between layers and one before if asked."""
    wider = 1 + make_activation(activation).pairs
    steps = []
    sizes = ((channels, width, 3), (width, width, 1), (width, channels, 3))
    for i, ((n_in, n_out, kernel), orders) in enumerate(zip(sizes, closed_chain(len(sizes), norms))):
        active = i > 0 or preactivation
        steps += [make_activation(activation)] if active else []
        steps.append(LipschitzConv2d(n_in * wider if active else n_in, n_out, kernel, coeff, *orders))
    return LipschitzBranch(steps)
