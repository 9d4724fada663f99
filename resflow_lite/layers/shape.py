"""Bijections that only move entries; their log-determinant is 0."""

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from ..errors import SettingsError
from .bijection import Bijection

__all__ = ["Squeeze", "Flatten"]


class _Rearrangement(Bijection):
    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        return self.transform(x), x.new_zeros(len(x))


class Squeeze(_Rearrangement):
    """(B, C, H, W) -> (B, 4C, H/2, W/2): each 2 x 2 patch becomes four channels. Source: Dinh et al. 2017, sec. 3.6."""

    def transform(self, x: Tensor) -> Tensor:
        if x.dim() != 4 or x.shape[2] % 2 or x.shape[3] % 2:
            raise SettingsError(f"Squeeze needs images of even height and width, got {tuple(x.shape)}")
        return pixel_unshuffle(x, 2)

    def inverse(self, y: Tensor) -> Tensor:
        return pixel_shuffle(y, 2)


class Flatten(_Rearrangement):
    """(B, *shape) -> (B, D)."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def transform(self, x: Tensor) -> Tensor:
        return x.flatten(1)

    def inverse(self, y: Tensor) -> Tensor:
        return y.view(len(y), *self.shape)
