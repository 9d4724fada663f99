"""Checks against exact mathematics, for this project's tests and for your own laws, estimators, activations and layers.

Each check returns a CheckReport, which prints as one sentence with the numbers, or raises CheckFailed with the number
that is wrong. They work in float64 and on the CPU.
"""

import copy
import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from .errors import CheckFailed, DataError, SettingsError
from .estimators.linearization import AutogradLinearization
from .estimators.logdet import Estimator, Exact, dense_jacobian, log_det
from .expect import SEED, instance, integer, number, offering, shown
from .incoming import batch, entries
from .layers.activations import Activation
from .layers.bijection import BIJECTION, Bijection
from .layers.residual import ResidualBlock, residual_blocks
from .models.variance import refuse_expansion

Z_LIMIT = 5.0


@dataclass(frozen=True)
class CheckReport:
    """A check that passed. sentence: what was found.  numbers: the same by name."""

    sentence: str
    numbers: dict[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.sentence


def z_score(draws: Tensor, truth: Tensor | float) -> Tensor:
    """(mean - truth) / standard error over axis 0: within +-4 for an unbiased estimator of finite variance."""
    return (draws.mean(0) - truth) / (draws.std(0) / len(draws) ** 0.5)


def exact_log_det(bijection: Bijection, x: Tensor) -> Tensor:
    """log |det dy/dx| per sample from the dense Jacobian, by autograd through `transform`."""
    offering("a bijection, with transform", "transform")("bijection", bijection)
    batch("x", x)
    # the output may have another shape than x, so flatten both ends
    g = AutogradLinearization(lambda flat: bijection.transform(flat.view(x.shape)).flatten(1), x.flatten(1))
    return torch.linalg.slogdet(dense_jacobian(g))[1].detach()


def check_bijection(bijection: Bijection, x: Tensor, tol: float = 1e-9) -> CheckReport:
    """Transform, forward and inverse belong together, and the log-determinant is that of the exact Jacobian.

    Residual blocks are taken with the estimator Exact(), on a copy. x: float64 samples, a few: the Jacobian is dense.
    """
    bijection = copy.deepcopy(BIJECTION("bijection", bijection))
    _points("x", x)
    tol = number("(0, inf)")("tol", tol)
    for block in residual_blocks(bijection).values():
        block.train_estimator = block.eval_estimator = Exact()
    y, value = bijection(x)
    same = float((bijection.transform(x) - y).detach().abs().max())
    back = float((bijection.inverse(y) - x).detach().abs().max())
    if same > tol * float(1 + y.detach().abs().max()):
        raise CheckFailed(f"forward and transform differ by {same:.2e}")
    if not back <= tol * float(1 + x.detach().abs().max()):
        raise CheckFailed(f"inverse does not undo forward: x comes back wrong by {back:.2e}")
    if value.shape != (len(x),):
        raise CheckFailed(f"log-determinant of shape {tuple(value.shape)} for {len(x)} samples")
    exact = exact_log_det(bijection, x)
    error = float((value - exact).detach().abs().max())
    if not error <= tol * (1 + float(exact.abs().max())):
        raise CheckFailed(f"log-determinant wrong by {error:.2e} nats")
    sentence = f"log-determinant right to {error:.0e} nats, inverse to {back:.0e} ({len(x)} samples)"
    return CheckReport(sentence, dict(log_det_error=error, inverse_error=back))


class _Turn(nn.Module):
    """g(x) = r Q sin(x) on R^4, Q orthogonal with eigenvalues -1, -1 and a pair near them: J = r Q diag(cos x).

    Eigenvalues near -r make all terms of the series count in one direction and fall slowly, so that what is cut off or
    weighted wrongly shows.
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        basis = torch.linalg.qr(torch.randn(4, 4, dtype=torch.float64, generator=generator))[0]
        core = -torch.eye(4, dtype=torch.float64)
        core[2:, 2:] = torch.tensor([[math.cos(2.6), -math.sin(2.6)], [math.sin(2.6), math.cos(2.6)]])
        self.turn = basis @ core @ basis.T
        self.rate = nn.Parameter(torch.tensor(rate, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.rate * x.sin() @ self.turn.T


def check_unbiased(
    estimator: Estimator,
    branch: nn.Module | None = None,
    x: Tensor | None = None,
    calls: int = 1000,
    *,
    gradient: bool = True,
    seed: int = 0,
) -> CheckReport:
    """The mean of an estimator's values, and of their gradient, against log det(I + J) and its gradient.

    A residual block with this estimator is called `calls` times, as in training, at the points x. Every point's value,
    their mean, and the derivative of that mean along one random direction in the parameters each give a z-score,
    (mean - truth) / standard error; the largest may be 5.

    branch, x: g and (B, ...) points, float64; None: a map of R^4 whose Jacobian has the contraction rate 0.65. Small
    rates cannot tell a truncated series from a complete one; and where the rate's square exceeds the tail ratio of the
    estimator's law (rf.tail_ratio), the variance is infinite and no z-score means anything.
    gradient: False for estimators that cannot be differentiated.
    """
    branch = _Turn(0.65) if branch is None else instance(nn.Module)("branch", branch)
    if x is None:
        x = 0.2 * torch.randn(32, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    _points("x", x)
    calls, generator = integer(2)("calls", calls), torch.Generator().manual_seed(SEED("seed", seed))
    block = ResidualBlock(branch, estimator)
    parameters = [p for p in branch.parameters() if p.requires_grad] if gradient else []
    along = [(p, torch.randn(p.shape, dtype=p.dtype, generator=generator)) for p in parameters]
    with torch.set_grad_enabled(gradient):
        truth = _measured(log_det(branch, x, Exact()).value, along)
        block.measure_contraction_(x)
        refuse_expansion(block)
        draws = torch.stack([_measured(block(x, generator)[1], along) for _ in range(calls)])
    z, error, score = _compared(draws, truth, len(x))
    both = "value and gradient" if gradient else "value"
    return CheckReport(
        f"no bias found in {both}: {score}; mean value known to {error:.4f} nats, {calls:,} calls at contraction rate "
        f"{block.contraction:.2f}",
        dict(z=z, contraction=block.contraction, standard_error=error),
    )


def _points(name: str, x: Tensor) -> None:
    batch(name, x)
    entries(name, x)
    if x.dtype != torch.float64:
        raise SettingsError(
            f"{name} is {shown(x)}: expected float64, as rounding would look like a fault. model.double()"
        )
    if len(x) == 0:
        raise DataError(f"{name} holds no points: expected a few")


def _measured(value: Tensor, along: list[tuple[Tensor, Tensor]]) -> Tensor:
    """The values, their mean, and the derivative of the mean along a direction, given as (parameter, part) pairs."""
    found = [value.detach(), value.detach().mean(0, keepdim=True)]
    if along:
        slopes = torch.autograd.grad(value.mean(), [p for p, _ in along], materialize_grads=True)
        found.append(sum((slope * part).sum() for slope, (_, part) in zip(slopes, along)).view(1))
    return torch.cat(found)


def _compared(draws: Tensor, truth: Tensor, n_points: int) -> tuple[float, float, str]:
    """The largest z-score, the standard error of the mean value, and a sentence; raises CheckFailed for a bias."""
    mean = draws.mean(0)
    # rounding is no bias: an estimator without noise may be off by the last digits
    error = draws.std(0) / len(draws) ** 0.5 + 1e-12 * (1 + truth.abs())
    z = (mean - truth) / error
    if not bool(z.isfinite().all()):
        raise CheckFailed("the estimates, or their gradient, are not finite")
    worst = int(z.abs().argmax())
    score = f"z = {float(z[worst]):.1f}, the largest of {len(z)}"
    if float(z[worst].abs()) > Z_LIMIT:
        what = "its gradient is" if worst > n_points else "it is"
        raise CheckFailed(
            f"biased: {what} off by {float(mean[worst] - truth[worst]):+.3f} +- {float(error[worst]):.3f}, the truth "
            f"is {float(truth[worst]):.3f} ({score}; noise gives at most {Z_LIMIT:g})"
        )
    return float(z[worst]), float(error[n_points]), score


def check_activation(activation: Activation, reach: float = 12.0) -> CheckReport:
    """Both derivatives against autograd, the Lipschitz constants in the 1-, 2- and infinity-norm against the largest
    slope, and a learned scale s against the form a(z) = F(s z) / s, all at 200,000 points of [-reach, reach]."""
    activation = copy.deepcopy(instance(Activation)("activation", activation)).double()
    reach = number("[0.001, 10000]")("reach", reach)
    z = torch.linspace(-reach, reach, 200_000, dtype=torch.float64).requires_grad_()  # an even number: no kink at 0
    scale = activation.scale()
    value, *derivatives = activation.derivatives(z, 2, scale)
    (first,) = torch.autograd.grad(value.sum(), z, create_graph=True, materialize_grads=True)
    second = torch.zeros_like(z)
    if first.requires_grad:
        (second,) = torch.autograd.grad(first.sum(), z, materialize_grads=True)
    errors = []
    for name, given, true in zip(("first", "second"), derivatives, (first, second)):
        given, true = given.detach(), true.detach()
        error = (given - true).abs()
        if not float(error.max()) < 1e-9:
            at = int(error.nan_to_num(math.inf).argmax())
            raise CheckFailed(
                f"the {name} derivative at z = {float(z.detach()[at]):.4g} is {float(given[at]):.6g}, autograd says "
                f"{float(true[at]):.6g}"
            )
        errors.append(float(error.max()))
    z, value, slope = z.detach(), value.detach(), derivatives[0].detach()
    slopes = torch.stack([slope, slope.flip(0)] if activation.pairs else [slope])  # flip: the grid at -z
    for p in (1.0, 2.0, math.inf):
        steepest = torch.linalg.vector_norm(slopes, p, dim=0)
        largest, constant = float(steepest.max()), activation.constant(p)
        if not largest <= constant * (1 + 1e-9):
            raise CheckFailed(
                f"Lipschitz constant {constant:.6g} in the {p:g}-norm, but the slope at z = "
                f"{float(z[int(steepest.argmax())]):.4g} is {largest:.6g}"
            )
    if scale is not None:
        s = scale.detach().requires_grad_()
        weight = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(0))
        (by_autograd,) = torch.autograd.grad((weight * activation.derivatives(z, 0, s)[0]).sum(), s)
        terms = weight * (z * slope - value) / s.detach()
        if not float((by_autograd - terms.sum()).abs()) < 1e-9 * float(terms.abs().sum()):
            raise CheckFailed(
                f"the derivative in the learned scale is {float(by_autograd):.6g}, the form F(s z) / s asks for "
                f"{float(terms.sum()):.6g}"
            )
    steepest = float(torch.linalg.vector_norm(slopes, 2.0, dim=0).max())
    return CheckReport(
        f"both derivatives right to {max(errors):.0e}, slope up to {steepest:.6f} of {activation.constant(2.0):.6f} "
        f"promised, on [-{reach:g}, {reach:g}]",
        dict(first_error=errors[0], second_error=errors[1], steepest=steepest),
    )
