"""Residual flows of the plane."""

from ..estimators.logdet import Estimator
from ..expect import integer, sizes
from ..layers.activations import Activation
from ..layers.bijection import Chain
from ..layers.elementwise import ActNorm
from ..layers.residual import EVALUATE, TRAIN, ResidualBlock
from .branches import dense_branch
from .flow import Flow


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
    hidden = sizes(words="a tuple of widths, such as (64, 64)")("hidden", hidden) if hidden != () else ()
    layers = [ActNorm(2)]
    for _ in range(integer(0)("n_blocks", n_blocks)):
        branch = dense_branch((2, *hidden, 2), activation, coeff)
        layers += [ResidualBlock(branch, train_estimator, eval_estimator, gradient, memory), ActNorm(2)]
    return Flow(Chain(layers), (2,), (2,))
