"""Training images on the device, and batches of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...estimators.noise import rows
from ...models.dequantize import uniform_dequantize
from ..data.images import load_images

__all__ = ["ImageSource"]

ENTRIES = 2**20
"""Pixels times channels of the images that a model starts from, at most."""


@dataclass(frozen=True)
class ImageSource:
    """images: uint8 (N, C, H, W), on the device where a third of its free memory holds them.  n_levels: of a pixel."""

    images: Tensor
    n_levels: int
    device: torch.device

    @classmethod
    def load(cls, dataset: str, split: str, device: torch.device) -> "ImageSource":
        data = load_images(dataset, split)
        images = torch.as_tensor(data.images)
        if device.type == "cuda" and images.numel() < torch.cuda.mem_get_info(device)[0] / 3:
            images = images.to(device)
        return cls(images, data.n_levels, device)

    def batch(self, size: int, flip: bool, generator: torch.Generator) -> Tensor:
        """(size, C, H, W) in [0, 1), or the rows of the generator's part: images drawn with replacement, flipped left
        to right half the time if asked, with fresh dequantisation noise."""
        chosen = rows(torch.randint(len(self.images), (size,), generator=generator), generator)
        levels = self.images[chosen.to(self.images.device)].to(self.device)
        if flip:
            flipped = rows(torch.rand(size, generator=generator), generator).to(self.device) < 0.5
            levels = torch.where(flipped[:, None, None, None], levels.flip(3), levels)
        return uniform_dequantize(levels, self.n_levels, generator)

    def spread(self, generator: torch.Generator) -> Tensor:
        """Dequantised images from all over the set, a million entries at most: a model starts from their statistics."""
        n = min(len(self.images), max(1, ENTRIES // self.images[0].numel()))
        levels = self.images[:: len(self.images) // n][:n].to(self.device)
        return uniform_dequantize(levels, self.n_levels, generator)
