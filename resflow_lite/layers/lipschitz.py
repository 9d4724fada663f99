"""Layers whose weight as applied has at most a given norm."""

import math
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..expect import instance, number, settle
from ..numerics.kernels import scaled
from ..numerics.norms import Map, conjugate, gram_upper, interpolated, power_iteration, vector_norm
from ..numerics.tensor_float import full_precision
from .activations import LipSwish, scales_together
from .orders import ORDER, LearnedOrder, Order
from .together import prepare_together, update_together_

ROUNDS = 5
"""Power iterations in one improvement of another norm."""
RESTART = 10
"""Improvements of another norm between two restarts."""
FIRST_USE = threading.RLock()
"""Of threads that share a layer, one starts its vector and the others wait for it."""


def channels_last(t: Tensor) -> Tensor:
    """Images stored as (B, H, W, C), on which convolutions run several times faster; anything else as it is.

    A clone, because `contiguous` leaves the strides of tensors with C = 1 or 1 x 1 pixels ambiguous.
    """
    return t.clone(memory_format=torch.channels_last) if t.dim() == 4 and t.stride(1) != 1 else t


class LinearMap(NamedTuple):
    """A layer's linear map with one weight, for many products: z -> W z + b, u -> W^T u, the gradient of <u, W z>."""

    product: Map
    adjoint: Map
    outer: Callable[[Tensor, Tensor], Tensor]

    def transpose(self, u: Tensor, scale: Tensor | None = None) -> Tensor:
        """W^T u, and times a factor for every entry."""
        return self.adjoint(u) if scale is None else scaled(self.adjoint(u), scale)

    def add_outer_(self, total: Tensor, u: Tensor, z: Tensor) -> None:
        total += self.outer(u, z)


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
        self.coeff, self.domain, self.codomain = coeff, domain, codomain
        settle(self, coeff=number("(0, 1]"), domain=ORDER, codomain=ORDER)
        self.weight = nn.Parameter(weight)
        self.bias = nn.Parameter(torch.empty(weight.shape[0]))
        fan_in = weight[0].numel()
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        nn.init.uniform_(self.bias, -1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in))
        self.register_buffer("vector", torch.empty(0))
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64), persistent=False)
        self.input_shape: tuple[int, ...] | None = None
        """(1, channels, ...) of the inputs whose norm is kept; None before the first."""
        self.ready: list[Tensor] | None = None
        """What `tensors` returns, where that was computed for all layers together."""

    @property
    def output_shape(self) -> tuple[int, ...]:
        return (1, self.weight.shape[0], *self.input_shape[2:])

    @property
    def right(self) -> Tensor:
        """The kept vector as an input of the layer: a right singular vector, up to its length."""
        return self.transpose(self.weight.detach(), self.vector) if self._left() else self.vector

    def _left(self) -> bool:
        """Whether the kept vector is one of outputs."""
        return self.vector.numel() > 0 and self.vector.shape[1] != self.weight.shape[1]

    def prepared(self, weight: Tensor) -> Tensor:
        """The weight in the form that `linear` takes."""
        return weight

    def restored(self, prepared: Tensor) -> Tensor:
        """The weight that was prepared."""
        return prepared

    def linear(self, prepared: Tensor) -> LinearMap:
        """The map with a prepared weight, for many products; its `outer` is a gradient in that."""
        return LinearMap(*(partial(rule, prepared) for rule in (self.product, self.transpose, self.outer)))

    def is_matrix(self) -> bool:
        """Whether `linear` computes by products with one matrix, on this device."""
        raise NotImplementedError

    def tensors(self, z: Tensor) -> list[Tensor]:
        """The weight as applied to inputs of the size of z, prepared, and the bias."""
        return self.ready or [self.prepared(self.normalized_weight(z)), self.bias]

    def orders(self) -> tuple[float, float]:
        """Domain and codomain as numbers, for what is not differentiated."""
        return tuple(float(o().detach() if isinstance(o, LearnedOrder) else o) for o in (self.domain, self.codomain))

    def spectral(self) -> bool:
        """Whether sigma is the 2-norm; never with learned orders, whose values are not read."""
        return self.domain == self.codomain == 2

    def closed_form(self) -> bool:
        """Whether sigma is exact: |A|_(1->q) is the largest column, |A|_(p->inf) the largest row."""
        return self.domain == 1 or self.codomain == math.inf

    def _columns(self, weight: Tensor, q: float) -> Tensor:
        """max_j |A e_j|_q."""
        return _largest(self.transpose, weight, q, self.output_shape)

    def _rows(self, weight: Tensor, p: float) -> Tensor:
        """max_i |A^T e_i|_(p*)."""
        return _largest(self.product, weight, conjugate(p), self.input_shape)

    def prepare(self, z: Tensor) -> None:
        """Start the vector for inputs of the size of z, if that is not done yet."""
        with FIRST_USE:
            if self.input_shape != (shape := self.vector_shape(z)):
                self.input_shape = shape
                with torch.inference_mode(False):  # the buffer must serve training later
                    self.vector = self._fresh(shape)
                self.update_norm_(1e-5)

    def _fresh(self, shape: tuple[int, ...]) -> Tensor:
        # a generator of its own: norms must not depend on, or disturb, any other randomness
        generator = torch.Generator(self.weight.device).manual_seed(int(self.updates))
        return torch.randn(shape, generator=generator, dtype=self.weight.dtype, device=self.weight.device)

    def narrow_vector(self) -> Tensor:
        """The kept vector on the layer's smaller side."""
        wide = len(self.weight) < self.weight.shape[1] and not self._left()
        return self.product(self.weight.detach(), self.vector) if wide else self.vector

    def improve_(self) -> Tensor:
        """Look for a larger norm of other orders than the kept vector's; by how much it grew, relative.

        Power iteration, and now and then eight fresh starts, because there are local optima.
        """
        self.updates += 1
        (p, q), weight = self.orders(), self.weight.detach()
        matvec, rmatvec = partial(self.product, weight), partial(self.transpose, weight)
        again = int(self.updates) % RESTART == 1
        starts = [self.vector, *(self._fresh((8, *self.vector.shape)) if again else ())]
        vectors = [self.vector, *(power_iteration(matvec, rmatvec, start, (p, q), ROUNDS) for start in starts)]
        tiny = torch.finfo(weight.dtype).tiny
        norms = torch.stack([vector_norm(matvec(v), q) / vector_norm(v, p).clamp_min(tiny) for v in vectors])
        self.vector = torch.stack(vectors).index_select(0, norms.argmax().view(1))[0]
        return (norms.amax() - norms[0]) / norms.amax().clamp_min(tiny)

    def update_norm_(self, tol: float = 1e-3) -> None:
        """Bring the estimate up to date with the weight (see update_norms_)."""
        update_norms_(self, tol)

    def sigma(self) -> Tensor:
        """The estimate of |weight|_(p->q), differentiable in the weight and in learned orders; a lower bound."""
        p, q = (order() if isinstance(order, LearnedOrder) else order for order in (self.domain, self.codomain))
        with full_precision(self.weight.device):
            if self.closed_form():
                return self._columns(self.weight, q) if p == 1 else self._rows(self.weight, p)
            vector = self.vector.clone()  # an update before the backward pass must not change what that reads
            image = (self.transpose if self._left() else self.product)(self.weight, vector)
            return vector_norm(image, q) / vector_norm(vector, p)

    def applied(self) -> Tensor:
        """W, for inputs of the size that was seen last."""
        return self.weight / (self.sigma() / self.coeff).clamp_min(1)

    def normalized_weight(self, z: Tensor) -> Tensor:
        """W for inputs of the size of z."""
        self.prepare(z)
        return channels_last(self.applied())

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
        applied = self.applied().double().cpu()
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
            self.vector = self.weight.new_empty(stored.shape)
            self.input_shape = (1, self.weight.shape[1], *stored.shape[2:])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


def _largest(product: Callable[..., Tensor], weight: Tensor, order: float, shape: tuple[int, ...]) -> Tensor:
    """The largest norm of a row of the matrix of `product`, which sums |entries|^order by meeting a vector of ones."""
    if order == math.inf:
        return weight.abs().amax()
    largest = weight.detach().abs().amax()  # scaled by it, no power under- or overflows
    return largest * product((weight / largest).abs().pow(order), weight.new_ones(shape)).amax().pow(1 / order)


def update_norms_(model: nn.Module, tol: float = 1e-3) -> None:
    """Bring the norm estimates of all layers up to date: call it after each step of the optimiser.

    2-norms: all layers of one shape together, in a number of rounds that tol alone decides; nothing is read back from
    the device. Other orders: layer by layer, until none grew by more than the fraction tol.
    """
    instance(nn.Module)("model", model)
    tol = number("(0, 1)")("tol", tol, "update_norms_")
    layers = [m for m in model.modules() if isinstance(m, LipschitzLayer) and m.input_shape and not m.closed_form()]
    others = [m for m in layers if not m.spectral()]
    device = layers[0].weight.device if layers else torch.device("cpu")
    # what is made in inference mode cannot be trained with
    with torch.inference_mode(False), torch.no_grad(), full_precision(device):
        update_together_([m for m in layers if m.spectral()], tol)
        for _ in range(50):
            if not others:
                break
            growth = torch.stack([layer.improve_() for layer in others])
            others = [layer for layer, more in zip(others, (growth > tol).tolist()) if more]


@contextmanager
def applied_together(model: nn.Module) -> Iterator[None]:
    """Within it weights as applied and scales are those of now, all layers of one shape computed together, once.

    For a pass through the model and back, on devices whose convolutions are matrix products; elsewhere nothing changes.
    Under autocast they are in its dtype, from norms that are not. Layers of other norms are left to themselves.
    """
    layers = [m for m in model.modules() if isinstance(m, LipschitzLayer) and m.input_shape]
    layers = [m for m in layers if m.spectral() and m.is_matrix()]
    activations = [m for m in model.modules() if isinstance(m, LipSwish)] if layers else []
    if layers:
        kind, dtype = layers[0].weight.device.type, layers[0].weight.dtype
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else dtype
        with full_precision(layers[0].weight.device):
            prepared = prepare_together(layers, dtype)
            scales = scales_together(activations) if activations else ()
        for layer in layers:
            layer.ready = prepared[layer]
        for activation, scale in zip(activations, scales):
            activation.ready = scale
    try:
        yield
    finally:
        for step in (*layers, *activations):
            step.ready = None
