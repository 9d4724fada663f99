"""The exact trace of a branch's Jacobian with two hidden layers, at the price of about one product.

J = W3 D2 W2 D1 W1 D0 with diagonal D. The trace is cyclic: tr(J) = tr(D2 W2 D1 (W1 D0 W3)). If D0 is the same for
every sample (no leading activation: D0 = I; else a frozen slope), M = W2 * (W1 D0 W3)^T, entry by entry, is one matrix
for the whole batch, and tr(J) = d2^T M d1. For convolutions 3x3 - 1x1 - 3x3 only pairs at the same pixel count, since
the middle and the D act on each pixel alone: M is a 1x1 convolution, with other entries where a tap leaves the image.
"""

from collections.abc import Sequence
from itertools import product

import torch
from torch import Tensor

from .convolution import LipschitzConv2d
from .linear import LipschitzLinear
from .lipschitz import LipschitzLayer


def exact_trace_exists(layers: Sequence[LipschitzLayer], like: Tensor) -> bool:
    """Whether three layers (dense, or 3x3 - 1x1 - 3x3 on images of at least 2 x 2 pixels) allow `branch_trace`."""
    if len(layers) != 3:
        return False
    if all(isinstance(layer, LipschitzLinear) for layer in layers):
        return True
    kernels = [layer.weight.shape[-1] for layer in layers if isinstance(layer, LipschitzConv2d)]
    return kernels == [3, 1, 3] and min(like.shape[2:]) >= 2


def branch_trace(slopes: Sequence[Tensor], weights: Sequence[Tensor], frozen: Tensor | None = None) -> Tensor:
    """tr(W3 D2 W2 D1 W1 D0) per sample, (B,).

    slopes: d1, d2, (B, width) or (B, width, H, W).  weights: W1, W2, W3.  frozen: D0 as (1, C) or (1, C, 1, 1).
    """
    (d1, d2), (w1, w2, w3) = slopes, weights
    w1 = w1 if frozen is None else w1 * frozen
    if d1.dim() == 2:
        return ((d1 @ (w2.T * (w1 @ w3))) * d2).sum(1)
    # tap (y, x) of W1 meets the opposite tap of W3 at the pixel that it started from
    taps = torch.einsum("acyx,cbyx->yxab", w1, w3.flip(2, 3))
    d1, d2 = d1.permute(0, 2, 3, 1), d2.permute(0, 2, 3, 1)
    rows, columns = _regions(d1.shape[1]), _regions(d1.shape[2])
    total = d1.new_zeros(len(d1))
    for (at_y, taps_y), (at_x, taps_x) in product(rows, columns):
        merged = w2[:, :, 0, 0].T * taps[taps_y, taps_x].sum((0, 1))
        total = total + ((d1[:, at_y, at_x] @ merged) * d2[:, at_y, at_x]).flatten(1).sum(1)
    return total


def _regions(size: int) -> list[tuple[slice, slice]]:
    """Pixels of one axis and the taps that stay inside the image there: first, middle, last."""
    ends = [(slice(0, 1), slice(1, 3)), (slice(size - 1, size), slice(0, 2))]
    return [*ends, (slice(1, size - 1), slice(0, 3))] if size > 2 else ends
