"""FFJORD: a bijection that follows a differential equation."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from ..errors import ResflowError
from ..estimators.linearization import image_of
from ..estimators.noise import draw_probes
from ..expect import FLAG, integer, number, offering, one_of, settle
from .bijection import Bijection

DIVERGENCES = ("exact", "hutchinson")
SIZE = integer(1)
VELOCITY = offering("a module, called with (t, z)", "forward", "parameters")


class Velocity(nn.Module):
    """h(z, t): linear layers or convolutions with tanh between. The time joins the input of each layer as one more
    feature, or as one more channel."""

    def __init__(self, layers: list[nn.Module]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, t: Tensor, z: Tensor) -> Tensor:
        for i, layer in enumerate(self.layers):
            z = z.tanh() if i else z
            z = layer(torch.cat([z, t.expand_as(z[:, :1])], 1))
        return z


def dense_velocity(dim: int, width: int) -> Velocity:
    """dim -> width -> width -> dim on vectors."""
    dim, width = SIZE("dim", dim), SIZE("width", width)
    return Velocity([nn.Linear(i + 1, o) for i, o in ((dim, width), (width, width), (width, dim))])


def conv_velocity(channels: int, width: int) -> Velocity:
    """channels -> width -> width -> channels on images, kernels 3x3."""
    channels, width = SIZE("channels", channels), SIZE("width", width)
    sizes = ((channels, width), (width, width), (width, channels))
    return Velocity([nn.Conv2d(i + 1, o, 3, padding=1) for i, o in sizes])


class ContinuousFlow(Bijection):
    """dz/dt = h(z, t) from z(0) = x to z(1) = y, and log det = integral of tr(dh/dz) dt. Backwards in time it inverts.

    No structure is asked of h, but each forward pass is a solver's: Dormand-Prince of order 5 with adaptive steps
    (torchdiffeq), relative and absolute tolerance `tol`. Its evaluations of h grow as h learns. The solver chooses its
    steps for the whole batch, so that a sample's result depends on the others, by about tol.

    velocity: h, called with (t, z).  divergence: "exact" (one product for each dimension) or "hutchinson" (v^T dh/dz v,
    one product in all; one probe v for the whole solve, as a new one at each step would make the equation rough).
    adjoint: gradients by a second solve backwards in time, with memory that does not grow with the steps; otherwise
    backpropagation through the solver, which is faster and exact for the numbers that were computed.
    Raises SettingsError for wrong settings, ResflowError where the solver fails. Source: Grathwohl et al. 2019.
    """

    def __init__(
        self, velocity: nn.Module, divergence: str = "exact", tol: float = 1e-5, *, adjoint: bool = False
    ) -> None:
        super().__init__()
        self.velocity, self.divergence, self.tol, self.adjoint = velocity, divergence, tol, adjoint
        settle(self, velocity=VELOCITY, divergence=one_of(DIVERGENCES), tol=number("(0, 1)"), adjoint=FLAG)

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> tuple[Tensor, Tensor]:
        if torch.is_inference_mode_enabled():  # where autograd, which computes the divergence, records nothing
            with torch.inference_mode(False), torch.no_grad():
                return self.forward(x.clone(), generator)
        probe = draw_probes("rademacher", 1, x, generator)[0] if self.divergence == "hutchinson" else None

        def rate(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            keep = torch.is_grad_enabled()
            with torch.enable_grad():
                z = state[0] if keep and state[0].requires_grad else state[0].detach().requires_grad_()
                (dz,) = self._moved(t, (z,))
                trace = divergence(dz, z, probe, keep=keep)
            return (dz, trace) if keep else (dz.detach(), trace)

        return self._solve(rate, (x, x.new_zeros(len(x))), (0.0, 1.0))

    def transform(self, x: Tensor) -> Tensor:
        return self._solve(self._moved, (x,), (0.0, 1.0))[0]

    @torch.no_grad()
    def inverse(self, y: Tensor) -> Tensor:
        return self._solve(self._moved, (y,), (1.0, 0.0))[0]

    @torch.no_grad()
    def evaluations(self, x: Tensor) -> int:
        """How often transform(x) evaluates h."""
        times: list[Tensor] = []

        def counted(t: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
            times.append(t)
            return self._moved(t, state)

        self._solve(counted, (x,), (0.0, 1.0))
        return len(times)

    def _moved(self, t: Tensor, state: tuple[Tensor]) -> tuple[Tensor]:
        return (image_of(partial(self.velocity, t), state[0], "velocity"),)

    def _solve(
        self, rate: Callable[..., tuple[Tensor, ...]], start: tuple[Tensor, ...], span: tuple[float, float]
    ) -> tuple[Tensor, ...]:
        if len(start[0]) == 0:
            return start
        # here, because it takes seconds to import and nothing else needs it
        from torchdiffeq import odeint, odeint_adjoint

        times = torch.tensor(span, dtype=start[0].dtype, device=start[0].device)
        # the last step ends at the end: a value interpolated inside it may be ten times less accurate
        settings = {"rtol": self.tol, "atol": self.tol, "method": "dopri5", "options": {"step_t": times[1:]}}
        if self.adjoint:
            settings["adjoint_params"] = tuple(self.velocity.parameters())
            settings["adjoint_options"] = {"step_t": times[:1]}
        try:
            states = (odeint_adjoint if self.adjoint else odeint)(rate, start, times, **settings)
        except AssertionError as error:  # how torchdiffeq reports steps that shrink to nothing, and NaN
            raise ResflowError(
                f"the solver failed ({error}): the velocity became too steep. Train with a lower learning rate, or "
                "set a larger tol"
            ) from error
        return tuple(state[-1] for state in states)


def divergence(dz: Tensor, z: Tensor, probe: Tensor | None, *, keep: bool) -> Tensor:
    """tr(d dz / dz), (B,), one product for each dimension; of a probe v, v^T (d dz / dz) v, whose mean is the trace.

    keep: whether it will be differentiated itself.
    """
    if probe is not None:
        (product,) = torch.autograd.grad(dz, z, probe, create_graph=keep, retain_graph=True)
        return (product * probe).flatten(1).sum(1)
    flat, total = dz.flatten(1), dz.new_zeros(len(dz))
    for i in range(flat.shape[1]):
        (row,) = torch.autograd.grad(flat[:, i].sum(), z, create_graph=keep, retain_graph=True)
        total = total + row.flatten(1)[:, i]
    return total
