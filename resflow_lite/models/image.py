"""Multiscale residual flows of images."""

import math
from dataclasses import dataclass

from ..errors import SettingsError
from ..estimators.logdet import ESTIMATOR, Estimator
from ..expect import FLAG, instance, integer, number, one_of, settle, sizes
from ..layers.activations import Activation
from ..layers.bijection import Bijection, Chain
from ..layers.branch import LipschitzBranch
from ..layers.elementwise import ALPHA, ActNorm, Logit
from ..layers.gradient import GRADIENTS, MEMORY
from ..layers.residual import EVALUATE, TRAIN, ResidualBlock
from ..layers.shape import FactorOut, Flatten, NoiseChannels, Squeeze, squeezed
from .branches import NORMS, conv_branch, dense_branch
from .flow import Flow


@dataclass(frozen=True)
class ImageModel:
    """The settings of an image flow; presets.py holds the paper's.

    shape: (C, H, W) of the images.  blocks: residual blocks per scale, a Squeeze between scales.
    width: channels inside a block.  n_dense, dense_width: fully connected blocks d - dense_width - dense_width - d at
    the end.  alpha: of the Logit.  coeff: norm bound of every layer.
    squeeze_first: a Squeeze before the first scale too.  factor_out: after each Squeeze between scales half of the
    channels leave for the base density (FactorOut).  padding: channels of uniform noise beside the image's own; then
    log_prob is a lower bound of log p(x), and bits/dim an upper one (NoiseChannels).
    norms: "spectral", the 2-norm everywhere, or "learned", an order of its own wherever two layers of a branch meet.

    Raises SettingsError for a shape that cannot be squeezed so often, and for wrong numbers.
    """

    shape: tuple[int, int, int]
    blocks: tuple[int, ...] = (16, 16, 16)
    width: int = 512
    n_dense: int = 4
    dense_width: int = 128
    activation: str | type[Activation] = "lipswish"
    alpha: float = 1e-6
    coeff: float = 0.98
    squeeze_first: bool = False
    factor_out: bool = False
    padding: int = 0
    train_estimator: Estimator = TRAIN
    eval_estimator: Estimator = EVALUATE
    gradient: str = "neumann"
    memory: str = "recompute"
    norms: str = "spectral"

    def __post_init__(self) -> None:
        shape, blocks = sizes(3, "(channels, height, width)"), "one positive number of blocks per scale, such as (4, 4)"
        settle(self, shape=shape, blocks=sizes(words=blocks))
        settle(self, width=integer(1), n_dense=integer(0), dense_width=integer(1), padding=integer(0))
        settle(self, alpha=ALPHA, coeff=number("(0, 1]"), squeeze_first=FLAG, factor_out=FLAG)
        settle(self, train_estimator=ESTIMATOR, eval_estimator=ESTIMATOR)
        settle(self, gradient=one_of(GRADIENTS), memory=one_of(MEMORY), norms=one_of(NORMS))
        factor = 2 ** (len(self.blocks) - 1 + self.squeeze_first)
        if self.shape[1] % factor or self.shape[2] % factor:
            raise SettingsError(
                f"shape={self.shape}: expected (channels, height, width) with height and width divisible by {factor}, "
                f"one halving per scale after the first of blocks={self.blocks}, and one for squeeze_first"
            )


def image_flow(model: ImageModel) -> Flow:
    """The paper's multiscale flow: Logit, then scales of residual blocks with a Squeeze between, then dense blocks.

    An ActNorm stands before the first block and after each; every branch but the very first starts with an activation
    (pre-activation). Takes images in [0, 1] after dequantisation. With factor_out the latent z is one vector: what
    left at the first scale, then at the second, and so on. Source: paper, sec. 5.2 and app. E.

    Example: flow = rf.image_flow(rf.presets["paper/mnist"])
    """
    channels, height, width = instance(ImageModel)("model", model).shape
    shape = (channels + model.padding, height, width)
    layers: list[Bijection] = [NoiseChannels(model.padding)] if model.padding else []
    if model.squeeze_first:
        layers.append(Squeeze())
        shape = squeezed(shape)
    layers += [Logit(model.alpha), ActNorm(shape[0])]
    scales, latent_shape = _scales(model, shape, model.blocks, preactivation=False)
    return Flow(Chain(layers + scales), model.shape, latent_shape)


def _scales(
    model: ImageModel, shape: tuple[int, int, int], blocks: tuple[int, ...], *, preactivation: bool = True
) -> tuple[list[Bijection], tuple[int, ...]]:
    """The layers from one scale to the end and the shape that leaves them. preactivation: of the very first branch."""
    layers = []
    for i in range(blocks[0]):
        active = preactivation or i > 0
        style = dict(preactivation=active, norms=model.norms)
        branch = conv_branch(shape[0], model.width, model.activation, model.coeff, **style)
        layers += [_block(model, branch), ActNorm(shape[0])]
    if len(blocks) == 1:
        dense, shape = _dense_end(model, shape)
        return layers + dense, shape
    layers.append(Squeeze())
    shape = squeezed(shape)
    if not model.factor_out:
        rest, latent_shape = _scales(model, shape, blocks[1:])
        return layers + rest, latent_shape
    kept = (shape[0] // 2, *shape[1:])
    rest, latent_shape = _scales(model, kept, blocks[1:])
    if len(latent_shape) > 1:
        rest.append(Flatten(latent_shape))
    return [*layers, FactorOut(Chain(rest), kept)], (math.prod(shape),)


def _dense_end(model: ImageModel, shape: tuple[int, int, int]) -> tuple[list[Bijection], tuple[int, ...]]:
    """Fully connected blocks on the flattened images, if the model has any."""
    if not model.n_dense:
        return [], shape
    d = math.prod(shape)
    layers: list[Bijection] = [Flatten(shape)]
    for _ in range(model.n_dense):
        widths = (d, model.dense_width, model.dense_width, d)
        branch = dense_branch(widths, model.activation, model.coeff, preactivation=True, norms=model.norms)
        layers += [_block(model, branch), ActNorm(d)]
    return layers, (d,)


def _block(model: ImageModel, branch: LipschitzBranch) -> ResidualBlock:
    return ResidualBlock(branch, model.train_estimator, model.eval_estimator, model.gradient, model.memory)
