"""Residual flows of the plane."""

from itertools import pairwise

from ..estimators.logdet import Estimator
from ..layers.activations import Activation, make_activation
from ..layers.branch import LipschitzBranch
from ..layers.chain import Chain
from ..layers.elementwise import ActNorm
from ..layers.lipschitz import LearnedOrder, LipschitzLinear, Order
from ..layers.residual import EVALUATE, TRAIN, ResidualBlock
from .flow import Flow

__all__ = ["NORMS", "closed_chain", "dense_branch", "toy_flow"]

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


def toy_flow(
    n_blocks: int = 8,
    hidden: tuple[int, ...] = (64, 64),
    activation: str | type[Activation] = "lipswish",
    coeff: float = 0.9,
    train_estimator: Estimator = TRAIN,
    eval_estimator: Estimator = EVALUATE,
    gradient: str = "neumann",
    memory: str = "recompute",
) -> Flow:
    """Residual flow on R^2: n_blocks blocks 2 - hidden - 2, an ActNorm before the first and after each.

    Example: flow = toy_flow(); flow.initialize_(x); loss = -flow.log_prob(x).mean()
    """
    layers = [ActNorm(2)]
    for _ in range(n_blocks):
        branch = dense_branch((2, *hidden, 2), activation, coeff)
        layers += [ResidualBlock(branch, train_estimator, eval_estimator, gradient, memory), ActNorm(2)]
    return Flow(Chain(layers), (2,), (2,))
