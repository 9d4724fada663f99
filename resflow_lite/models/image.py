"""Multiscale residual flows of images."""

import math
from dataclasses import dataclass

from ..errors import SettingsError
from ..estimators.logdet import Estimator
from ..layers.activations import Activation, make_activation
from ..layers.branch import LipschitzBranch
from ..layers.chain import Chain
from ..layers.elementwise import ActNorm, Logit
from ..layers.lipschitz import LipschitzConv2d
from ..layers.residual import EVALUATE, TRAIN, ResidualBlock
from ..layers.shape import Flatten, Squeeze
from .flow import Flow
from .toy import dense_branch

__all__ = ["ImageModel", "image_flow"]


@dataclass(frozen=True)
class ImageModel:
    """The settings of an image flow; presets.py holds the paper's.

    shape: (C, H, W) of the images.  blocks: residual blocks per scale, a Squeeze between scales.
    width: channels inside a block.  n_dense, dense_width: fully connected blocks d - dense_width - dense_width - d at
    the end.  alpha: of the Logit.  coeff: norm bound of every layer.
    """

    shape: tuple[int, int, int]
    blocks: tuple[int, ...] = (16, 16, 16)
    width: int = 512
    n_dense: int = 4
    dense_width: int = 128
    activation: str | type[Activation] = "lipswish"
    alpha: float = 1e-6
    coeff: float = 0.98
    train_estimator: Estimator = TRAIN
    eval_estimator: Estimator = EVALUATE
    gradient: str = "neumann"
    memory: str = "recompute"

    def __post_init__(self) -> None:
        factor = 2 ** (len(self.blocks) - 1)
        if len(self.shape) != 3 or min(self.shape) < 1 or self.shape[1] % factor or self.shape[2] % factor:
            raise SettingsError(
                f"shape={self.shape}: expected (channels, height, width) with height and width divisible by {factor}, "
                f"one halving per scale after the first of blocks={self.blocks}"
            )
        if not self.blocks or min(self.blocks) < 1:
            raise SettingsError(
                f"blocks={self.blocks}: expected one positive number of blocks per scale, such as (4, 4)"
            )


def conv_branch(
    channels: int, width: int, activation: str | type[Activation], coeff: float, preactivation: bool
) -> LipschitzBranch:
    """channels -3x3-> width -1x1-> width -3x3-> channels, an activation between layers and one before if asked."""
    wider = 1 + make_activation(activation).pairs
    steps = []
    for i, (n_in, n_out, kernel) in enumerate(((channels, width, 3), (width, width, 1), (width, channels, 3))):
        active = i > 0 or preactivation
        steps += [make_activation(activation)] if active else []
        steps.append(LipschitzConv2d(n_in * wider if active else n_in, n_out, kernel, coeff))
    return LipschitzBranch(steps)


def image_flow(model: ImageModel) -> Flow:
    """The paper's multiscale flow: Logit, then scales of residual blocks with a Squeeze between, then dense blocks.

    An ActNorm stands before the first block and after each; every branch but the very first starts with an activation
    (pre-activation). Takes images in [0, 1] after dequantisation. Source: paper, sec. 5.2 and app. E.
    """
    channels, height, width = model.shape

    def block(branch: LipschitzBranch) -> ResidualBlock:
        return ResidualBlock(branch, model.train_estimator, model.eval_estimator, model.gradient, model.memory)

    layers = [Logit(model.alpha), ActNorm(channels)]
    for scale, n_blocks in enumerate(model.blocks):
        if scale:
            layers.append(Squeeze())
            channels, height, width = 4 * channels, height // 2, width // 2
        for i in range(n_blocks):
            first = scale == 0 and i == 0
            branch = conv_branch(channels, model.width, model.activation, model.coeff, preactivation=not first)
            layers += [block(branch), ActNorm(channels)]
    latent_shape = (channels, height, width)
    if model.n_dense:
        d = math.prod(latent_shape)
        layers.append(Flatten(latent_shape))
        latent_shape = (d,)
        for _ in range(model.n_dense):
            widths = (d, model.dense_width, model.dense_width, d)
            layers += [block(dense_branch(widths, model.activation, model.coeff, preactivation=True)), ActNorm(d)]
    return Flow(Chain(layers), model.shape, latent_shape)
