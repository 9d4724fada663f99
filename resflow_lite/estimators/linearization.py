"""What a log-determinant estimator may ask of a map g at a point x."""

from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import SettingsError

__all__ = ["Linearization", "AutogradLinearization", "linearize", "contraction_rate", "per_sample_dot"]


def per_sample_dot(a: Tensor, b: Tensor) -> Tensor:
    """<a_i, b_i> for every sample i: (B, ...), (B, ...) -> (B,). Sums in at least float32."""
    product = a * b
    return product.flatten(1).sum(1, dtype=torch.promote_types(product.dtype, torch.float32))


class Linearization:
    """g near x: g(x + h) = g(x) + J h + ..., with one Jacobian J = dg/dx per sample.

    A map with a faster way than autograd offers `g.linearize(x) -> Linearization`. All results are differentiable in x
    and in the parameters of g wherever gradients are enabled.
    """

    output: Tensor
    """(B, ...) g(x)."""

    def vjp(self, u: Tensor) -> Tensor:
        """J^T u, shape of x."""
        raise NotImplementedError

    def jvp(self, v: Tensor) -> Tensor:
        """J v, shape of x."""
        raise NotImplementedError

    def trace(self) -> Tensor | None:
        """tr(K), (B,), where it is exact and costs about one product, otherwise None. K is J, or a matrix near J."""
        return None

    def vjp_pair(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """J^T u and K^T u, with the K of `trace`."""
        product = self.vjp(u)
        return product, product


class AutogradLinearization(Linearization):
    """The readable reference for any callable: products with J by automatic differentiation."""

    def __init__(self, g: Callable[[Tensor], Tensor], x: Tensor):
        with torch.enable_grad():
            self.x = x if x.requires_grad else x.detach().requires_grad_()
            self.output = g(self.x)
        if self.output.shape != x.shape:
            raise SettingsError(
                f"g maps {tuple(x.shape)} to {tuple(self.output.shape)}: log det(I + dg/dx) needs equal shapes"
            )
        self.constant = not self.output.requires_grad

    def vjp(self, u: Tensor) -> Tensor:
        if self.constant:
            return torch.zeros_like(self.x)
        keep = torch.is_grad_enabled()
        (product,) = torch.autograd.grad(
            self.output, self.x, u, create_graph=keep, retain_graph=True, materialize_grads=True
        )
        return product

    def jvp(self, v: Tensor) -> Tensor:
        """J v as the derivative of the linear map u -> J^T u: two reverse passes make a forward one."""
        if self.constant:
            return torch.zeros_like(self.x)
        keep = torch.is_grad_enabled()
        u = torch.zeros_like(self.output, requires_grad=True)
        with torch.enable_grad():
            (pulled,) = torch.autograd.grad(self.output, self.x, u, create_graph=True, materialize_grads=True)
        if not pulled.requires_grad:
            return torch.zeros_like(self.x)
        (product,) = torch.autograd.grad(pulled, u, v, create_graph=keep, retain_graph=True, materialize_grads=True)
        return product


def linearize(g: Callable[[Tensor], Tensor], x: Tensor) -> Linearization:
    """The map's own linearization where it has one, the autograd one otherwise."""
    own = getattr(g, "linearize", None)
    return own(x) if own is not None else AutogradLinearization(g, x)


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
