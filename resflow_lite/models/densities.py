"""Densities of the plane, drawn with an explicit generator."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from ..errors import DataError
from ..expect import Named, integer, shown
from ..incoming import GENERATOR, batch, entries

Sampler = Callable[[int, torch.Generator | None], Tensor]


def _polar(radius: Tensor, angle: Tensor) -> Tensor:
    return torch.stack([radius * angle.cos(), radius * angle.sin()], 1)


def checkerboard(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Uniform on the 8 dark squares, of side 2, of a 4 x 4 board on [-4, 4]^2: log density -log 32 = -3.466 there."""
    column, row = torch.randint(4, (n,), generator=generator), torch.randint(2, (n,), generator=generator)
    corner = torch.stack([2 * column - 4, 4 * row + 2 * (column % 2) - 4], 1)
    return corner + 2 * torch.rand((n, 2), generator=generator)


def eight_gaussians(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Eight normal densities of standard deviation 0.2 on a circle of radius 2.8."""
    angle = torch.randint(8, (n,), generator=generator) * (math.pi / 4)
    return _polar(torch.full((n,), 2.8), angle) + 0.2 * torch.randn((n, 2), generator=generator)


def pinwheel(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Five normal densities, long in the radial direction, bent by a rotation that grows with the radius."""
    arm = torch.randint(5, (n,), generator=generator)
    radial, across = torch.randn((2, n), generator=generator)
    x, y = 2 + 0.6 * radial, 0.2 * across
    angle = arm * (2 * math.pi / 5) + 0.25 * (x - 2).exp()
    return torch.stack([x * angle.cos() - y * angle.sin(), x * angle.sin() + y * angle.cos()], 1)


def two_spirals(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Two arms of a spiral of one and a half turns."""
    t = torch.rand(n, generator=generator).sqrt() * 3 * math.pi
    arm = torch.randint(2, (n,), generator=generator) * math.pi
    return _polar(t / 3, t + arm) + 0.1 * torch.randn((n, 2), generator=generator)


def moons(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Two half circles of radius 2, each ending inside the other."""
    lower = torch.randint(2, (n,), generator=generator)
    angle = torch.rand(n, generator=generator) * math.pi + lower * math.pi
    shift = torch.stack([2.0 * lower - 1, 0.5 - 1.0 * (1 - lower)], 1)
    return _polar(torch.full((n,), 2.0), angle) + shift + 0.15 * torch.randn((n, 2), generator=generator)


def rings(n: int, generator: torch.Generator | None = None) -> Tensor:
    """Four concentric circles of radii 0.75, 1.5, 2.25 and 3, with equal weight."""
    radius = 0.75 * (1 + torch.randint(4, (n,), generator=generator))
    angle = 2 * math.pi * torch.rand(n, generator=generator)
    return _polar(radius, angle) + 0.08 * torch.randn((n, 2), generator=generator)


def swiss_roll(n: int, generator: torch.Generator | None = None) -> Tensor:
    """One spiral of one and a half turns, from radius 1 to 3."""
    t = math.pi * (1.5 + 3 * torch.rand(n, generator=generator))
    return _polar(t / (1.5 * math.pi), t) + 0.1 * torch.randn((n, 2), generator=generator)


def waves(n: int, generator: torch.Generator | None = None) -> Tensor:
    """A sine curve of two periods, with noise across it."""
    x = 8 * torch.rand(n, generator=generator) - 4
    return torch.stack([x, 1.5 * (math.pi / 2 * x).sin() + 0.2 * torch.randn((n,), generator=generator)], 1)


TOY = Named(
    "name",
    {
        "checkerboard": checkerboard,
        "8gaussians": eight_gaussians,
        "pinwheel": pinwheel,
        "2spirals": two_spirals,
        "moons": moons,
        "rings": rings,
        "swissroll": swiss_roll,
        "waves": waves,
    },
)
toy_names = tuple(TOY)


def toy_data(name: str | Sampler, n: int, generator: torch.Generator | None = None) -> Tensor:
    """(n, 2) samples of a named density, or of a sampler (n, generator) -> (n, 2) of your own.

    They have torch's default dtype. Raises SettingsError for an unknown name, for an n that is no size, and for a
    sampler that gives something else.
    """
    sampler = name if callable(name) else TOY[name]
    x = sampler(integer(0)("n", n), GENERATOR("generator", generator))
    if callable(name):
        told = f"what {shown(name)} gives"
        batch(told, x, (2,))
        entries(told, x)
        if len(x) != n:
            raise DataError(f"{told} has {len(x)} points: expected {n}")
    return x
