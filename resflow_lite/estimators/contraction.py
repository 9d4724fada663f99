"""How fast the powers of a Jacobian fall, measured."""

import torch
from torch import Tensor

from .linearization import Linearization

__all__ = ["contraction_rate"]


@torch.no_grad()
def contraction_rate(g: Linearization, n_products: int = 20, generator: torch.Generator | None = None) -> Tensor:
    """(B,) the rate rho at which |(J^T)^k v| falls for a random v: |w_2n| = rho^n |w_n|, n = n_products / 2.

    The first half of the products lets the strongest directions come forward, the second half is measured. It tends to
    the spectral radius of J, from below: with 20 products it was up to 3 % low on trained blocks. 0 for a nilpotent J.
    """
    v = torch.randn(g.output.shape, generator=generator).to(g.output)
    norms = []
    for _ in range(n_products):
        v = g.vjp(v)
        norms.append(v.flatten(1).norm(dim=1))
        # one scale for the whole sample keeps tiny powers above underflow and changes no ratio
        v = v / norms[-1].clamp_min(torch.finfo(v.dtype).tiny).view(-1, *[1] * (v.dim() - 1))
    # each norm is now the ratio of consecutive powers
    return torch.stack(norms[n_products // 2 :]).log().mean(0).exp()
