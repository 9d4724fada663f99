"""Figures of chapter 3: products with a Jacobian, the truncated series, its bias, and a model that lives on it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm
from matplotlib.figure import Figure

from .panels import beside, plane
from .style import AMBER, EXACT, GREY, LIGHT, PINK, ROULETTE, TRUNCATED, styled

Points = Any
"""(n, 2), a tensor or an array."""

LEVELS = (-1, -0.3, -0.1, -0.03, -0.01, 0.01, 0.03, 0.1, 0.3, 1)
"""Contours of a bias, in nats."""

DENSITIES = (0, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16)
"""Steps of a density, in units of the data's."""


def _arrow(ax: Axes, start: Any, step: Any, colour: str, label: str) -> None:
    start, step = np.asarray(start), np.asarray(step)
    ax.annotate("", start + step, start, arrowprops=dict(color=colour, width=2.2, headwidth=9, headlength=9, shrink=0))
    x, y = start + step + 0.25 * step / np.linalg.norm(step)
    ax.text(x, y, label, color=colour, fontsize=13, ha="center", va="center")


@styled
def two_products(g: Callable, x: Points, v: Points, pushed: Points, w: Points, pulled: Points) -> Figure:
    """A step v of the input, the step Jv of the output, and the slope J^T w of w.g, for a direction w of the output."""
    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.7))
    way = torch.linspace(-1.5, 1.5, 61, dtype=x.dtype)[:, None]
    axes[0].plot(*(x + way * v).T.numpy(), color=LIGHT)
    _arrow(axes[0], x, v, ROULETTE, "v")
    axes[1].plot(*g(x + way * v).T.numpy(), color=LIGHT)
    _arrow(axes[1], g(x), pushed, ROULETTE, "J v")
    side = torch.linspace(-1.6, 1.6, 81, dtype=x.dtype)
    grid = torch.stack(torch.meshgrid(side, side, indexing="xy"), -1)
    height = (g(x + grid) * w).sum(-1).numpy()
    axes[2].contour(*(x[:, None] + side).numpy(), height, levels=14, colors=GREY, linewidths=0.8)
    _arrow(axes[2], x, pulled, TRUNCATED, "Jᵀw")
    for ax, point in zip(axes, (x.numpy(), g(x).numpy(), x.numpy())):
        ax.plot(*point, "o", color=EXACT)
        ax.set(xlim=(point[0] - 1.6, point[0] + 1.6), ylim=(point[1] - 1.6, point[1] + 1.6), aspect="equal")
    axes[0].set(title="the input takes a step v", xlabel="$x_1$", ylabel="$x_2$")
    axes[1].set(title="jvp: so the output takes J v", xlabel="$g_1$", ylabel="$g_2$")
    axes[2].set(title="vjp: uphill for w·g(x), in the input", xlabel="$x_1$", ylabel="$x_2$")
    return figure


@styled
def partial_sums(cases: Mapping[str, tuple[Any, float]]) -> Figure:
    """The series after 1, 2, ... terms against its limit. cases: title -> (partial sums, log det(I + J))."""
    figure, axes = beside(cases, (10.5, 3.2), "nats", sharey=False)
    for ax, (sums, truth) in zip(axes, cases.values()):
        n = np.arange(1, len(sums) + 1)
        ax.axhline(truth, color=EXACT, linestyle="--", linewidth=1.5)
        ax.vlines(n, truth, np.asarray(sums), color=AMBER, linewidth=3)
        ax.plot(n, np.asarray(sums), "o", color=TRUNCATED, markersize=5)
        ax.set(xlabel="number of terms n", xticks=n[1::2])
        ax.margins(y=0.15)
    return figure


@styled
def bias_disk(
    bias: Callable[[torch.Tensor, int], torch.Tensor], panels: Mapping[str, tuple[int, Any]], reach: float | None = None
) -> Figure:
    """The bias that one eigenvalue brings, over the unit disk: orange is too high, purple too low.

    bias(eigenvalues, n) in nats.  panels: title -> (n, eigenvalues to draw or None).  reach: bound of |eigenvalue|,
    drawn as a dashed circle.
    """
    figure, axes = beside(panels, (2.75 * len(panels) + 1, 3.7), "imaginary part")
    side = np.linspace(-1, 1, 401)
    disk = torch.from_numpy(side + 1j * side[:, None])
    inside = disk.abs() < 0.999
    norm = BoundaryNorm(LEVELS, 256, extend="both")
    for ax, (n, eigenvalues) in zip(axes, panels.values()):
        field = torch.where(inside, bias(torch.where(inside, disk, 0), n), torch.nan).numpy()
        shown = ax.contourf(side, side, field, LEVELS, cmap="PuOr_r", norm=norm, extend="both")
        ax.add_patch(plt.Circle((0, 0), 1, facecolor="none", edgecolor=GREY))
        if reach is not None:
            ax.add_patch(plt.Circle((0, 0), reach, facecolor="none", edgecolor=EXACT, linestyle="--"))
        if eigenvalues is not None:
            dots = np.asarray(eigenvalues).ravel()
            ax.plot(dots.real, dots.imag, "o", color=EXACT, markersize=3, markeredgewidth=0, alpha=0.35)
        plane(ax, 1.03, xlabel="real part", xticks=[-0.5, 0, 0.5], yticks=[-0.5, 0, 0.5])
        ax.spines[:].set_visible(False)
        ax.tick_params(length=0)
    bar = figure.colorbar(shown, ax=axes, shrink=0.85, ticks=LEVELS)
    bar.ax.set_yticklabels([f"{level:+g}".replace("-", "−") for level in LEVELS])
    bar.set_label("bias, nats per eigenvalue")
    return figure


@styled
def probe_means(runs: Mapping[str, Any], truth: float, limits: Mapping[str, float]) -> Figure:
    """Running means over probes. runs: name -> (runs, probes) estimates; limits: name -> what they tend to."""
    figure, ax = plt.subplots(figsize=(8, 4))
    for (name, values), colour in zip(runs.items(), (TRUNCATED, AMBER, PINK)):
        values = np.asarray(values)
        count = np.unique(np.geomspace(1, values.shape[1], 120).astype(int))
        ax.plot(count, (values.cumsum(1)[:, count - 1] / count).T, color=colour, linewidth=0.8)
        ax.text(count[-1] * 1.1, limits[name], name, color=colour, va="center")
    ax.axhline(truth, color=EXACT, linestyle="--", linewidth=1.5)
    ax.text(count[-1] * 1.1, truth, "truth", va="center")
    reach = max(limit - truth for limit in limits.values())
    ax.set(xscale="log", xlim=(1, count[-1]), ylim=(truth - 0.8 * reach, truth + 1.6 * reach))
    ax.set(xlabel="probes averaged", ylabel="running mean, nats")
    return figure


@styled
def free_nats(stages: Sequence[tuple[str, Points, float, float]]) -> Figure:
    """The same points after each stage of a map. stages: (title, points, claimed so far, true so far), in nats."""
    figure, axes = beside([stage[0] for stage in stages], (10.5, 4.1), "$x_2$")
    for ax, (_, points, claimed, truth) in zip(axes, stages):
        ax.scatter(*np.asarray(points).T, s=12, c=np.asarray(stages[0][1])[:, 0], cmap="cividis")
        plane(ax, 3.2, xlabel="$x_1$")
        for line, (name, value, colour) in enumerate((("claimed", claimed, TRUNCATED), ("true", truth, EXACT))):
            text = f"{name} {round(value, 2) + 0.0:+.2f} nats".replace("-", "−").replace("+0.00", "0")
            ax.text(0.5, -0.24 - 0.1 * line, text, color=colour, weight="bold", ha="center", transform=ax.transAxes)
    return figure


@styled
def scissors(runs: Mapping[str, tuple[Any, str]], bound: float, gaussian: float) -> Figure:
    """What training reports and the exact log-likelihood of the same model, against steps; thick: means of five.

    runs: title -> (rows of (step, reported, exact), colour of the reported line).  bound: the largest mean
    log-likelihood that a density can have.  gaussian: that of the best normal density.
    """
    alone = len(runs) == 1
    figure, axes = beside(runs, (8.5, 5) if alone else (10.8, 4), "mean log-likelihood, nats")
    everything = np.concatenate([np.asarray(history) for history, _ in runs.values()])
    top, bottom = max(bound + 0.5, everything[:, 1].max() + 0.2), min(gaussian - 0.3, everything[:, 2].min() - 0.1)
    for ax, (history, colour) in zip(axes, runs.values()):
        step, reported, exact = np.asarray(history).T
        ax.axhspan(bound, top, color=LIGHT, alpha=0.5, linewidth=0)
        ax.axhline(bound, color=GREY, linewidth=1.2)
        ax.axhline(gaussian, color=GREY, linestyle=":", linewidth=1.5)
        ax.fill_between(step, reported, exact, color=colour, alpha=0.12, linewidth=0)
        for values, ink in ((reported, colour), (exact, EXACT)):
            ax.plot(step, values, color=ink, linewidth=0.8, alpha=0.5)
            means = [values[max(0, i - 2) : i + 3].mean() for i in range(len(values))]  # of up to five neighbours
            ax.plot(step, means, color=ink, linewidth=2.5)
        ax.set(xlabel="training step", xlim=(0, step[-1]), ylim=(bottom, top))
        ends = reported[-3:].mean(), exact[-3:].mean()
        apart = 8 if abs(ends[0] - ends[1]) < 0.25 else 0  # so that the labels do not overlap
        for value, name, ink, shift in ((ends[0], "reported", colour, apart), (ends[1], "exact", EXACT, -apart)):
            look = dict(textcoords="offset points", color=ink, va="center", annotation_clip=False)
            ax.annotate(name, (step[-1], value), (5, shift), **look)
    ax = axes[0]
    here = dict(transform=ax.get_yaxis_transform(), color=GREY, fontsize=10)
    above = f"No density can be here: above {bound:.3f}" if alone else "impossible"
    ax.text(0.02, top - 0.08, above.replace("-", "−"), va="top", **here)
    ax.text(0.02, bottom + 0.05, "dotted: the best Gaussian", va="bottom", **here)
    return figure


@styled
def bias_map(by_block: Any, field: Any, limit: float, points: Points) -> Figure:
    """Where a model is overpaid: by block (mean over data), and over the plane (all blocks, with the data)."""
    by_block, field = np.asarray(by_block), np.asarray(field)
    figure, axes = plt.subplots(1, 2, figsize=(10, 4), width_ratios=[1.2, 1])
    axes[0].bar(np.arange(1, len(by_block) + 1), by_block, color=TRUNCATED)
    axes[0].axhline(0, color=EXACT, linewidth=0.8)
    axes[0].set(xlabel="block", ylabel="claimed − true, nats")
    axes[0].set_title(f"block by block: {by_block.sum():.2f} nats in all")
    low, high = float(field.min()), float(field.max())
    reach = max(-low, high)  # both signs: white is 0
    colours, span = ("PuOr_r", (-reach, reach)) if low < 0 else ("Oranges", (0, high))
    look = dict(cmap=plt.get_cmap(colours, 12), vmin=span[0], vmax=span[1])
    shown = axes[1].imshow(field, extent=(-limit, limit) * 2, origin="lower", **look)
    axes[1].plot(*np.asarray(points).T, ".", color="white", markersize=2)
    axes[1].set(title="point by point, all blocks", xlabel="$x_1$", ylabel="$x_2$")
    figure.colorbar(shown, ax=axes[1], label="claimed − true, nats")
    return figure


@styled
def densities(panels: Mapping[str, Any], limit: float, level: float) -> Figure:
    """Densities on a square grid, one colour scale. panels: title -> density per area; level: that of the data."""
    figure, axes = beside(panels, (10.8, 3.9), "$x_2$")
    norm = BoundaryNorm(DENSITIES, 256, extend="max")  # each step doubles
    look = dict(extent=(-limit, limit) * 2, origin="lower", cmap="gray_r", norm=norm)
    for ax, density in zip(axes, panels.values()):
        shown = ax.imshow(np.asarray(density) / level, **look)
        ax.set_xlabel("$x_1$")
    bar = figure.colorbar(shown, ax=axes, shrink=0.85, label="density, in units of the data's")
    bar.set_ticks(DENSITIES, labels=[f"{level:g}" for level in DENSITIES])
    return figure


@styled
def point_clouds(clouds: Mapping[str, tuple[Points, str]], limit: float) -> Figure:
    """Clouds of points of the plane side by side. clouds: title -> (points, colour)."""
    figure, axes = beside(clouds, (10.8, 3.9), "$x_2$")
    for ax, (points, colour) in zip(axes, clouds.values()):
        ax.plot(*np.asarray(points).T, ".", color=colour, markersize=2.5, alpha=0.6, markeredgewidth=0)
        plane(ax, limit, xlabel="$x_1$")
    return figure
