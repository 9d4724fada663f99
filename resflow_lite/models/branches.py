"""Residual branches of Lipschitz layers with activations between: of vectors, and of images."""

from collections.abc import Sequence
from itertools import pairwise

from ..expect import sizes
from ..layers.activations import Activation, make_activation
from ..layers.branch import LipschitzBranch
from ..layers.convolution import LipschitzConv2d
from ..layers.linear import LipschitzLinear
from ..layers.lipschitz import LipschitzLayer
from ..layers.orders import LearnedOrder, Order

Kind = str | type[Activation]
NORMS = ("spectral", "learned")


def closed_chain(n_layers: int, norms: str) -> list[tuple[Order, Order]]:
    """(domain, codomain) of every layer of a branch; the last codomain is the first domain. Source: as LearnedOrder."""
    orders: list[Order] = [LearnedOrder() if norms == "learned" else 2 for _ in range(n_layers)]
    return list(zip(orders, [*orders[1:], orders[0]]))


def dense_branch(
    widths: tuple[int, ...], activation: Kind, coeff: float, *, preactivation: bool = False, norms: str = "spectral"
) -> LipschitzBranch:
    """Linear layers widths[0] -> widths[1] -> ... with activations between; preactivation: and one before the first."""
    widths = sizes(words="two widths or more, such as (2, 64, 2)")("widths", widths)
    pairs = list(pairwise(widths))
    return _branch(LipschitzLinear, pairs, activation, coeff, preactivation=preactivation, norms=norms)


def conv_branch(
    channels: int, width: int, activation: Kind, coeff: float, *, preactivation: bool, norms: str = "spectral"
) -> LipschitzBranch:
    """channels -3x3-> width -1x1-> width -3x3-> channels with activations as in `dense_branch`."""
    sizes = [(channels, width, 3), (width, width, 1), (width, channels, 3)]
    return _branch(LipschitzConv2d, sizes, activation, coeff, preactivation=preactivation, norms=norms)


def _branch(
    layer: type[LipschitzLayer],
    sizes: Sequence[tuple[int, ...]],
    activation: Kind,
    coeff: float,
    *,
    preactivation: bool,
    norms: str,
) -> LipschitzBranch:
    """sizes: (inputs, outputs, more arguments) of each layer, inputs as they come out of the layer before."""
    steps, wider = [], 1 + make_activation(activation).pairs
    for i, ((n_in, *size), orders) in enumerate(zip(sizes, closed_chain(len(sizes), norms))):
        active = i > 0 or preactivation
        steps += [make_activation(activation)] if active else []
        steps.append(layer(n_in * wider if active else n_in, *size, coeff, *orders))
    return LipschitzBranch(steps)
