"""How wrong log-determinant estimators are on a trained model, block by block."""

import copy
import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from ..estimators.krylov import Krylov
from ..estimators.linearization import Linearization, linearize
from ..estimators.logdet import Exact, PowerSeries, SeriesDraw
from ..estimators.noise import draw_probes
from ..estimators.series import Geometric, Roulette, Truncated
from ..expect import SEED, instance, integer
from ..incoming import batch
from ..layers.residual import ResidualBlock, residual_blocks
from .flow import Flow

EXACT = 256
"""Up to this many dimensions a dense Jacobian gives the log-determinant itself."""
CONVERGED = Krylov(n_steps=80, tol=1e-8)


@dataclass(frozen=True)
class BlockBias:
    """One block. log_det: of I + J, mean over the images, nats.  exact: from the dense Jacobian, or else the mean over
    probes of the converged estimate.  errors: by estimator, (mean error, its standard error), nats."""

    block: str
    dimensions: int
    exact: bool
    log_det: float
    errors: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class BiasReport:
    """A row per block; prints as a table. products: Jacobian products of each estimator (of the roulette: expected).

    total: by estimator, (error of the reported bits/dim, its standard error), all blocks together.
    """

    products: int
    n_images: int
    n_draws: int
    rows: tuple[BlockBias, ...]
    total: dict[str, tuple[float, float]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        names = list(self.total)
        lines = [f"error of log det(I + J) in nats at {self.products} products, {self.n_images} images"]
        lines.append(f"{'block':28} {'dims':>6} {'log det':>11}  " + "".join(f"{name:^24}" for name in names))
        for row in self.rows:
            about = f"{row.block:28} {row.dimensions:6} {'' if row.exact else '~'}{row.log_det:10.3f}  "
            lines.append(about + "".join(_cell(row.errors[name]) for name in names))
        lines.append(f"{'reported bits/dim off by':49}" + "".join(_cell(self.total[name]) for name in names))
        return "\n".join(lines)


def _cell(error: tuple[float, float]) -> str:
    return f"{error[0]:+.1e} +- {error[1]:.1e}".center(24)


def bias_report(model: Any, x: Tensor, products: int = 5, n_draws: int = 20, seed: int = 0) -> BiasReport:
    """Truncated series, roulette and Krylov side by side at every residual block of a flow, at equal products.

    model: a Flow, or what has one as its `flow`, such as a Run.  x: a few dequantised images (16 say). Where one of the
    two is on a GPU, a copy of the model and x are for this.
    products: terms of the truncated series and steps of Krylov; the roulette has products - 1 exact terms and one more
    on average.

    All see the same random signs v, and are held against v^T log(I + J) v, a Krylov estimate that has converged: what
    is left is their bias, and the roulette's draw of N, without most of the noise of v. Everything in float64.
    Raises NotContractiveError where a block does not contract at x: no series means anything there.
    """
    flow = copy.deepcopy(instance(Flow)("model", getattr(model, "flow", model))).double().eval()
    batch("x", x, flow.event_shape)
    products, n_draws = integer(1)("products", products), integer(2)("n_draws", n_draws)
    flow = flow.to(x.device) if x.is_cuda else flow
    x = x.to(next(flow.parameters()))
    flow.measure_contraction_(x)
    generator = torch.Generator().manual_seed(SEED("seed", seed))
    estimators = {
        "truncated": PowerSeries(Truncated(products)),
        "roulette": PowerSeries(Roulette(Geometric(0.5), n_exact=products - 1, draws="sample")),
        "krylov": Krylov(products),
    }
    rows, errors = [], {name: torch.zeros(n_draws, len(x), dtype=torch.float64) for name in estimators}
    for name, block, h in _inputs(flow, x):
        with torch.no_grad():
            g = linearize(block.branch, h)
            log_det, exact, found = _measure(g, h, estimators, n_draws, generator)
        for key, error in found.items():
            errors[key] += error.cpu()
        means = {key: _mean(error) for key, error in found.items()}
        rows.append(BlockBias(name, h[0].numel(), exact, log_det, means))
    bits = -1 / (math.prod(flow.event_shape) * math.log(2))  # a log-determinant that is too large makes too few bits
    total = {name: _mean(bits * error) for name, error in errors.items()}
    return BiasReport(products, len(x), n_draws, tuple(rows), total)


def _measure(
    g: Linearization, h: Tensor, estimators: dict[str, Any], n_draws: int, generator: torch.Generator
) -> tuple[float, bool, dict[str, Tensor]]:
    """The log-determinant, whether it is exact, and errors (draws, images) by estimator."""
    converged, found = [], {name: [] for name in estimators}
    for _ in range(n_draws):
        v = draw_probes("rademacher", 1, h, generator)
        converged.append(CONVERGED.estimate(g, v).value)
        for name, estimator in estimators.items():
            draw = v
            if isinstance(estimator, PowerSeries):
                draw = SeriesDraw(estimator.terms.draw(len(h), generator), v)
            found[name].append(estimator.estimate(g, draw).value - converged[-1])
    exact = h[0].numel() <= EXACT
    log_det = Exact().estimate(g).value if exact else torch.stack(converged)
    return float(log_det.mean()), exact, {name: torch.stack(values) for name, values in found.items()}


def _mean(error: Tensor) -> tuple[float, float]:
    """Of (draws, images): the mean and its standard error over the draws, for these images."""
    return float(error.mean()), float((error.var(0).mean() / error.numel()).sqrt())


def _inputs(flow: Flow, x: Tensor) -> list[tuple[str, ResidualBlock, Tensor]]:
    """Every residual block with its name and what arrives at it."""
    arrived: list[tuple[str, ResidualBlock, Tensor]] = []
    hooks = [
        block.register_forward_pre_hook(lambda _, args, name=name, block=block: arrived.append((name, block, args[0])))
        for name, block in residual_blocks(flow).items()
    ]
    with torch.no_grad():
        flow.encode(x, torch.Generator().manual_seed(0))
    for hook in hooks:
        hook.remove()
    return arrived
