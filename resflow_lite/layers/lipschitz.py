"""Layers whose weight as applied has at most a given norm."""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..errors import SettingsError
from ..numerics.norms import (
    Map,
    conjugate,
    gram_upper,
    interpolated,
    krylov_vector,
    power_iteration,
    singular_vector,
    vector_norm,
)
from ..numerics.tensor_float import tensor_float

__all__ = [
    "LearnedOrder",
    "LipschitzLayer",
    "LipschitzLinear",
    "Order",
    "channels_last",
    "update_norms_",
]

KRYLOV = 10
"""Products with A and with A^T in one improvement of a 2-norm."""
FRESH = 0.1
"""Size of the fresh random part mixed into the kept vector."""
ROUNDS = 5
"""Power iterations in one improvement of another norm."""
RESTART = 10
"""Improvements of another norm between two restarts."""
SMALL = 128
"""Up to this many inputs or outputs the leading singular vector is computed, not iterated, on a CPU."""


def channels_last(t: Tensor) -> Tensor:
    """Images stored as (B, H, W, C), on which convolutions run several times faster; anything else as it is.

    A clone, because `contiguous` leaves the strides of tensors with C = 1 or 1 x 1 pixels ambiguous.
    """
    return t.clone(memory_format=torch.channels_last) if t.dim() == 4 and t.stride(1) != 1 else t


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


def order_value(order: Order) -> float:
    """The order as a number, for what is not differentiated."""
    return float(order().detach()) if isinstance(order, LearnedOrder) else float(order)


class LipschitzLayer(nn.Module):
    """y = W z + b with W = weight / max(1, sigma / coeff), sigma an estimate of |weight|_(p->q).

    domain p, codomain q: numbers from 1 to infinity, or LearnedOrder objects. For p = 1 or q = infinity sigma is exact.
    Otherwise sigma = |weight v|_q / |v|_p with a vector v kept by `update_norm_` and constant for the gradient: at a
    maximum its own change does not matter (envelope theorem), in the weight as in the orders.
    Source: paper, on induced mixed norms; Gouk et al. 2018; Behrmann et al. 2019, sec. 2.1.

    Subclasses give the linear map of any weight: `product(weight, z, bias)` and `transpose(weight, u)`, the gradient of
    <u, W z> in W, `outer(weight, u, z)`; matrices (..., out, in), float64 or complex128, whose largest 2-norm is at
    least the map's, `blocks(weight)`; and the shape of v for inputs like z, `vector_shape(z)`.
    """

    right: Tensor

    def __init__(self, weight: Tensor, coeff: float, domain: Order, codomain: Order) -> None:
        super().__init__()
        if not 0 < coeff <= 1:
            raise SettingsError(f"coeff={coeff!r}: the norm of a Lipschitz layer is bounded by a number in (0, 1]")
        for name, order in (("domain", domain), ("codomain", codomain)):
            if not isinstance(order, LearnedOrder) and not order >= 1:
                raise SettingsError(f"{name}={order!r}: the order of a norm is a number from 1 to infinity")
        self.coeff, self.domain, self.codomain = coeff, domain, codomain
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(weight.shape[0]))
        fan_in = weight[0].numel()
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        # empty until the size of the input is known
        self.register_buffer("right", torch.empty(0))
        self.updates = 0

    def maps(self, weight: Tensor) -> tuple[Map, Map]:
        """z -> W z and u -> W^T u, for many products with the same weight."""
        return partial(self.product, weight), partial(self.transpose, weight)

    def orders(self) -> tuple[float, float]:
        return order_value(self.domain), order_value(self.codomain)

    def closed_form(self) -> bool:
        """Whether sigma is exact: |A|_(1->q) is the largest column, |A|_(p->inf) the largest row."""
        p, q = self.orders()
        return p == 1 or q == math.inf

    def _columns(self, weight: Tensor, q: float) -> Tensor:
        """max_j |A e_j|_q, by applying the transposed map with |entries|^q to a vector of ones."""
        if q == math.inf:
            return weight.abs().amax()
        ones = torch.ones_like(self.product(weight.detach(), self.right.to(weight)))
        largest = weight.detach().abs().amax()  # scaled by it, no power under- or overflows
        return largest * self.transpose((weight / largest).abs().pow(q), ones).amax().pow(1 / q)

    def _rows(self, weight: Tensor, p: float) -> Tensor:
        """max_i |A^T e_i|_(p*)."""
        if p == 1:
            return weight.abs().amax()
        star, largest = conjugate(p), weight.detach().abs().amax()
        ones = torch.ones_like(self.right).to(weight)
        return largest * self.product((weight / largest).abs().pow(star), ones).amax().pow(1 / star)

    def prepare(self, z: Tensor) -> None:
        """Start the vector for inputs of the size of z, if that is not done yet."""
        shape = self.vector_shape(z)
        if self.right.shape != shape:
            self.right = self._fresh(shape)
            self.update_norm_()

    def _fresh(self, shape: tuple[int, ...]) -> Tensor:
        # a generator of its own: norms must not depend on, or disturb, any other randomness
        generator = torch.Generator(self.weight.device).manual_seed(self.updates)
        return torch.randn(shape, generator=generator, dtype=self.weight.dtype, device=self.weight.device)

    @torch.no_grad()
    def improve_(self) -> Tensor:
        """Look for a larger norm than the kept vector's; by how much it grew, relative.

        Plain power iteration can stay for hundreds of steps on a vector that was leading once. 2-norm: the leading
        singular vector itself where the map is small; else the best vector of the Krylov space of the kept one mixed
        with a fresh random one. Other orders: power iteration, and now and then eight fresh starts, because they have
        local optima.
        """
        self.updates += 1
        orders, shape = self.orders(), tuple(self.right.shape)
        matvec, rmatvec = self.maps(self.weight.detach())
        image = matvec(self.right)
        if orders == (2, 2) and min(self.right.numel(), image.numel()) <= SMALL and image.device.type == "cpu":
            self.right = singular_vector(matvec, rmatvec, self.right, image)
            return image.new_zeros(())
        if orders == (2, 2):
            found = [self._leading(matvec, rmatvec, image)]
        else:
            starts = [self.right, *(self._fresh((8, *shape)) if self.updates % RESTART == 1 else ())]
            found = [power_iteration(matvec, rmatvec, start, orders, ROUNDS) for start in starts]
        vectors, tiny = torch.stack([self.right, *found]), torch.finfo(self.weight.dtype).tiny
        lengths = [vector_norm(v, orders[0]).clamp_min(tiny) for v in vectors]
        norms = torch.stack([vector_norm(matvec(v), orders[1]) / length for v, length in zip(vectors, lengths)])
        self.right = vectors[norms.argmax()]
        return (norms.amax() - norms[0]) / norms.amax().clamp_min(tiny)

    def _leading(self, matvec: Map, rmatvec: Map, image: Tensor) -> Tensor:
        """The Krylov space's best vector, found on the smaller side of the map."""
        narrows = image.numel() < self.right.numel()
        start = image if narrows else self.right
        fresh = self._fresh(tuple(start.shape))
        start = start / start.norm().clamp_min(torch.finfo(start.dtype).tiny) + FRESH * fresh / fresh.norm()
        if narrows:
            return rmatvec(krylov_vector(rmatvec, matvec, start, KRYLOV))
        return krylov_vector(matvec, rmatvec, start, KRYLOV)

    def update_norm_(self, tol: float = 1e-3) -> None:
        """Bring the estimate up to date with the weight (see update_norms_)."""
        update_norms_(self, tol)

    def sigma(self) -> Tensor:
        """The estimate of |weight|_(p->q), differentiable in the weight and in learned orders; a lower bound."""
        p, q = (order() if isinstance(order, LearnedOrder) else order for order in (self.domain, self.codomain))
        # ten bits would let the norm pass its bound by a thousandth
        with tensor_float(False), torch.autocast(self.weight.device.type, enabled=False):
            if self.closed_form():
                return self._columns(self.weight, q) if p == 1 else self._rows(self.weight, p)
            image = self.product(self.weight, self.right)
        return vector_norm(image, q) / vector_norm(self.right, p)

    def normalized_weight(self, z: Tensor) -> Tensor:
        """The weight as applied to inputs of the size of z."""
        self.prepare(z)
        return channels_last(self.weight / (self.sigma() / self.coeff).clamp_min(1))

    def norm_lower(self) -> Tensor:
        """A lower bound (estimate) of the norm of the weight as applied."""
        sigma = self.sigma().detach()
        return sigma / (sigma / self.coeff).clamp_min(1)

    @torch.no_grad()
    def norm_upper(self) -> float:
        """A certified upper bound of the norm of the weight as applied, in float64 on the CPU.

        Closed form for p = 1 or q = infinity; Gram iteration for p = q = 2; between them what `interpolated` proves.
        Infinity before the layer has seen an input: a convolution's norm depends on the size of the image.
        """
        if not self.right.numel():
            return math.inf
        applied = (self.weight / (self.sigma() / self.coeff).clamp_min(1)).double().cpu()
        p, q = self.orders()
        # sigma is computed anew at every use, and its last digits, like a closed form's, depend on the order of a sum
        margin = 1 + 1e-10 + 32 * torch.finfo(self.weight.dtype).eps
        if p == 1:
            return float(self._columns(applied, q)) * margin
        if q == math.inf:
            return float(self._rows(applied, p)) * margin
        spectral = float(gram_upper(self.blocks(applied)))
        sizes = (self.right.numel(), self.product(self.weight, self.right).numel())
        columns, rows = partial(self._columns, applied), partial(self._rows, applied)
        return margin * interpolated(p, q, spectral, columns, rows, sizes)

    def forward(self, z: Tensor) -> Tensor:
        return self.product(self.normalized_weight(z), channels_last(z), self.bias)

    def get_extra_state(self) -> Tensor:
        return torch.tensor([self.updates])

    def set_extra_state(self, state: Tensor) -> None:
        self.updates = int(state)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        if (stored := state_dict.get(prefix + "right")) is not None:
            self.right = torch.empty_like(stored, device=self.weight.device)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class LipschitzLinear(LipschitzLayer):
    """z (B, in_features) -> (B, out_features)."""

    def __init__(
        self, in_features: int, out_features: int, coeff: float = 0.98, domain: Order = 2, codomain: Order = 2
    ) -> None:
        super().__init__(torch.empty(out_features, in_features), coeff, domain, codomain)

    def product(self, weight: Tensor, z: Tensor, bias: Tensor | None = None) -> Tensor:
        return linear(z, weight, bias)

    def transpose(self, weight: Tensor, u: Tensor) -> Tensor:
        return linear(u, weight.T)

    def outer(self, weight: Tensor, u: Tensor, z: Tensor) -> Tensor:
        return u.T @ z

    def blocks(self, weight: Tensor) -> Tensor:
        return weight

    def vector_shape(self, z: Tensor) -> tuple[int, ...]:
        return (1, self.weight.shape[1])


def update_norms_(model: nn.Module, tol: float = 1e-3) -> None:
    """Bring the norm estimates of all layers up to date: call it after each step of the optimiser.

    Improves every layer until none grew by more than the fraction tol: one reading of the device per round for the
    whole model, and none inside a round.
    """
    layers = [m for m in model.modules() if isinstance(m, LipschitzLayer) and m.right.numel() and not m.closed_form()]
    for _ in range(50):
        if not layers:
            break
        growth = torch.stack([layer.improve_() for layer in layers])
        layers = [layer for layer, more in zip(layers, (growth > tol).tolist()) if more]
