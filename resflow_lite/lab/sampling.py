"""Images out of a model, and into one."""

import copy
import math

import torch
from torch import Tensor

from ..models.dequantize import uniform_dequantize
from .data.images import load_images
from .machine import connect
from .runs import Run

__all__ = ["dequantised", "sample_levels"]


def dequantised(run: Run, split: str, n: int, seed: int = 0) -> Tensor:
    """The first n images of a split with uniform noise, (n, C, H, W) in [0, 1), on the CPU."""
    data = load_images(run.experiment.dataset, split)
    return uniform_dequantize(torch.as_tensor(data.images)[:n], data.n_levels, torch.Generator().manual_seed(seed))


def sample_levels(run: Run, n: int, temperature: float = 1.0, seed: int = 0) -> Tensor:
    """n images from the model in levels 0 ... n_levels - 1, uint8 (n, C, H, W)."""
    n_levels, device = load_images(run.experiment.dataset, "test").n_levels, connect().device
    flow, generator = copy.deepcopy(run.flow).to(device), torch.Generator().manual_seed(seed)
    batch = max(1, 2**22 // math.prod(flow.event_shape))
    x = [flow.sample(min(batch, n - i), generator, temperature).cpu() for i in range(0, n, batch)]
    return (torch.cat(x) * n_levels).floor().clamp(0, n_levels - 1).to(torch.uint8)
