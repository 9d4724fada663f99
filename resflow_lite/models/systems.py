"""The paper's opponents beside the residual flow: six systems of about the same size, all of them a `Flow`.

Each keeps the idea of its paper and drops what is not the idea (deep residual nets inside couplings, weight or batch
normalisation, attention, factor-out), so that the comparison is between ideas: two hidden layers everywhere, one
ActNorm after each block, no factor-out.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..errors import SettingsError
from ..estimators.logdet import PowerSeries
from ..estimators.series import Truncated
from ..expect import Named, integer
from ..layers.bijection import Bijection, Chain
from ..layers.continuous import ContinuousFlow, conv_velocity, dense_velocity
from ..layers.coupling import AffineCoupling, Coupling, InvertibleLinear, MixtureCoupling, conv_net, dense_net
from ..layers.elementwise import ActNorm, Logit
from ..layers.residual import TRAIN
from ..layers.shape import Squeeze, squeezed
from .flow import Flow
from .image import ImageModel, image_flow
from .toy import toy_flow

__all__ = ["System", "systems", "toy_system", "image_system", "with_budget", "coupling_scale"]

Shape = tuple[int, int, int]
IRESNET = PowerSeries(Truncated(5), probe="gaussian")
WIDEST = 2**16


@dataclass(frozen=True)
class System:
    """One line of the paper's table.

    label: for tables and figures.  source: the paper that it comes from.  toy: (n_blocks, width) -> flow of the plane.
    image: (model, width) -> flow of images; of the model's settings it reads shape, blocks and alpha.
    """

    label: str
    source: str
    toy: Callable[[int, int], Flow]
    image: Callable[[ImageModel, int], Flow]


@dataclass(frozen=True)
class CouplingStyle:
    """coupling: affine or mixture.  mix: an InvertibleLinear before each coupling, in place of taking turns."""

    coupling: type[Coupling]
    mix: bool
    squeeze_first: bool = False


REAL_NVP = CouplingStyle(AffineCoupling, mix=False)
GLOW = CouplingStyle(AffineCoupling, mix=True, squeeze_first=True)
FLOW_PLUS_PLUS = CouplingStyle(MixtureCoupling, mix=True)


def _toy_coupling(style: CouplingStyle, n_blocks: int, width: int) -> Flow:
    layers: list[Bijection] = [ActNorm(2)]
    for i in range(n_blocks):
        layers += [InvertibleLinear(2)] if style.mix else []
        net = dense_net(1, width, style.coupling.n_parameters)
        layers += [style.coupling(net, swap=not style.mix and i % 2 == 1), ActNorm(2)]
    return Flow(Chain(layers), (2,), (2,))


def coupling_scale(style: CouplingStyle, channels: int, n_blocks: int, width: int) -> list[Bijection]:
    """n_blocks couplings of images, an ActNorm after each: by checkerboard before the first squeeze (fewer than four
    channels), by halves of the channels after it. A checkerboard takes turns where the channels mix, too."""
    board = channels < 4
    layers: list[Bijection] = []
    for i in range(n_blocks):
        swap = (board or not style.mix) and i % 2 == 1
        # an odd channel stays in the first half
        moving = channels if board else (channels + swap) // 2
        net = conv_net(channels if board else channels - moving, width, style.coupling.n_parameters * moving)
        layers += [InvertibleLinear(channels)] if style.mix else []
        layers += [style.coupling(net, swap=swap, checkerboard=board), ActNorm(channels)]
    return layers


def _image_coupling(style: CouplingStyle, model: ImageModel, width: int) -> Flow:
    shape, layers = _entrance(model, style.squeeze_first)
    for i, n_blocks in enumerate(model.blocks):
        if i:
            layers, shape = [*layers, Squeeze()], squeezed(shape)
        layers += coupling_scale(style, shape[0], n_blocks, width)
    return Flow(Chain(layers), model.shape, shape)


def _entrance(model: ImageModel, squeeze_first: bool) -> tuple[Shape, list[Bijection]]:
    """The shape after it, and what stands before the first block."""
    before: list[Bijection] = [Squeeze()] if squeeze_first else []
    shape = squeezed(model.shape) if squeeze_first else model.shape
    return shape, [*before, Logit(model.alpha), ActNorm(shape[0])]


def _toy_ffjord(n_blocks: int, width: int) -> Flow:
    """One equation: its depth is time, so that n_blocks does not count."""
    return Flow(Chain([ActNorm(2), ContinuousFlow(dense_velocity(2, width)), ActNorm(2)]), (2,), (2,))


def _image_ffjord(model: ImageModel, width: int) -> Flow:
    """One equation for each scale, solved as loosely as its own paper's comparison of speeds allows a laptop."""
    shape, layers = _entrance(model, squeeze_first=False)
    for i in range(len(model.blocks)):
        if i:
            layers, shape = [*layers, Squeeze()], squeezed(shape)
        layers += [ContinuousFlow(conv_velocity(shape[0], width), "hutchinson", tol=1e-3), ActNorm(shape[0])]
    return Flow(Chain(layers), model.shape, shape)


def _toy_residual(activation: str, estimator: PowerSeries, n_blocks: int, width: int) -> Flow:
    return toy_flow(n_blocks, (width, width), activation, train_estimator=estimator)


def _image_residual(activation: str, estimator: PowerSeries, model: ImageModel, width: int) -> Flow:
    settings = dict(n_dense=2, dense_width=width, activation=activation, train_estimator=estimator)
    return image_flow(ImageModel(model.shape, model.blocks, width, alpha=model.alpha, **settings))


def _coupling_system(label: str, source: str, style: CouplingStyle) -> System:
    return System(label, source, partial(_toy_coupling, style), partial(_image_coupling, style))


def _residual_system(label: str, source: str, activation: str, estimator: PowerSeries) -> System:
    toy, image = (partial(build, activation, estimator) for build in (_toy_residual, _image_residual))
    return System(label, source, toy, image)


systems = Named(
    "system",
    {
        "realnvp": _coupling_system("Real NVP", "Dinh et al. 2017", REAL_NVP),
        "glow": _coupling_system("Glow", "Kingma and Dhariwal 2018", GLOW),
        "ffjord": System("FFJORD", "Grathwohl et al. 2019", _toy_ffjord, _image_ffjord),
        "flow++": _coupling_system("Flow++", "Ho et al. 2019", FLOW_PLUS_PLUS),
        "iresnet": _residual_system("i-ResNet", "Behrmann et al. 2019", "elu", IRESNET),
        "resflow": _residual_system("Residual Flow", "Chen et al. 2019", "lipswish", TRAIN),
    },
)


def toy_system(name: str, parameters: int = 20_000, n_blocks: int = 8) -> Flow:
    """A system of the table on R^2, with about that many parameters: widths are whole numbers.

    Raises SettingsError for an unknown name, and where no width comes within 5 % of the budget.
    Example: flow = toy_system("glow"); flow.initialize_(x); loss = -flow.log_prob(x).mean()
    """
    system, n_blocks = systems[name], integer(1)("n_blocks", n_blocks)
    return with_budget(lambda width: system.toy(n_blocks, width), parameters)


def image_system(
    name: str, shape: Shape, parameters: int = 200_000, blocks: tuple[int, ...] = (4, 4), alpha: float = 1e-6
) -> Flow:
    """A system of the table on images, with about that many parameters; arguments as those of ImageModel.

    Glow begins with a Squeeze, so that it needs one halving more. Raises SettingsError as `toy_system` and ImageModel.
    """
    system = systems[name]
    model = ImageModel(shape, blocks, alpha=alpha, squeeze_first=name == "glow")
    return with_budget(lambda width: system.image(model, width), parameters)


def with_budget(build: Callable[[int], nn.Module], parameters: int) -> nn.Module:
    """build(width) with the width whose number of parameters is closest to a budget, by bisection.

    build: a model that grows with its width.  Raises SettingsError where the closest misses by more than 5 %.
    """
    parameters = integer(1)("parameters", parameters)
    narrower = bisect_left(range(1, WIDEST), parameters, key=partial(_count, build))
    near = ((_count(build, width), width) for width in (max(1, narrower), narrower + 1))
    count, width = min(near, key=lambda pair: abs(pair[0] - parameters))
    if abs(count - parameters) > 0.05 * parameters:
        raise SettingsError(
            f"parameters={parameters!r}: the closest model has {count} (width {width}). Ask for that many, or for more"
        )
    return build(width)


def _count(build: Callable[[int], nn.Module], width: int) -> int:
    with torch.device("meta"):  # shapes alone: no memory, no random numbers
        return sum(math.prod(p.shape) for p in build(width).parameters())
