"""Induced norms of linear maps."""

from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["unit", "spectral_power_iteration"]


def unit(v: Tensor) -> Tensor:
    """v / ||v||_2 over all entries; a zero vector stays zero."""
    return v / v.norm().clamp_min(torch.finfo(v.dtype).tiny)


@torch.no_grad()
def spectral_power_iteration(
    matvec: Callable[[Tensor], Tensor],
    rmatvec: Callable[[Tensor], Tensor],
    v: Tensor,
    tol: float = 1e-3,
    max_iter: int = 200,
) -> tuple[Tensor, Tensor, int]:
    """Leading singular vectors of a linear map A by power iteration on A^T A.

    u = A v / ||A v||,  v = A^T u / ||A^T u||  until  <u, A v> grows by less than a fraction tol in a round.
    The stopping rule compares singular-value estimates, so it does not depend on the length of the vectors.
    <u, A v> bounds ||A||_2 from BELOW: it is an estimate, never a certificate.

    matvec, rmatvec: v -> A v and u -> A^T u.  v: start vector, any shape.
    Returns u, v and the number of rounds spent. Source: Miyato et al. 2018, sec. 2.1; Gouk et al. 2018.
    """
    previous = 0.0
    u = unit(matvec(v))
    for iteration in range(1, max_iter + 1):
        image = rmatvec(u)
        sigma = float(image.norm())
        v = unit(image)
        u = unit(matvec(v))
        if sigma - previous <= tol * sigma:
            break
        previous = sigma
    return u, v, iteration
