"""log det(I + J) by Arnoldi's method: for the same products far less bias than the power series, at test time."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
from torch import Tensor

from ..errors import NotContractiveError, SettingsError
from ..expect import integer, number, settle
from .linearization import Linearization, per_sample_dot
from .logdet import LogDetEstimate
from .noise import draw_probes


@dataclass(frozen=True)
class Krylov:
    """v^T log(I + J) v from the Krylov space of v, per sample:

        A Q = Q H + (one column)  for A = J^T and an orthonormal Q that starts with v / |v|,
        v^T log(I + J) v ~ |v|^2 [log(I + H)]_11 .

    Its expectation over probes is log det(I + J) up to an error that falls much faster with the steps than that of the
    power series, which replaces log by its Taylor polynomial for the same products.

    n_steps: products per probe at most.  tol: stop when two consecutive estimates of every sample agree to tol nats
    (None: always n_steps).  For test time: backward through it raises SettingsError. NotContractiveError where a real
    eigenvalue of J is seen to be -1 or below.
    Source: Saad 1992 for functions of matrices; Ubaru et al. 2017 for traces of logarithms.
    """

    n_steps: int = 10
    n_probes: int = 1
    tol: float | None = None

    def __post_init__(self) -> None:
        settle(self, n_steps=integer(1, 10_000), n_probes=integer(1), tol=number("(0, inf)") | None)

    def draw(self, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return draw_probes("rademacher", self.n_probes, x, generator)

    def estimate(self, g: Linearization, draw: Tensor) -> LogDetEstimate:
        with torch.no_grad():
            found = [self._quadratic_form(g, v) for v in draw]
        value = torch.stack([f[0] for f in found]).mean(0)
        steps = [f[1] for f in found]
        if torch.is_grad_enabled() and g.output.requires_grad:
            value = _TestTimeOnly.apply(value, g.output)
        return LogDetEstimate(value, g.output, max(steps), sum(steps))

    def _quadratic_form(self, g: Linearization, v: Tensor) -> tuple[Tensor, int]:
        """Arnoldi with classical Gram-Schmidt done twice: the estimate (B,) and the steps spent."""
        batch, shape, m = len(v), v.shape, self.n_steps
        norm = per_sample_dot(v, v).sqrt()
        basis = [v.flatten(1) / norm[:, None]]
        hessenberg = norm.new_zeros(batch, m + 1, m)
        estimate = None
        for j in range(m):
            w = g.vjp(basis[j].view(shape)).flatten(1)
            before = w.norm(dim=1)
            q = torch.stack(basis, 2)
            for _ in range(2):
                h = (q.mT @ w[:, :, None])[:, :, 0]
                w = w - (q @ h[:, :, None])[:, :, 0]
                hessenberg[:, : j + 1, j] += h
            rest = w.norm(dim=1)
            # the space is invariant: nothing new remains, and the estimate is exact from here on
            done = rest <= 100 * torch.finfo(w.dtype).eps * before
            hessenberg[:, j + 1, j] = rest.masked_fill(done, 0)
            basis.append((w / rest[:, None]).masked_fill(done[:, None], 0))
            if self.tol is not None or j == m - 1:
                previous = estimate
                estimate = norm.square() * _log_corner(hessenberg[:, : j + 1, : j + 1])
                if previous is not None and bool(((estimate - previous).abs() <= self.tol).all()):
                    break
        return estimate, j + 1


@cache
def _nodes(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes t and weights on [0, 1], dense near 1: Gauss-Legendre in s, with t = 1 - (1 - s)^4."""
    nodes, weights = np.polynomial.legendre.leggauss(n)
    rest = (1 - nodes) / 2
    return 1 - rest**4, 2 * weights * rest**3


def _log_corner(h: Tensor) -> Tensor:
    """[log(I + H)]_11 = int_0^1 [H (I + t H)^-1]_11 dt for (B, m, m), by quadrature.

    An eigenvalue of H near -1 puts a pole just behind t = 1, where the nodes are dense: 40 of them leave 4e-12 nats at
    -0.999, 1e-8 at -0.9999. What they leave is seen at the trace of the same integral, which is log det(I + H), and
    what rounding leaves at the inverse at its end.
    """
    nodes, weights = (torch.as_tensor(a, dtype=h.dtype, device=h.device) for a in _nodes(40))
    identity = torch.eye(h.shape[1], dtype=h.dtype, device=h.device)
    shifted = identity + nodes[:, None, None, None] * h
    factors, pivots, _ = torch.linalg.lu_factor_ex(shifted)
    swaps = (pivots != torch.arange(1, len(identity) + 1, device=h.device)).sum(-1)
    inside = factors.diagonal(dim1=-2, dim2=-1).sign().prod(-1) * (-1) ** swaps > 0
    sign, log_det = torch.linalg.slogdet(identity + h)
    if not bool(inside.all() & (sign > 0).all()):  # t = 1 is no node
        raise NotContractiveError(
            "Krylov: det(I + t J) changes its sign between t = 0 and 1, so J has an eigenvalue of -1 or below, where "
            "the logarithm ends. Scale g down, or take Exact()"
        )
    inverse = torch.linalg.lu_solve(factors, pivots, identity.expand_as(shifted))
    missed = torch.einsum("t,bij,tbji->b", weights, h, inverse) - log_det
    eps = torch.finfo(h.dtype).eps
    resolved = missed.abs() <= max(1e-5, 1e4 * eps) * (1 + log_det.abs())
    if not bool((resolved & (eps * inverse[-1].flatten(1).norm(dim=1) <= 1e-3)).all()):
        raise NotContractiveError(
            f"Krylov: the logarithm of I + J is not resolved in {h.dtype}: J has an eigenvalue so near to -1, or so "
            "large, that the value would be any number. Scale g down, or take Exact() in float64"
        )
    return torch.einsum("t,bi,tbi->b", weights, h[:, 0], inverse[..., 0])


class _TestTimeOnly(torch.autograd.Function):
    """Passes a value on and refuses to differentiate it: a missing gradient must not pass for a zero one."""

    @staticmethod
    def forward(ctx, value, output):
        return value.clone()

    @staticmethod
    def backward(ctx, _):
        raise SettingsError("Krylov is an estimator for test time and has no gradient: train with PowerSeries")
