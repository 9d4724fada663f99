"""Layers whose weight as applied has at most a given norm."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..errors import SettingsError
from ..numerics.norms import Map, conjugate, gram_upper, interpolated, power_iteration, vector_norm
from ..numerics.stacked import leading_vectors
from ..numerics.tensor_float import tensor_float

__all__ = [
    "LearnedOrder",
    "LipschitzLayer",
    "LipschitzLinear",
    "Order",
    "channels_last",
    "update_norms_",
]

ROUNDS = 5
"""Power iterations in one improvement of another norm."""
RESTART = 10
"""Improvements of another norm between two restarts."""
FIRST = 1e-5
"""Tolerance of a norm when the size of the input is seen first."""


@contextmanager
def _exactly(device: torch.device) -> Iterator[None]:
    """Products in the full precision of their dtype, outside autocast: ten bits would let a norm pass its bound."""
    with tensor_float(False), torch.autocast(device.type, enabled=False):
        yield


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
    maximum its own change does not matter (envelope theorem), in the weight as in the orders. For p = q = 2 the vector
    is kept on the smaller side of the map: sigma = |weight^T u|_2 / |u|_2 where there are fewer outputs.
    Source: paper, on induced mixed norms; Gouk et al. 2018; Behrmann et al. 2019, sec. 2.1.

    Subclasses give the linear map of any weight: `product(weight, z, bias)` and `transpose(weight, u)`, the gradient of
    <u, W z> in W, `outer(weight, u, z)`; matrices (..., out, in), float64 or complex128, whose largest 2-norm is at
    least the map's, `blocks(weight)`; and the shape of v for inputs like z, `vector_shape(z)`.
    """

    vector: Tensor
    updates: Tensor

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
        self.register_buffer("vector", torch.empty(0))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64), persistent=False)
        self.input_shape: tuple[int, ...] | None = None
        """(1, channels, ...) of the inputs whose norm is kept; None before the first."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (1, self.weight.shape[0], *self.input_shape[2:])

    @property
    def spectral(self) -> bool:
        """Whether the norm is the 2-norm. A learned order never is: to compare its value would be to read it."""
        return self.domain == 2 and self.codomain == 2

    @property
    def narrows(self) -> bool:
        """Whether the map has fewer outputs than inputs."""
        return self.weight.shape[0] < self.weight.shape[1]

    @property
    def _left(self) -> bool:
        """Whether the kept vector is one of outputs."""
        return self.narrows and self.vector.numel() > 0 and self.vector.shape[1] == self.weight.shape[0]

    @property
    def right(self) -> Tensor:
        """The kept vector as an input of the layer: a right singular vector, up to its length."""
        return self.transpose(self.weight.detach(), self.vector) if self._left else self.vector

    @right.setter
    def right(self, vector: Tensor) -> None:
        self.vector = vector

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
        ones = weight.new_ones(self.output_shape)
        largest = weight.detach().abs().amax()  # scaled by it, no power under- or overflows
        return largest * self.transpose((weight / largest).abs().pow(q), ones).amax().pow(1 / q)

    def _rows(self, weight: Tensor, p: float) -> Tensor:
        """max_i |A^T e_i|_(p*)."""
        if p == 1:
            return weight.abs().amax()
        star, largest = conjugate(p), weight.detach().abs().amax()
        ones = weight.new_ones(self.input_shape)
        return largest * self.product((weight / largest).abs().pow(star), ones).amax().pow(1 / star)

    def prepare(self, z: Tensor) -> None:
        """Start the vector for inputs of the size of z, if that is not done yet."""
        if self.input_shape != (shape := self.vector_shape(z)):
            self.input_shape = shape
            with torch.inference_mode(False):  # the buffer must serve training later
                self.vector = self._fresh(self.output_shape if self.spectral and self.narrows else shape)
            self.update_norm_(FIRST)

    def _fresh(self, shape: tuple[int, ...]) -> Tensor:
        # a generator of its own: norms must not depend on, or disturb, any other randomness
        generator = torch.Generator(self.weight.device).manual_seed(int(self.updates))
        return torch.randn(shape, generator=generator, dtype=self.weight.dtype, device=self.weight.device)

    def kernel(self) -> Tensor:
        """The map from its smaller side as a convolution's kernel, (wide, narrow, k, k); a matrix has k = 1."""
        weight = self.weight.detach()
        weight = weight if weight.dim() == 4 else weight[:, :, None, None]
        return weight.transpose(0, 1).flip(2, 3) if self.narrows else weight

    def start(self) -> Tensor:
        """The kept vector on the smaller side, (1, narrow, H, W)."""
        vector = self.product(self.weight.detach(), self.vector) if self.narrows and not self._left else self.vector
        return vector if vector.dim() == 4 else vector[:, :, None, None]

    def improve_(self) -> Tensor:
        """Look for a larger norm of other orders than the kept vector's; by how much it grew, relative.

        Power iteration, and now and then eight fresh starts, because there are local optima.
        """
        self.updates += 1
        orders, matvec, rmatvec = self.orders(), *self.maps(self.weight.detach())
        again = int(self.updates) % RESTART == 1
        starts = [self.vector, *(self._fresh((8, *self.vector.shape)) if again else ())]
        found = [power_iteration(matvec, rmatvec, start, orders, ROUNDS) for start in starts]
        vectors, tiny = torch.stack([self.vector, *found]), torch.finfo(self.weight.dtype).tiny
        lengths = [vector_norm(v, orders[0]).clamp_min(tiny) for v in vectors]
        norms = torch.stack([vector_norm(matvec(v), orders[1]) / length for v, length in zip(vectors, lengths)])
        self.vector = vectors.index_select(0, norms.argmax().view(1))[0]
        return (norms.amax() - norms[0]) / norms.amax().clamp_min(tiny)

    def update_norm_(self, tol: float = 1e-3) -> None:
        """Bring the estimate up to date with the weight (see update_norms_)."""
        update_norms_(self, tol)

    def sigma(self) -> Tensor:
        """The estimate of |weight|_(p->q), differentiable in the weight and in learned orders; a lower bound."""
        p, q = (order() if isinstance(order, LearnedOrder) else order for order in (self.domain, self.codomain))
        with _exactly(self.weight.device):
            if self.closed_form():
                return self._columns(self.weight, q) if p == 1 else self._rows(self.weight, p)
            vector = self.vector.clone()  # an update before the backward pass must not change what that reads
            image = (self.transpose if self._left else self.product)(self.weight, vector)
            return vector_norm(image, q) / vector_norm(vector, p)

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
        if self.input_shape is None:
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
        sizes = (math.prod(self.input_shape), math.prod(self.output_shape))
        columns, rows = partial(self._columns, applied), partial(self._rows, applied)
        return margin * interpolated(p, q, spectral, columns, rows, sizes)

    def forward(self, z: Tensor) -> Tensor:
        return self.product(self.normalized_weight(z), channels_last(z), self.bias)

    def get_extra_state(self) -> Tensor:
        return self.updates.reshape(1).clone()

    def set_extra_state(self, state: Tensor) -> None:
        self.updates.fill_(int(state))

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs) -> None:
        if prefix + "right" in state_dict:  # its name while it was always an input
            state_dict[prefix + "vector"] = state_dict.pop(prefix + "right")
        stored = state_dict.get(prefix + "vector")
        if stored is not None and stored.numel() and stored.shape[1] in self.weight.shape[:2]:
            self.vector = torch.empty_like(stored, device=self.weight.device)
            self.input_shape = (1, self.weight.shape[1], *stored.shape[2:])
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

    2-norms: all layers of one shape together, in a number of rounds that tol alone decides; nothing is read back from
    the device. Other orders: layer by layer, until none grew by more than the fraction tol.
    """
    layers = [m for m in model.modules() if isinstance(m, LipschitzLayer) and m.input_shape and not m.closed_form()]
    alike: dict[tuple, list[LipschitzLayer]] = {}
    for layer in (m for m in layers if m.spectral):
        key = (*layer.kernel().shape, *layer.input_shape[2:], layer.weight.dtype, layer.weight.device)
        alike.setdefault(key, []).append(layer)
    others = [m for m in layers if not m.spectral]
    with torch.inference_mode(False), torch.no_grad():  # buffers made in inference mode could not be trained with
        for group in alike.values():
            with _exactly(group[0].weight.device):
                _improve_together_(group, tol)
        for _ in range(50):
            if not others:
                break
            growth = torch.stack([layer.improve_() for layer in others])
            others = [layer for layer, more in zip(others, (growth > tol).tolist()) if more]


def _improve_together_(layers: list[LipschitzLayer], tol: float) -> None:
    """The leading singular vectors of 2-norm layers of one shape, in place."""
    starts = torch.cat([layer.start() for layer in layers])
    kernels, seeds = torch.stack([layer.kernel() for layer in layers]), torch.stack([m.updates for m in layers])
    found = leading_vectors(kernels, starts.shape[2:], starts.flatten(1), seeds, tol).view_as(starts)
    torch._foreach_add_([layer.updates for layer in layers], 1)
    for layer, vector in zip(layers, found):
        shape = layer.output_shape if layer.narrows else layer.input_shape
        if layer.vector.shape != shape:
            layer.vector = torch.empty_like(vector).view(shape)
    torch._foreach_copy_([m.vector for m in layers], [v.view(m.vector.shape) for m, v in zip(layers, found)])
