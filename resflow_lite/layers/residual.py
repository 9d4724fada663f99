"""The residual block x + g(x): forward, log-determinant, inverse."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..errors import InverseError, NotContractiveError
from ..estimators.linearization import contraction_rate, image_of, linearize, refuse_divergence
from ..estimators.logdet import ESTIMATOR, Estimator, PowerSeries, by_rank
from ..estimators.series import Geometric, Roulette
from ..expect import instance, integer, number, offering, one_of, settle
from ..incoming import batch, entries, readable
from ..numerics.fixed_point import Solution, anderson, banach
from .bijection import Bijection
from .branch import LipschitzBranch
from .gradient import GRADIENTS, MEMORY, residual_step

TRAIN = PowerSeries(Roulette(Geometric(0.5), n_exact=2))
EVALUATE = PowerSeries(Roulette(Geometric(0.5), n_exact=20))
SOLVERS = {"anderson": anderson, "banach": banach}
BRANCH = offering("a module or another function", "__call__")


class ResidualBlock(Bijection):
    """f(x) = x + g(x) with Lip(g) < 1, log |det df/dx| = log det(I + J) estimated without bias.

    branch: g, a LipschitzBranch (hand-written products) or any nn.Module (autograd), same results.
    train_estimator, eval_estimator: used in training mode and in evaluation mode.
    gradient: "neumann" (no graph through the terms) or "series" (backpropagation through every term).
    memory: what a block keeps with "neumann", "recompute", "backward_in_forward" or "store"; see gradient.py. All give
    the same gradient. With "series" every value is accepted and means to keep the graph of all terms.
    Raises SettingsError for unknown modes and for a branch that changes the shape or writes into x, and
    NotContractiveError for a plain module that expands at its first inputs, with an estimator that needs a series.
    Source: paper, sec. 2 and 3; Behrmann et al. 2019.
    """

    def __init__(
        self,
        branch: nn.Module,
        train_estimator: Estimator = TRAIN,
        eval_estimator: Estimator = EVALUATE,
        gradient: str = "neumann",
        memory: str = "recompute",
    ) -> None:
        super().__init__()
        self.branch = branch
        self.train_estimator, self.eval_estimator = train_estimator, eval_estimator
        self.gradient, self.memory = gradient, memory
        settle(self, branch=BRANCH, train_estimator=ESTIMATOR, eval_estimator=ESTIMATOR)
        settle(self, gradient=one_of(GRADIENTS), memory=one_of(MEMORY))
        self.contraction: float | None = None
        self.looked = False

    @property
    def estimator(self) -> Estimator:
        """The one in use now."""
        return self.resolved(self.train_estimator if self.training else self.eval_estimator)

    def resolved(self, estimator: Estimator) -> Estimator:
        """The estimator with what it leaves to the block: the contraction rate of a Matched law."""
        match = getattr(estimator, "matched_to", None)
        return estimator if match is None or self.contraction is None else match(self.contraction)

    @torch.no_grad()
    def measure_contraction_(self, x: Tensor) -> None:
        """Store the largest contraction rate over these inputs, a plain number: no gradient, no cost in the step."""
        generator = torch.Generator().manual_seed(0)
        self.contraction = float(contraction_rate(linearize(self.branch, x), generator=generator).max())
        self.looked = True

    def get_extra_state(self) -> Tensor:
        return torch.tensor([torch.nan if self.contraction is None else self.contraction])

    def set_extra_state(self, state: Tensor) -> None:
        self.contraction = None if bool(state.isnan()) else float(state)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        if len(x) == 0:
            return x, x.new_zeros(0)
        self._look(x)
        draw = self.estimator.draw(x, generator)
        way = self.gradient, self.memory
        output, value = residual_step(self.branch, by_rank(x, draw), self.estimator, draw, *way)
        return x + by_rank(output, draw, back=True), by_rank(value, draw, back=True)

    def _look(self, x: Tensor) -> None:
        """Refuse a plain branch that expands at its first inputs; of later ones measure_contraction_ tells."""
        if not (self.looked or isinstance(self.branch, LipschitzBranch)) and isinstance(self.estimator, PowerSeries):
            # without autocast, which would keep its copies of the weights, made here without a graph
            with torch.random.fork_rng(devices=[]), torch.no_grad(), torch.autocast(x.device.type, enabled=False):
                refuse_divergence(linearize(self.branch, x))
            self.looked = readable(x)

    def transform(self, x: Tensor) -> Tensor:
        return x + image_of(self.branch, x)

    def inverse(self, y: Tensor) -> Tensor:
        """The x with x + g(x) = y. Raises NotContractiveError where g is seen to expand a distance, and InverseError
        where the solver does not reach its tolerance. `invert` says more of the solution."""
        if len(y) == 0:
            return y
        with torch.no_grad():
            solution = _solve(self, y, "anderson", None, 1000)
        expansion = float(solution.expansion.max())
        if expansion > 1.001:
            raise NotContractiveError(
                f"the residual branch expands a distance by {expansion:.3f}, so x + g(x) need not be invertible: "
                "lower coeff, or run update_norms_(model)"
            )
        if not bool(solution.converged.all()):
            failed = int((~solution.converged).sum())
            raise InverseError(
                f"{failed} of {len(y)} samples not solved after {solution.iterations} evaluations of g; largest RMS "
                f"residual {float(solution.residual.max()):.2e}. Compute in float64, or call invert() with a larger tol"
            )
        return solution.x


def residual_blocks(model: nn.Module) -> dict[str, ResidualBlock]:
    """Those of a model, by name and in order."""
    return {name: module for name, module in model.named_modules() if isinstance(module, ResidualBlock)}


@torch.no_grad()
def invert(
    block: ResidualBlock, y: Tensor, solver: str = "anderson", tol: float | None = None, max_iter: int = 1000
) -> Solution:
    """Solve x = y - g(x) for every sample.

    tol: bound on the RMS residual; default 10 machine epsilons of the dtype, times the RMS size of y where that is
    larger than 1. Non-convergence is reported in `Solution.converged`; ResidualBlock.inverse makes it an error.
    error_bound: residual / (1 - L) with the certified L of a LipschitzBranch that contracts in the 2-norm; infinite for
    other branches.
    """
    instance(ResidualBlock)("block", block)
    one_of(SOLVERS)("solver", solver, "invert")
    tol = (number("(0, inf)") | None)("tol", tol)
    max_iter = integer(1)("max_iter", max_iter)
    batch("y", y, like=next(block.parameters(), None))
    entries("y", y)
    solution = _solve(block, y, solver, tol, max_iter)
    branch = block.branch
    certified = isinstance(branch, LipschitzBranch) and branch.order() == 2 and branch.lipschitz_bound()
    return replace(solution, error_bound=solution.residual / (1 - certified)) if 0 < certified < 1 else solution


def _solve(block: ResidualBlock, y: Tensor, solver: str, tol: float | None, max_iter: int) -> Solution:
    if tol is None:
        size = float(y.double().square().mean().sqrt()) if y.numel() else 0.0  # float32 ends at 1e38
        tol = 10 * torch.finfo(y.dtype).eps * max(1.0, size)
    # weights normalised once for all evaluations, and no autocast: a solution is no better than g is computed
    with torch.autocast(y.device.type, enabled=False):
        g = block.branch.frozen(y) if isinstance(block.branch, LipschitzBranch) else block.branch
        return SOLVERS[solver](lambda x: y - image_of(g, x), y, tol, max_iter)
