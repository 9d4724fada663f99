"""How many terms of a power series to compute, and with what weights.

An infinite series sum_k s_k is replaced by the finite random one sum_{k <= n} c_k s_k. With E[c_k] = 1 for every k the
estimate is unbiased (Russian roulette, Kahn 1955); with a fixed n it is biased (truncation).
"""

import math
from collections.abc import Iterator
from dataclasses import InitVar, dataclass
from itertools import takewhile
from typing import Protocol

import torch
from scipy.special import gammainc
from torch import Tensor

from ..errors import SettingsError
from ..expect import integer, number, offering, one_of, settle, shown
from .noise import draw_quantile, draw_ranks, rows, whole

SHARE = number("[0, 1]")
LONGEST = 10**6
"""No series goes on longer: more is a mistake, or a law without an end."""


class Law(Protocol):
    """The law of N, the number of terms after the exact ones; support 0, 1, 2, ..."""

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """n draws on the CPU, int64, (n,)."""

    def survival(self, k: int) -> float:
        """P(N >= k); survival(0) = 1."""


@dataclass(frozen=True)
class Geometric:
    """P(N >= k) = (1 - p)^k, so that P(N = 0) = p and E[N] = (1 - p) / p.

    The estimate's second moment is finite only where rho(J)^2 < 1 - p (design of the tail: see Roulette).
    Source: the paper's text uses p = 0.5 (sec. 3.1).
    """

    p: float = 0.5

    def __post_init__(self) -> None:
        settle(self, p=number("[0.0001, 1)"))  # 10,000 terms on average: nobody means more

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        # 1 - U lies in (0, 1], so that the logarithm is finite
        uniform = 1 - torch.rand(n, dtype=torch.float64, generator=generator)
        return (uniform.log() / math.log1p(-self.p)).floor().long()

    def survival(self, k: int) -> float:
        return (1 - self.p) ** k


@dataclass(frozen=True)
class Poisson:
    """P(N >= k) = 1 - exp(-rate) sum_{j < k} rate^j / j!, E[N] = rate.

    The tail is thinner than any geometric one, so the second moment is infinite whenever J is not nilpotent.
    Source: default of the paper's public code for images, with rate 2.
    """

    rate: float = 2.0

    def __post_init__(self) -> None:
        settle(self, rate=number("(0, 10000]"))

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.poisson(torch.full((n,), self.rate, dtype=torch.float64), generator=generator).long()

    def survival(self, k: int) -> float:
        # the incomplete gamma function is this tail, without the cancellation of 1 - (a sum)
        return float(gammainc(k, self.rate)) if k > 0 else 1.0


@dataclass(frozen=True)
class Matched:
    """The geometric tail that fits a block: P(N >= k) = q^k, with q just above the block's contraction rate rho.

    P(N >= k) in proportion to the size of term k, rho^k, keeps every weighted term of about the same size: the second
    moment is finite, and the expected cost q / (1 - q) is what that takes (`expected_terms(law)`). Finite is not small:
    on a trained block at rho = 0.59 five exact terms and Geometric(0.5) did better for the same products
    (tests/benchmarks/estimators.py).

    rho: rate at which |J^k v| falls, measured outside the training step; None is filled in by the block that the law is
    given to, from its own last measurement (Flow.measure_contraction_). q = min(1.05 rho, (1 + rho) / 2), rho clipped
    to [0.05, 0.995]. Not in the paper.
    """

    rho: float | None = None

    def __post_init__(self) -> None:
        settle(self, rho=number("[0, inf)") | None)

    @property
    def q(self) -> float:
        if self.rho is None:
            raise SettingsError("Matched() does not know the contraction rate: call flow.measure_contraction_(x) first")
        rho = min(max(self.rho, 0.05), 0.995)
        return min(1.05 * rho, (1 + rho) / 2)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        return Geometric(1 - self.q).sample(n, generator)

    def survival(self, k: int) -> float:
        return self.q**k


def _survival(law: Law, k: int) -> float:
    return SHARE(f"{type(law).__name__}.survival({k})", law.survival(k))


def tail(law: Law) -> Iterator[float]:
    """P(N >= k) for k = 1, 2, ...; raises SettingsError where it is no number in [0, 1], rises, or does not end."""
    last = 1.0
    for k in range(1, LONGEST):
        p = _survival(law, k)
        if p > last * (1 + 1e-9):
            raise SettingsError(f"survival({k}) of {shown(law)} is {p}, after {last}: P(N >= k) cannot rise with k")
        yield (last := p)
    raise SettingsError(f"survival({LONGEST:,}) of {shown(law)} is {last}: expected a law that ends before")


def expected_terms(law: Law) -> float:
    """E[N] = sum_{k >= 1} P(N >= k): the products that the random part of a roulette costs on average."""
    return math.fsum(takewhile(lambda p: p > 1e-12, tail(law)))


def tail_ratio(law: Law) -> float:
    """lim P(N >= k + 1) / P(N >= k), read far out in the tail; 0 where the tail is thinner than any geometric one.

    The roulette's second moment is finite for a contraction rate rho only if rho^2 < tail_ratio.
    """

    def ratio(k: int) -> float:
        return _survival(law, k + 1) / _survival(law, k)

    far = 64
    while far and _survival(law, far + 1) < 1e-200:
        far //= 2
    return 0.0 if not far or ratio(far) < 0.9 * ratio(far // 2) else ratio(far)


SeriesWeights = tuple[float | Tensor, ...]
"""c_1, ..., c_n of one draw: a float for the whole batch or a (B,) CPU tensor, one entry per sample."""


class Staircase(tuple[float, ...]):
    """The weights of a stratified draw, and the samples that they are for.

    counts: how many samples compute each term, the first by rank.
    shift: sample (r + shift) mod B has rank r, an integer tensor; None: 0.
    """

    counts: tuple[int, ...]
    shift: Tensor | None

    def __new__(cls, weights: tuple[float, ...], counts: tuple[int, ...], shift: Tensor | None) -> "Staircase":
        made = super().__new__(cls, weights)
        made.counts, made.shift = counts, shift
        return made


@dataclass(frozen=True)
class Truncated:
    """c_k = 1 for k <= n_terms, 0 after: the biased estimator of i-ResNets (Behrmann et al. 2019, sec. 3.2)."""

    n_terms: int = 5

    def __post_init__(self) -> None:
        settle(self, n_terms=integer(0, LONGEST))

    def draw(self, batch: int, generator: torch.Generator | None = None) -> SeriesWeights:
        return (1.0,) * self.n_terms


DRAWS = ("block", "sample", "stratified")


@dataclass(frozen=True)
class Roulette:
    """Always n_exact terms, then N ~ law more.

    c_k = 1 for k <= n_exact and 1{N >= k - n_exact} / P(N >= k - n_exact) after, so that E[c_k] = 1 for every k.
    The support of N starts at 0: n_exact means the same for every law. With n_exact = 0 and N = 0 the estimate is 0.

    The second moment is finite only if sum_k a_k^2 / P(N >= k - n_exact) is, with a_k = rho^k / k for values and rho^k
    for gradients, rho the spectral radius of J.

    draws, how the samples of a batch come to their N:
        "block": one N for all of them, as in the paper's code.
        "sample": one each; the batch runs to the largest and costs E[max N].
        "stratified": the quantiles of the law, dealt out at random (see `staircase`): less variance, at a cost of E[N].
    Each is unbiased for every sample; with "block" and "stratified" those of a batch are not independent.
    Source: paper, sec. 3.1 and eq. 6; stratified draws are not in the paper.
    """

    law: Law = Geometric(0.5)
    n_exact: int = 2
    draws: str = "block"
    per_sample: InitVar[bool | None] = None
    """Of settings before there were three ways: True is draws="sample"."""

    def __post_init__(self, per_sample: bool | None) -> None:
        if per_sample:
            object.__setattr__(self, "draws", "sample")
        law = offering("a law, with sample(n, generator) and survival(k)", "sample", "survival")
        settle(self, law=law, n_exact=integer(0, LONGEST), draws=one_of(DRAWS))

    def draw(self, batch: int, generator: torch.Generator | None = None) -> SeriesWeights:
        if batch == 0:
            return (1.0,) * self.n_exact
        if self.draws == "stratified":
            return self._stratified(batch, generator)
        each = self.draws == "sample"
        drawn = self.law.sample(whole(batch, generator) if each else 1, generator)
        n, random = rows(drawn, generator) if each else drawn, []
        least, most = _ends(n)
        if least < 0:
            raise SettingsError(f"{shown(self.law)} draws {least}: expected 0, 1, 2, ...")
        for k, p in zip(range(1, most + 1), tail(self.law)):
            if p == 0:
                raise SettingsError(f"{shown(self.law)} draws {most}, but says that survival({k}) is 0")
            random.append((n >= k).double() / p if each else 1 / p)
        return (1.0,) * self.n_exact + tuple(random)

    def _stratified(self, batch: int, generator: torch.Generator | None) -> SeriesWeights:
        size, uniform = whole(batch, generator), draw_quantile(generator)
        first, shift = draw_ranks(batch, generator)
        weights, counts = staircase(self.law, size, uniform)
        parts = size // batch  # the ranks of this part are first, first + parts, ...
        mine = tuple(max(0, (m - first + parts - 1) // parts) for m in counts)
        return Staircase((1.0,) * self.n_exact + weights, (batch,) * self.n_exact + mine, shift)


def _ends(n: Tensor) -> tuple[int, int]:
    try:
        return int(n.min()), int(n.max())
    except RuntimeError as error:
        raise SettingsError(
            "how many terms a series has cannot be drawn here, under torch.func.vmap or on the device meta: hand over "
            "the batch as a whole, or take an estimator that draws no number, such as Exact()"
        ) from error


def staircase(law: Law, batch: int, uniform: float) -> tuple[tuple[float, ...], tuple[int, ...]]:
    """Weights and numbers of samples of the random terms k = 1, 2, ... where a batch takes the quantiles of the law.

        m_k = round(batch P(N >= k)) samples compute term k, with weight batch / m_k, as long as m_k >= 1.

    For a sample whose rank is uniform, E[c_k] = m_k / batch * batch / m_k = 1: no N is drawn, and the cost E[N] is
    always the same. Past the last step m_K the law goes on at random, for its samples together: T further terms with
    P(T >= j) = P(N >= K + j) / P(N >= K), found by inverting one uniform number, and the weights that this asks for. So
    no term is ever left out, and the second moment is finite where the law's is.
    """
    counts, weights = [], []
    last, count = 1.0, batch
    for p in tail(law):
        left = 1.0
        if (m := round(batch * p)) >= 1:
            last, count = p, m
        elif not uniform < (left := p / last):
            break
        counts.append(count)
        weights.append(batch / count / left)
    return tuple(weights), tuple(counts)
