"""From integer levels to the continuous values that a density is defined on."""

import torch
from torch import Tensor

from ..estimators.probes import device_generator

__all__ = ["uniform_dequantize"]


def uniform_dequantize(levels: Tensor, n_levels: int, generator: torch.Generator | None = None) -> Tensor:
    """x = (level + u) / n_levels, u uniform on [0, 1): integers 0 ... n_levels - 1 to [0, 1), float32.

    The expected log-density of x bounds the log-probability of the levels from below (Theis et al. 2016).
    """
    noise = torch.rand(
        levels.shape, generator=device_generator(generator, levels.device), device=levels.device, dtype=torch.float32
    )
    # the largest float below 1 keeps level + noise from rounding up to the next level
    return ((levels + noise) / n_levels).clamp_max(1 - 2.0**-24)
