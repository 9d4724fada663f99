"""Estimators of log det(I + J), J = dg/dx, for one batch of samples.

An estimator is an object with two verbs: `draw(x, generator)` makes everything random, and
`estimate(linearization, draw)` is deterministic and differentiable. So a draw can be replayed: by a test, or by a
memory mode that computes a thing twice instead of keeping it.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..errors import SettingsError
from ..expect import FLAG, integer, offering, one_of, settle, shown
from ..incoming import GENERATOR, batch, entries
from ..numerics.kernels import add_terms_
from .linearization import Linearization, linearize, per_sample_dot, refuse_divergence
from .noise import PROBES, draw_probes
from .series import Matched, Roulette, SeriesWeights, Staircase, Truncated


@dataclass(frozen=True)
class LogDetEstimate:
    """value: (B,) nats.  output: g(x).  n_terms: terms of a series (0: none).  products: Jacobian products spent for
    each sample, on average."""

    value: Tensor
    output: Tensor
    n_terms: int
    products: float


class Estimator(Protocol):
    """What `log_det` and `ResidualBlock` ask of an estimator."""

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Any:
        """All the randomness of one estimate at x (None where there is none)."""

    def estimate(self, g: Linearization, draw: Any) -> LogDetEstimate:
        """The estimate for that draw, differentiable in x and in the parameters of g."""


ESTIMATOR = offering("an estimator, such as PowerSeries(), Krylov() or Exact()", "draw", "estimate")


def log_det(
    g: Callable[[Tensor], Tensor], x: Tensor, estimator: Estimator, generator: torch.Generator | None = None
) -> LogDetEstimate:
    """Estimate log det(I + dg/dx) in nats for every sample of x.

    g: any callable (B, ...) -> (B, ...) that treats samples independently.  x: (B, ...).
    generator: a CPU torch.Generator; None draws from torch's default one.
    The value is differentiable in x and in the parameters of g (backpropagation through the series).
    Raises SettingsError where g changes the shape, loses the gradient or the estimator refuses the size, DataError
    where x is not finite, NotContractiveError where the series of a plain function diverges, by 20 products more (both
    on a GPU in evaluation only). Source: paper, eq. 1-6.
    """
    offering("a function of x", "__call__")("g", g)
    ESTIMATOR("estimator", estimator)
    GENERATOR("generator", generator)
    batch("x", x)
    entries("x", x)
    draw = estimator.draw(x, generator)
    near = linearize(g, by_rank(x, draw))
    if isinstance(estimator, PowerSeries):
        refuse_divergence(near)
    found = estimator.estimate(near, draw)
    return replace(found, value=by_rank(found.value, draw, back=True), output=by_rank(found.output, draw, back=True))


def by_rank(t: Tensor, draw: Any, *, back: bool = False) -> Tensor:
    """Samples in the order of the ranks of a stratified draw, or back in their own; for other draws as they are."""
    shift = getattr(getattr(draw, "weights", None), "shift", None)
    return t if shift is None else _rotated(t, -shift if back else shift, 0)


def _rotated(t: Tensor, shift: Tensor, axis: int) -> Tensor:
    n = t.shape[axis]
    return t.index_select(axis, (torch.arange(n, device=t.device) + shift.to(t.device, non_blocking=True)) % n)


@dataclass(frozen=True)
class SeriesDraw:
    """weights: c_1 ... c_n.  probes: (n_probes, B, ...)."""

    weights: SeriesWeights
    probes: Tensor

    @property
    def terms(self) -> float:
        """How many are computed for a sample, on average."""
        if isinstance(self.weights, Staircase):
            return sum(self.weights.counts) / self.probes.shape[1]
        return len(self.weights)


@dataclass(frozen=True)
class PowerSeries:
    """log det(I + J) = sum_k (-1)^(k+1) tr(J^k) / k, with Hutchinson's traces and the weights of `terms`:

        value = mean over probes v of  sum_{k <= n} c_k (-1)^(k+1) / k  v^T J^k v

    Converges for spectral radius rho(J) < 1. Unbiased with Roulette, biased with Truncated. Source: paper, eq. 3-6.

    control_variate: add tr(K) - v^T K v, of mean 0, where the map knows the exact trace of a K near its Jacobian (see
    Linearization.trace; K = J for a LipschitzBranch that starts with a layer). Raises SettingsError for other maps.
    Not in the paper.
    """

    terms: Truncated | Roulette = Roulette()
    probe: str = "rademacher"
    n_probes: int = 1
    control_variate: bool = False

    def __post_init__(self) -> None:
        terms = offering("Truncated(...), Roulette(...) or what else offers draw(batch, generator)", "draw")
        settle(self, terms=terms, probe=one_of(PROBES), n_probes=integer(1), control_variate=FLAG)
        if hasattr(self.terms, "estimate"):
            raise SettingsError(f"PowerSeries: terms={shown(self.terms)}: an estimator; expected Truncated or Roulette")

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> SeriesDraw:
        weights = self.terms.draw(len(x), generator)
        probes = draw_probes(self.probe, self.n_probes, x, generator)
        if getattr(weights, "shift", None) is not None:
            probes = _rotated(probes, weights.shift, 1)  # a sample has the same probe in every part
        draw, terms = SeriesDraw(weights, probes), getattr(generator, "terms", None)
        if terms is not None:
            terms.append(draw.terms)
        return draw

    def matched_to(self, rho: float) -> "PowerSeries":
        """This estimator with the contraction rate that its Matched law leaves open, if it does."""
        law = getattr(self.terms, "law", None)
        if not isinstance(law, Matched) or law.rho is not None:
            return self
        return replace(self, terms=replace(self.terms, law=Matched(rho)))

    def estimate(self, g: Linearization, draw: SeriesDraw) -> LogDetEstimate:
        # 0 * sum keeps an estimate without terms connected to the graph of g
        value = 0 * g.output.flatten(1).sum(1)
        for v in draw.probes:
            first, correction = self._start(g, v)
            value = value + correction
            for k, (weight, w) in enumerate(self._powers(g, v, draw.weights, first), 1):
                value = value + _term(k, weight, w, v)
        return LogDetEstimate(value / self.n_probes, g.output, len(draw.weights), self._products(draw))

    @torch.no_grad()
    def neumann(self, g: Linearization, draw: SeriesDraw) -> tuple[LogDetEstimate, Tensor]:
        """The value without a graph, and u of shape (n_probes, B, ...) such that its gradient is that of <u, J v>.

        The gradient of term k of the series is (-1)^(k-1) tr(J^(k-1) dJ), hence with the same draw
            d value = mean over probes of u^T dJ v,    u = sum_k (-1)^(k-1) c_k (J^T)^(k-1) v,
        an estimate of tr((I + J)^-1 dJ) with no graph through the series (the control variate's gradient comes on top).
        The powers (J^T)^k v that pass on the way give the value itself, by one inner product of their weighted sum with
        v. u is divided by n_probes.
        Source: paper, sec. 3.2, eq. 8 (its code returns <u, J v>, which is not the value).
        """
        values, pulled, share = [], [], 1 / self.n_probes
        for v in draw.probes:
            first, correction = self._start(g, v)
            wide, previous = torch.promote_types(v.dtype, torch.float32), v
            u, total = (torch.zeros_like(g.output, dtype=wide) for _ in range(2))
            for k, (weight, w) in enumerate(self._powers(g, v, draw.weights, first), 1):
                factor, before, previous = (-1) ** (k - 1) * share, previous[: len(w)], w
                if isinstance(weight, Tensor):
                    weight, before, w = 1.0, _on(weight, u) * before, _on(weight, u) * w
                add_terms_(u, total, before, w, factor * weight, factor / k * weight)
            values.append(per_sample_dot(total, v.to(wide)) + share * correction)
            pulled.append(u.to(v.dtype))
        # one more product, <u, J v>, is spent by whoever differentiates
        products = self._products(draw) + self.n_probes
        return LogDetEstimate(reduce(torch.add, values), g.output, len(draw.weights), products), torch.stack(pulled)

    def _start(self, g: Linearization, v: Tensor) -> tuple[Tensor | None, float | Tensor]:
        """With the control variate J^T v, which it shares with the first term, and its value tr(K) - v^T K v, (B,)."""
        if not self.control_variate:
            return None, 0.0
        trace = g.trace()
        if trace is None:
            raise SettingsError("control_variate=True, but this map knows no exact trace: set it to False")
        first, of_frozen = g.vjp_pair(v)
        return first, trace - per_sample_dot(of_frozen, v)

    def _powers(
        self, g: Linearization, v: Tensor, weights: SeriesWeights, first: Tensor | None
    ) -> Iterator[tuple[float | Tensor, Tensor]]:
        """(c_k, (J^T)^k v) for k = 1, 2, ..., of the samples that compute term k; first: J^T v, if that is known."""
        counts = getattr(weights, "counts", (len(v),) * len(weights))
        for weight, n in zip(weights, counts):
            if n == 0:  # this part of the batch has none of the ranks that go on
                return
            v, first = g.first_vjp(v[:n]) if first is None else first[:n], None
            yield weight, v

    def _products(self, draw: SeriesDraw) -> float:
        """Products spent per sample: one per term and probe; the control variate's trace costs about one more."""
        n = draw.terms
        return self.n_probes * (max(n, 1) + 1 if self.control_variate else n)


def _term(k: int, weight: float | Tensor, w: Tensor, v: Tensor) -> Tensor:
    """c_k (-1)^(k+1) / k <w, v>, in float32 at least, whatever v is in; 0 for samples past the end of w."""
    dot = per_sample_dot(w, v[: len(w)])
    return pad(_on(weight, dot) * ((-1) ** (k + 1) / k) * dot, (0, len(v) - len(w)))


def _on(weight: float | Tensor, like: Tensor) -> float | Tensor:
    """A weight as it multiplies (B, ...), on the device and in the dtype of that."""
    if not isinstance(weight, Tensor):
        return weight
    return weight.to(like.device, like.dtype, non_blocking=True).view(-1, *[1] * (like.dim() - 1))


@dataclass(frozen=True)
class Exact:
    """log |det(I + J)| from the dense Jacobian, D products and O(D^3) work: the reference for everything else.

    Raises SettingsError for more than 4096 dimensions: the Jacobian alone would take gigabytes.
    """

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> None:
        size = math.prod(x.shape[1:])
        if size > 4096:
            raise SettingsError(f"Exact() at {size} dimensions: refuses more than 4096; use PowerSeries or Krylov")

    def estimate(self, g: Linearization, draw: None = None) -> LogDetEstimate:
        jacobian = dense_jacobian(g)
        jacobian = jacobian.to(torch.promote_types(jacobian.dtype, torch.float32))
        identity = torch.eye(jacobian.shape[1], dtype=jacobian.dtype, device=jacobian.device)
        return LogDetEstimate(torch.linalg.slogdet(identity + jacobian)[1], g.output, 0, jacobian.shape[1])


def dense_jacobian(g: Linearization) -> Tensor:
    """(B, D, D) the Jacobian, one row per product: row i of J is J^T e_i."""
    basis = torch.eye(math.prod(g.output.shape[1:]), dtype=g.output.dtype, device=g.output.device)
    rows = [g.vjp(e.expand(len(g.output), -1).reshape(g.output.shape)).flatten(1) for e in basis]
    return torch.stack(rows, 1)
