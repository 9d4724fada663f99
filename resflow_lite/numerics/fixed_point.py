"""Fixed points x = T(x) of a contraction, solved for every sample of a batch at once."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Solution:
    """What a solver found.

    x: (B, ...) the best iterate.  iterations: evaluations of T that were spent.
    residual: (B,) RMS over the event of T(x) - x.
    error_bound: (B,) RMS bound on the distance to the fixed point, residual / (1 - L); inf where no L < 1 was given.
    converged: (B,) bool, residual <= tol.
    expansion: (B,) the largest |T(a) - T(b)| / |a - b| seen between consecutive iterates, a lower bound of Lip(T).
    """

    x: Tensor
    iterations: int
    residual: Tensor
    error_bound: Tensor
    converged: Tensor
    expansion: Tensor


@torch.no_grad()
def banach(
    T: Callable[[Tensor], Tensor], x: Tensor, tol: float, max_iter: int = 1000, lipschitz: float | None = None
) -> Solution:
    """Banach's iteration x <- T(x), until the RMS residual of every sample is at most tol.

    It contracts the error by L = Lip(T) a round: |x_n - x*| <= L^n |x_0 - x*|. T: (B, ...) -> (B, ...).
    lipschitz: a proven L < 1, for the error bound. Source: Banach 1922; for residual blocks Behrmann et al. 2019.
    """
    return _iterate(T, x, tol, max_iter, lipschitz, lambda seen: seen.last[1])


@torch.no_grad()
def anderson(
    T: Callable[[Tensor], Tensor], x: Tensor, tol: float, max_iter: int = 1000, lipschitz: float | None = None
) -> Solution:
    """Anderson acceleration: the combination of the last five iterates whose residuals cancel best.

    With residuals F_i = T(x_i) - x_i, choose weights a with sum a_i = 1 that minimise |sum a_i F_i|, and go on from
    sum a_i T(x_i). A sample whose residual is not finite, or above ten times its best, takes Banach's step from its
    best iterate. Arguments as in `banach`. Source: Walker and Ni 2011.
    """
    images, residuals = deque(maxlen=5), deque(maxlen=5)

    def mixed(seen: _Iterates) -> Tensor:
        x, image = seen.last
        images.append(image)
        residuals.append(image - x)
        lost = ~((image - x).square().mean(1).sqrt() <= 10 * seen.residual)
        return torch.where(lost[:, None], seen.image, _mix(torch.stack([*images], 1), torch.stack([*residuals], 1)))

    return _iterate(T, x, tol, max_iter, lipschitz, mixed)


class _Iterates:
    """What is kept of the iterates seen so far: the best of each sample with its image, (B, D), and the last."""

    def __init__(self, x: Tensor) -> None:
        self.x = self.image = x
        self.residual = x.new_full((len(x),), torch.inf)
        self.expansion = x.new_zeros(len(x))
        self.last: tuple[Tensor, Tensor] | None = None

    def see(self, x: Tensor, image: Tensor) -> None:
        residual = (image - x).square().mean(1).sqrt()
        better = residual < self.residual
        self.x = torch.where(better[:, None], x, self.x)
        self.image = torch.where(better[:, None], image, self.image)
        self.residual = torch.where(better, residual, self.residual)
        if self.last is not None:
            step = (x - self.last[0]).norm(dim=1)
            # steps near rounding say nothing of T
            moved = step > torch.finfo(x.dtype).eps ** 0.5 * (1 + x.norm(dim=1))
            ratio = (image - self.last[1]).norm(dim=1) / step
            self.expansion = torch.where(moved & (ratio > self.expansion), ratio, self.expansion)
        self.last = (x, image)


def _iterate(
    T: Callable[[Tensor], Tensor],
    x: Tensor,
    tol: float,
    max_iter: int,
    lipschitz: float | None,
    following: Callable[[_Iterates], Tensor],
) -> Solution:
    """Evaluate T at x, then where `following` says. Not in autocast: bfloat16 lacks the last digits of differences."""
    shape, x = x.shape, x.flatten(1)
    seen = _Iterates(x)
    with torch.autocast(x.device.type, enabled=False):
        for iteration in range(1, max_iter + 1):
            seen.see(x, T(x.view(shape)).flatten(1))
            if bool((seen.residual <= tol).all()):
                break
            x = following(seen)
    known = lipschitz is not None and lipschitz < 1
    bound = seen.residual / (1 - lipschitz) if known else torch.full_like(seen.residual, torch.inf)
    return Solution(seen.x.view(shape), iteration, seen.residual, bound, seen.residual <= tol, seen.expansion)


def _mix(images: Tensor, residuals: Tensor) -> Tensor:
    """images, residuals: (B, m, D). The affine combination of images with the least combined residual."""
    differences = residuals[:, 1:] - residuals[:, :-1]
    if differences.shape[1] == 0:
        return images[:, -1]
    gram = differences @ differences.transpose(1, 2)
    ridge = 1e-10 if images.dtype == torch.float64 else 1e-6
    scale = gram.diagonal(dim1=1, dim2=2).mean(1)[:, None, None].clamp_min(torch.finfo(gram.dtype).tiny)
    gram = gram + ridge * scale * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    gamma = torch.linalg.solve(gram, differences @ residuals[:, -1, :, None])
    return images[:, -1] - ((images[:, 1:] - images[:, :-1]) * gamma).sum(1)
