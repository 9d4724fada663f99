"""In which norms the layers of a branch meet."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..expect import number


class LearnedOrder(nn.Module):
    """The order p of a vector norm as a parameter, between 1.1 and 5. Give the same object to the two layers that meet
    in this norm: codomain of one, domain of the next. Source: paper, on induced mixed norms."""

    def __init__(self, start: float = 2.0) -> None:
        super().__init__()
        start = number("(1.1, 5)")("start", start, "LearnedOrder")
        share = (start - 1.1) / 3.9
        self.logit = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def forward(self) -> Tensor:
        return 1.1 + 3.9 * self.logit.sigmoid()


Order = float | LearnedOrder
_fixed = number("[1, inf]")
ORDER = replace(
    _fixed,
    words="the order of a norm, a number from 1 to infinity or a LearnedOrder",
    fits=lambda order: isinstance(order, LearnedOrder) or _fixed.fits(order),
)
