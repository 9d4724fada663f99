"""The paper's opponents beside the residual flow: six systems of about the same size, all of them a `Flow`.

Each keeps the idea of its paper and drops what is not the idea (deep residual nets inside couplings, weight or batch
normalisation, attention, factor-out), so that the comparison is between ideas: two hidden layers everywhere, one
ActNorm after each block, no factor-out.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn

from ..errors import SettingsError
from ..estimators.logdet import PowerSeries
from ..estimators.series import Truncated
from ..expect import Named, instance, integer
from ..layers.bijection import Bijection, Chain
from ..layers.continuous import ContinuousFlow, conv_velocity, dense_velocity
from ..layers.coupling import AffineCoupling, Coupling, InvertibleLinear, MixtureCoupling, conv_net, dense_net
from ..layers.elementwise import ActNorm, Logit
from ..layers.residual import TRAIN
from ..layers.shape import Squeeze, squeezed
from .flow import Flow
from .image import ImageModel, image_flow
from .toy import toy_flow

Shape = tuple[int, int, int]
IRESNET = PowerSeries(Truncated(5), probe="gaussian")
WIDEST = 2**16


@dataclass(frozen=True)
class System:
    """One line of the paper's table.

    label: for tables and figures.  source: the paper that it comes from.
    """

    label: str
    source: str

    def toy(self, n_blocks: int, width: int) -> Flow:
        """A flow of the plane."""
        raise NotImplementedError

    def image(self, model: ImageModel, width: int) -> Flow:
        """A flow of images; of the model's settings it reads shape, blocks and alpha."""
        raise NotImplementedError


@dataclass(frozen=True)
class CouplingSystem(System):
    """coupling: affine or mixture.  mix: an InvertibleLinear before each coupling, in place of taking turns."""

    coupling: type[Coupling]
    mix: bool
    squeeze_first: bool = False

    def toy(self, n_blocks: int, width: int) -> Flow:
        layers: list[Bijection] = [ActNorm(2)]
        for i in range(n_blocks):
            layers += [InvertibleLinear(2)] if self.mix else []
            net = dense_net(1, width, self.coupling.n_parameters)
            layers += [self.coupling(net, swap=not self.mix and i % 2 == 1), ActNorm(2)]
        return Flow(Chain(layers), (2,), (2,))

    def image(self, model: ImageModel, width: int) -> Flow:
        return _multiscale(model, partial(self.scale, width=width), squeeze_first=self.squeeze_first)

    def scale(self, channels: int, n_blocks: int, width: int) -> list[Bijection]:
        """n_blocks couplings of images, an ActNorm after each: by checkerboard before the first squeeze (fewer than
        four channels), by halves of the channels after it. A checkerboard takes turns where the channels mix, too."""
        board = channels < 4
        layers: list[Bijection] = []
        for i in range(n_blocks):
            swap = (board or not self.mix) and i % 2 == 1
            # an odd channel stays in the first half
            moving = channels if board else (channels + swap) // 2
            net = conv_net(channels if board else channels - moving, width, self.coupling.n_parameters * moving)
            layers += [InvertibleLinear(channels)] if self.mix else []
            layers += [self.coupling(net, swap=swap, checkerboard=board), ActNorm(channels)]
        return layers


class ContinuousSystem(System):
    """One equation for each scale: its depth is time, so that the number of blocks does not count."""

    def toy(self, n_blocks: int, width: int) -> Flow:
        return Flow(Chain([ActNorm(2), ContinuousFlow(dense_velocity(2, width)), ActNorm(2)]), (2,), (2,))

    def image(self, model: ImageModel, width: int) -> Flow:
        """Solved as loosely as its own paper's comparison of speeds allows a laptop."""

        def scale(channels: int, n_blocks: int) -> list[Bijection]:
            return [ContinuousFlow(conv_velocity(channels, width), "hutchinson", tol=1e-3), ActNorm(channels)]

        return _multiscale(model, scale)


@dataclass(frozen=True)
class ResidualSystem(System):
    activation: str
    estimator: PowerSeries

    def toy(self, n_blocks: int, width: int) -> Flow:
        return toy_flow(n_blocks, (width, width), self.activation, train_estimator=self.estimator)

    def image(self, model: ImageModel, width: int) -> Flow:
        settings = dict(n_dense=2, dense_width=width, activation=self.activation, train_estimator=self.estimator)
        return image_flow(ImageModel(model.shape, model.blocks, width, alpha=model.alpha, **settings))


def _multiscale(model: ImageModel, scale: Callable[..., list[Bijection]], *, squeeze_first: bool = False) -> Flow:
    """Logit and ActNorm, then scale(channels, blocks) for each scale, with a Squeeze between."""
    shape = squeezed(model.shape) if squeeze_first else model.shape
    layers: list[Bijection] = [Squeeze()] if squeeze_first else []
    layers += [Logit(model.alpha), ActNorm(shape[0])]
    for i, n_blocks in enumerate(model.blocks):
        if i:
            layers, shape = [*layers, Squeeze()], squeezed(shape)
        layers += scale(shape[0], n_blocks)
    return Flow(Chain(layers), model.shape, shape)


systems = Named(
    "system",
    {
        "realnvp": CouplingSystem("Real NVP", "Dinh et al. 2017", AffineCoupling, mix=False),
        "glow": CouplingSystem("Glow", "Kingma and Dhariwal 2018", AffineCoupling, mix=True, squeeze_first=True),
        "ffjord": ContinuousSystem("FFJORD", "Grathwohl et al. 2019"),
        "flow++": CouplingSystem("Flow++", "Ho et al. 2019", MixtureCoupling, mix=True),
        "iresnet": ResidualSystem("i-ResNet", "Behrmann et al. 2019", "elu", IRESNET),
        "resflow": ResidualSystem("Residual Flow", "Chen et al. 2019", "lipswish", TRAIN),
    },
)


def toy_system(name: str, parameters: int = 20_000, n_blocks: int = 8) -> Flow:
    """A system of the table on R^2, with about that many parameters: widths are whole numbers.

    Raises SettingsError for an unknown name, and where no width comes within 5 % of the budget.
    Example: flow = toy_system("glow"); flow.initialize_(x); loss = -flow.log_prob(x).mean()
    """
    system, n_blocks = systems[name], integer(1)("n_blocks", n_blocks)
    return system.toy(n_blocks, _toy_width(name, n_blocks, integer(1)("parameters", parameters)))


def image_system(
    name: str, shape: Shape, parameters: int = 200_000, blocks: tuple[int, ...] = (4, 4), alpha: float = 1e-6
) -> Flow:
    """A system of the table on images, with about that many parameters; arguments as those of ImageModel.

    Glow begins with a Squeeze, so that it needs one halving more. Raises SettingsError as `toy_system` and ImageModel.
    """
    system = systems[name]
    model = ImageModel(shape, blocks, alpha=alpha, squeeze_first=name == "glow")
    return system.image(model, _image_width(name, model, integer(1)("parameters", parameters)))


@cache
def _toy_width(name: str, n_blocks: int, parameters: int) -> int:
    return width_within(partial(systems[name].toy, n_blocks), parameters)


@cache
def _image_width(name: str, model: ImageModel, parameters: int) -> int:
    return width_within(partial(systems[name].image, model), parameters)


def with_budget(build: Callable[[int], nn.Module], parameters: int) -> nn.Module:
    """build(width) with the width of `width_within`. Raises SettingsError as that."""
    return build(width_within(build, integer(1)("parameters", parameters)))


def width_within(build: Callable[[int], nn.Module], parameters: int) -> int:
    """The width whose number of parameters is closest to a budget, by bisection.

    build: a model that grows with its width.  Raises SettingsError where the closest misses by more than 5 %.
    """
    narrower = bisect_left(range(1, WIDEST), parameters, key=partial(_count, build))
    near = ((_count(build, width), width) for width in (max(1, narrower), narrower + 1))
    count, width = min(near, key=lambda pair: abs(pair[0] - parameters))
    if abs(count - parameters) > 0.05 * parameters:
        raise SettingsError(
            f"parameters={parameters!r}: the closest model has {count} (width {width}). Ask for that many, or for more"
        )
    return width


def _count(build: Callable[[int], nn.Module], width: int) -> int:
    with torch.device("meta"):  # shapes alone: no memory, no random numbers
        found = instance(nn.Module)("build(width)", build(width))
        return sum(math.prod(p.shape) for p in found.parameters())
