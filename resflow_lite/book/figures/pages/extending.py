"""Figures of parts that a reader writes: a law, probes, an activation, a flow of the plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure

from ....checks import exact_log_det
from ....models.flow import standard_normal_log_prob
from ..style import AMBER, EXACT, GREEN, GREY, ROULETTE, SKY, TRUNCATED, styled

COLOURS = (GREEN, ROULETTE, TRUNCATED, AMBER, SKY)


@styled
def survivals(laws: Mapping[str, Any], most: int = 30) -> Figure:
    """P(N >= k) of laws, on a logarithmic axis."""
    figure, ax = plt.subplots(figsize=(7.5, 3.4))
    for (name, law), colour in zip(laws.items(), COLOURS):
        ax.plot(range(most + 1), [law.survival(k) for k in range(most + 1)], color=colour, marker=".", label=name)
    ax.set(xlabel="k", ylabel="P(N ≥ k)", yscale="log", ylim=(1e-10, 2))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def probe_errors(errors: Mapping[str, Mapping[int, float]]) -> Figure:
    """Root mean square error of a trace against the number of probes."""
    figure, ax = plt.subplots(figsize=(7.5, 3.4))
    for (name, points), colour in zip(errors.items(), (AMBER, SKY, GREEN)):
        ax.plot(*zip(*points.items()), color=colour, marker="o", label=name)
    ax.set(xlabel="probes", ylabel="error of the trace (RMS)", ylim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def activation(a: Any) -> Figure:
    """An activation and its two derivatives, with the promised bound of the slope."""
    z = torch.linspace(-5, 5, 500, dtype=torch.float64)
    with torch.no_grad():
        curves = a.derivatives(z, 2, a.scale())
    figure, ax = plt.subplots(figsize=(7.5, 3.2))
    for curve, label, colour in zip(curves, ("a(z)", "a'(z)", "a''(z)"), (EXACT, ROULETTE, TRUNCATED)):
        ax.plot(z, curve, color=colour, label=label)
    for bound in (-a.lipschitz, a.lipschitz):
        ax.axhline(bound, color=GREY, linestyle=":", linewidth=1.2)
    ax.text(5, a.lipschitz, "promised", color=GREY, ha="right", va="bottom")
    ax.set(xlabel="z")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def plane(flow: Any, points: Any, losses: Sequence[float], reach: float = 4.0, cells: int = 120) -> Figure:
    """Data, the density of a flow of the plane by exact log-determinants, and its loss in training."""
    axis = torch.linspace(-reach, reach, cells)
    grid = torch.stack(torch.meshgrid(axis, axis, indexing="xy"), -1).view(-1, 2)
    log_prob = standard_normal_log_prob(flow.bijection.transform(grid)) + exact_log_det(flow.bijection, grid)
    density = log_prob.detach().exp().view(cells, cells)
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.5), width_ratios=[1, 1, 1.15])
    axes[0].plot(*points.T.numpy(), ".", color=EXACT, markersize=1.5)
    axes[1].imshow(density.numpy(), extent=(-reach, reach, -reach, reach), origin="lower", cmap="Blues")
    for ax, title in zip(axes, ("data", "density")):
        ax.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[], title=title)
    axes[2].plot(losses, color=ROULETTE, linewidth=1)
    axes[2].set(xlabel="step", ylabel="nats", title="training")
    return figure
