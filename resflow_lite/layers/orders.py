"""In which norms the layers of a branch meet."""

import math

import torch
from torch import Tensor, nn

from ..errors import SettingsError

__all__ = ["LearnedOrder", "Order"]


class LearnedOrder(nn.Module):
    """The order p of a vector norm as a parameter, between 1.1 and 5. Give the same object to the two layers that meet
    in this norm: codomain of one, domain of the next. Source: paper, on induced mixed norms."""

    def __init__(self, start: float = 2.0) -> None:
        super().__init__()
        if not 1.1 < start < 5:
            raise SettingsError(f"LearnedOrder(start={start!r}): expected an order between 1.1 and 5")
        share = (start - 1.1) / 3.9
        self.logit = nn.Parameter(torch.tensor(math.log(share / (1 - share))))

    def forward(self) -> Tensor:
        return 1.1 + 3.9 * self.logit.sigmoid()


Order = float | LearnedOrder
