"""Truncation against roulette on a Jacobian small enough to know the truth, in nats per dimension. NumPy only.

js/truncation.js and js/truncated_against_roulette.js compute the same numbers, draw for draw.
"""

from dataclasses import dataclass
from math import prod
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np

from ...errors import SettingsError

if TYPE_CHECKING:
    from ...estimators.series import Law, Roulette

RUNS, DRAWS = 30, 10_000  # of the running means
INTERVALS, INTERVAL_DRAWS = 1_000, 1_000  # of the coverage
DEFAULT = SimpleNamespace(law=SimpleNamespace(survival=lambda k: 0.75**k), n_exact=2)
"""Roulette(Geometric(0.25), n_exact=2), without torch."""


def partial_sums(r: float, angle: float, n: int) -> tuple[float, np.ndarray, np.ndarray]:
    """Of log det(I + J) / 2 for J = r R(angle), angle in degrees: the truth, (n,) partial sums, (n,) bounds of |bias|.

    truth = log(1 + 2 r cos(angle) + r^2) / 2, term k = (-1)^(k+1) r^k cos(k angle) / k.
    The bound is the worst J of norm r, J = -r I: sum over j > k of r^j / j. Source: Behrmann et al. 2019, sec. 3.2.
    Raises SettingsError for r outside [0, 1).
    """
    if not 0 <= r < 1:
        raise SettingsError(f"r={r!r}: the series of log det(I + J) converges for 0 <= r < 1 only")
    k, angle = np.arange(1, n + 1), np.deg2rad(angle)
    sums = np.cumsum((-1.0) ** (k + 1) * r**k * np.cos(k * angle) / k)
    return np.log(1 + 2 * r * np.cos(angle) + r**2) / 2, sums, -np.log1p(-r) - np.cumsum(r**k / k)


class Uniforms:
    """Uniform numbers in [0, 1), one after another: a hash of the seed and a counter, 32 bits each.

    The hash is Wellons's lowbias32. `random` asks as NumPy's generators do; kit.js makes the same numbers.
    """

    def __init__(self, seed: int) -> None:
        self.key, self.used = _hash(np.array([seed + 0x9E3779B9 & 0xFFFFFFFF], np.uint32)), 0

    def random(self, shape: tuple[int, ...]) -> np.ndarray:
        counter = np.arange(self.used, self.used + prod(shape)).astype(np.uint32)
        self.used += prod(shape)
        return _hash(_hash(counter) + self.key).reshape(shape) / 2**32


def _hash(x: np.ndarray) -> np.ndarray:
    x = (x ^ (x >> 16)) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> 15)) * np.uint32(0x846CA68B)
    return x ^ (x >> 16)


def rotation(r: float, angle: float) -> np.ndarray:
    """(2, 2) J = r R(angle), angle in degrees. Every Rademacher probe gives tr(J^k) itself: no probe noise."""
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return r * np.array([[c, -s], [s, c]])


def noisy_rotation(r: float, angle: float, noise: float) -> np.ndarray:
    """(4, 4) J = [[r R, s I], [0, r R]] with s = noise (1 - r^2): probes differ, truth and bias are those of r R.

    The corner is nilpotent and reaches no diagonal block of a power, so tr(J^k) / 4 is rotation's tr(J^k) / 2.
    noise: 0 to 1. The norm is at most 1, as r^2 + s <= 1.
    """
    return np.kron(np.eye(2), rotation(r, angle)) + np.kron(np.eye(2, k=1), noise * (1 - r**2) * np.eye(2))


def spectral_radius(jacobian: np.ndarray) -> float:
    """The largest |eigenvalue|: the series converges where it is below 1."""
    return float(np.abs(np.linalg.eigvals(jacobian)).max())


def log_series(jacobian: np.ndarray, n: int) -> np.ndarray:
    """(D, n) the terms (-1)^(k+1)/k v^T J^k v / D for D probes v: the rows of an orthogonal matrix, times sqrt(D).

    So v^T A v has the mean tr(A) over these few probes, exactly. Where D is a power of two they are Rademacher's, for
    D = 2 (1, 1) and (1, -1); otherwise cosines with random signs.
    """
    size = len(jacobian)
    powers = v = probes(size)
    terms = np.empty((size, n))
    for k in range(1, n + 1):
        powers = powers @ jacobian
        terms[:, k - 1] = (-1) ** (k + 1) / k * (powers * v).sum(1) / size
    return terms


def probes(size: int) -> np.ndarray:
    """The rows of an orthogonal matrix, times sqrt(size)."""
    if size & (size - 1) == 0:  # Sylvester's matrix of signs
        signs = np.ones((1, 1))
        while len(signs) < size:
            signs = np.block([[signs, signs], [signs, -signs]])
        return signs
    wave, place = np.ogrid[:size, :size]
    cosines = np.sqrt(2) * np.cos(np.pi * wave * (place + 0.5) / size)
    cosines[0] = 1
    return cosines * np.random.default_rng(0).choice([-1, 1], size)


@dataclass(frozen=True)
class Race:
    """Numbers of one race at equal cost; nats per dimension.

    truth: log |det(I + J)| / D.  truncated: mean of the truncated estimate.  n_terms: its products.
    products: what the roulette spends on average.  counts: (n,) numbers of draws, log-spaced.
    roulette_means, truncated_means: (runs, n) running means at these counts.  errors: (n,) nominal standard errors of
    the first run's.  draws: all single estimates of the first run.  largest_term: the largest |weight x term| in them.
    coverage: share of nominal 95 % intervals, each from 1,000 draws, that contain the truth.
    rho: spectral radius of J.  limit: the variance is finite only if rho^2 < limit.
    """

    truth: float
    truncated: float
    n_terms: int
    products: float
    counts: np.ndarray
    roulette_means: np.ndarray
    truncated_means: np.ndarray
    errors: np.ndarray
    draws: np.ndarray
    largest_term: float
    coverage: float
    rho: float
    limit: float

    @property
    def bias(self) -> float:
        return self.truncated - self.truth


def race(
    jacobian: np.ndarray,
    roulette: "Roulette" = DEFAULT,
    n_terms: int | None = None,
    seed: int = 0,
    *,
    probe_noise: bool = True,
) -> Race:
    """Estimate log |det(I + J)| by truncation and by roulette, many times.

    jacobian: (D, D), spectral radius below 1.  n_terms: of the truncated series; None: what the roulette spends on
    average, to the nearest integer.  probe_noise: one probe per draw; False: exact traces.

    The partial sums S_N are tabulated once, so that a draw is an index. Raises SettingsError where the series diverges.
    """
    rho = spectral_radius(jacobian)
    if not rho < 1:
        raise SettingsError(f"the Jacobian has spectral radius {rho:.3f}: the series needs one below 1")
    survival = _survival(roulette.law)
    products = roulette.n_exact + survival.sum()
    n_terms = round(products) if n_terms is None else n_terms

    terms = log_series(jacobian, max(n_terms, roulette.n_exact + len(survival)))
    if not probe_noise:
        terms = terms.mean(0, keepdims=True)
    truncated = terms[:, :n_terms].sum(1)
    sums, largest = _tables(terms, survival, roulette.n_exact)

    rng = Uniforms(seed)

    def draw(*shape: int) -> tuple[np.ndarray, np.ndarray]:
        """One uniform number chooses the probe and, with what is left of it, N."""
        uniform = len(terms) * rng.random(shape)
        probe = uniform.astype(int)
        return probe, np.searchsorted(1 - survival, uniform - probe, side="right")

    truth = np.linalg.slogdet(np.eye(len(jacobian)) + jacobian)[1] / len(jacobian)
    probe, n = draw(RUNS, DRAWS)
    estimates = sums[probe, n]
    counts = np.unique(np.geomspace(1, DRAWS, 120).round().astype(int))
    means = _running_means(estimates, counts)
    spread = _running_means((estimates[0] - truth) ** 2, counts) - (means[0] - truth) ** 2
    sample = sums[draw(INTERVALS, INTERVAL_DRAWS)]
    reach = 1.96 * sample.std(1, ddof=1) / INTERVAL_DRAWS**0.5
    return Race(
        truth=truth,
        truncated=truncated.mean(),
        n_terms=n_terms,
        products=products,
        counts=counts,
        roulette_means=means,
        truncated_means=_running_means(truncated[probe], counts),
        errors=np.sqrt(np.maximum(spread, 0) / np.maximum(counts - 1, 1)),
        draws=estimates[0],
        largest_term=largest[probe[0], n[0]].max(),
        coverage=np.mean(abs(sample.mean(1) - truth) <= reach),
        rho=rho,
        limit=_limit(survival),
    )


def _tables(terms: np.ndarray, survival: np.ndarray, n_exact: int) -> tuple[np.ndarray, np.ndarray]:
    """For every probe and N = 0, 1, ...: the estimate, and the largest |weight x term| in it."""
    weights = np.concatenate([np.ones(n_exact), 1 / survival])
    weighted = np.pad(terms[:, : len(weights)] * weights, ((0, 0), (1, 0)))
    return np.cumsum(weighted, axis=1)[:, n_exact:], np.maximum.accumulate(abs(weighted), axis=1)[:, n_exact:]


def _limit(survival: np.ndarray) -> float:
    """lim P(N >= k + 1) / P(N >= k), as estimators.series.tail_ratio: 0 where the ratio still falls far out."""
    ratios = survival[1:] / survival[:-1]
    return 0.0 if ratios[-1] < 0.9 * ratios[len(ratios) // 2] else float(ratios[-1])


def _survival(law: "Law") -> np.ndarray:
    """P(N >= k) for k = 1, 2, ..., down to the resolution of a uniform number."""
    survival = [1.0]
    while survival[-1] > 1e-16:
        survival.append(law.survival(len(survival)))
    return np.array(survival[1:-1])


def _running_means(values: np.ndarray, counts: np.ndarray) -> np.ndarray:
    return np.cumsum(values, axis=-1)[..., counts - 1] / counts
