"""The figures of chapter 7: six systems on densities of the plane."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .panels import Curves, array, beside, plane, rows
from .style import AMBER, EXACT, GREEN, GREY, LIGHT, PINK, ROULETTE, SKY, TRUNCATED, styled

SYSTEM_COLOURS = {"realnvp": AMBER, "glow": PINK, "ffjord": GREEN, "flow++": SKY}
SYSTEM_COLOURS |= {"iresnet": TRUNCATED, "resflow": ROULETTE}


@styled
def point_sets(sets: Mapping[str, Any], limit: float = 4.5) -> Figure:
    """Scatter plots (n, 2), four in a row, each on [-limit, limit]^2."""
    height = -(-len(sets) // 4)
    figure, axes = plt.subplots(height, 4, figsize=(8.5, 2.3 * height), sharex=True, sharey=True, squeeze=False)
    for ax, (name, points) in zip(axes.flat, sets.items()):
        ax.scatter(*array(points).T, s=1.5, color=EXACT, alpha=0.5, linewidths=0)
        plane(ax, limit, title=name)
    for ax in axes.flat[len(sets) :]:
        ax.set_axis_off()
    for ax in axes[-1]:
        ax.set_xlabel("$x_1$")
    for ax in axes[:, 0]:
        ax.set_ylabel("$x_2$")
    return figure


@styled
def coupling_curves(x: Any, curves: Mapping[str, tuple[Any, Any]], labels: Mapping[str, str]) -> Figure:
    """What a coupling does to the entry that moves: h (left) and its slope (right). curves: system -> (h, slope)."""
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.2))
    for name, pair in curves.items():
        for ax, values in zip(axes, pair):
            ax.plot(array(x), array(values), color=SYSTEM_COLOURS[name], label=labels[name])
    axes[0].set(xlabel="$x_2$", ylabel="$h(x_2)$", title="what becomes of $x_2$ for one $x_1$")
    axes[1].set(xlabel="$x_2$", ylabel="$h'(x_2)$", yscale="log", title="its slope")
    axes[1].legend()
    return figure


@styled
def training_curves(histories: Mapping[str, Sequence[tuple[float, float]]], labels: Mapping[str, str]) -> Figure:
    """Mean log-likelihood of the batches, averaged over thirtieths of a run: against CPU seconds and against steps.

    histories: system -> (seconds, loss) of each step.  labels: of the systems.
    """
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), sharey=True)
    settled = []
    for name, history in histories.items():
        seconds, loss = np.array(history).T
        windows = np.array_split(np.arange(len(loss)), min(30, len(loss)))
        nats = [-loss[w].mean() for w in windows]
        settled += nats[len(nats) // 10 :]
        for ax, x in zip(axes, (seconds, np.arange(1, len(loss) + 1))):
            ax.plot([x[w].mean() for w in windows], nats, color=SYSTEM_COLOURS[name], label=labels[name])
    axes[0].set(xlabel="CPU seconds", ylabel="nats per point", title="the same time")
    axes[1].set(xlabel="steps", xscale="log", title="the same steps")
    # a spike would squeeze all curves into one line; it leaves the picture
    axes[0].set_ylim(np.quantile(settled, 0.05) - 0.05, max(settled) + 0.05)
    axes[1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def densities(panels: Curves, points: Any, limit: float, nats: Mapping[str, float], ceiling: float) -> Figure:
    """Densities (n, n) on [-limit, limit]^2 beside each other, the data first, and the nats of each last.

    panels, nats: label -> density, rows for x_2, and mean log-likelihood.
    ceiling: what no density can exceed, where known.
    """
    figure, axes = plt.subplots(2, 4, figsize=(10, 5.3))
    first, *others, last = axes.flat
    first.scatter(*array(points).T, s=1.2, color=EXACT, alpha=0.5, linewidths=0)
    plane(first, limit, title="data")
    # the same few levels everywhere: easy to compare, and light
    levels = np.quantile(np.stack([array(p) for p in panels.values()]), 0.995) * np.linspace(0, 1, 9) ** 1.5
    for ax, (name, density) in zip(others, panels.items()):
        ticks = np.linspace(-limit, limit, len(density))
        ax.contourf(ticks, ticks, array(density), levels, cmap="magma", extend="max")
        ax.set(aspect="equal", title=f"{name}  {nats[name]:.2f}")
    for i, (name, value) in enumerate(nats.items()):
        last.plot(value, -i, "o", color=EXACT)
        last.annotate(name, (value, -i), (0, 6), textcoords="offset points", ha="center", fontsize=9)
    if ceiling is not None:
        last.axvline(ceiling, color=GREY, linestyle="--", linewidth=1.4)
        last.set_title("dashed: the ceiling")
    for ax in axes.flat:
        ax.set(xticks=[], yticks=[])
    last.set(xlabel="nats per point", ylim=(0.4 - len(nats), 0.8), box_aspect=1)
    last.xaxis.set_major_locator(MaxNLocator(3))
    last.margins(x=0.35)
    return figure


@styled
def block_by_block(stages: Mapping[str, Mapping[str, Any]], colours: Any) -> Figure:
    """The same points on their way through each system, each panel at its own scale.

    stages: row label -> column label -> (n, 2).
    colours: (n,) angles of the data points, which every point keeps.
    """
    height, width = len(stages), max(len(row) for row in stages.values())
    figure, axes = plt.subplots(height, width, figsize=(1.6 * width, 1.6 * height), squeeze=False)
    for row, (label, clouds) in zip(axes, stages.items()):
        for ax, (title, points) in zip(row, clouds.items()):
            limit = 1.15 * np.quantile(np.abs(array(points)), 0.99)
            ax.scatter(*array(points).T, s=3.5, c=array(colours), cmap="twilight", linewidths=0)
            plane(ax, limit, xticks=[], yticks=[])
            ax.set_title(title, fontsize=9.5)
        row[0].set_ylabel(label)
    return figure


@styled
def pushed_grid(stages: Sequence[tuple[str, Any, Any]], depths: Sequence[int]) -> Figure:
    """A grid of the plane and points of the data, as they are after some of the layers; axes follow the points.

    stages: after 0, 1, ... layers: what the last one was, the grid's lines (lines, n, 2), the points (m, 2).
    depths: which of the stages to show, beside each other.
    """
    titles = [f"depth {depth}: {stages[depth][0]}" for depth in depths]
    figure, axes = beside(titles, (3.5 * len(depths), 3.8), "$h_2$", sharey=False)
    for ax, depth in zip(axes, depths):
        lines, points = map(array, stages[depth][1:])
        half, limit = len(lines) // 2, 1.15 * np.quantile(np.abs(points), 0.995)
        for part, colour in ((lines[:half], ROULETTE), (lines[half:], GREEN)):
            ax.add_collection(LineCollection(part, colors=colour, linewidths=0.7, alpha=0.75))
        ax.scatter(*points.T, s=3, color=EXACT, alpha=0.5, linewidths=0, zorder=3)
        plane(ax, limit, xlabel="$h_1$")
    return figure


@styled
def honest_numbers(panels: Mapping[str, Mapping[str, Mapping[str, tuple[float, float]]]]) -> Figure:
    """What estimators report minus the exact value, in nats, with 95 % intervals.

    panels: system -> set -> estimator ("training", "evaluation") -> (error, half-width).
    """
    figure, axes = beside(panels, (10, 3.6), sharex=True)
    looks = {"training": (AMBER, "s", 0.14), "evaluation": (ROULETTE, "o", -0.14)}
    for ax, sets in zip(axes, panels.values()):
        for i, estimates in enumerate(sets.values()):
            for name, (error, half_width) in estimates.items():
                colour, marker, shift = looks[name]
                ax.errorbar(error, i + shift, xerr=half_width, fmt=marker, color=colour, capsize=2, markersize=5)
        ax.axvline(0, color=EXACT, linewidth=1.2)
        rows(ax, sets, xlabel="reported minus exact, nats")
    for name, (colour, marker, _) in looks.items():
        ax.plot([], [], marker, color=colour, label=f"{name} estimator")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def paired_differences(tables: Mapping[str, Mapping[str, tuple[float, float]]], labels: Mapping[str, str]) -> Figure:
    """Each system minus the Residual Flow, in nats, one panel per set: right of the line, the other is better.

    tables: set -> system -> (mean over seeds of the paired difference, half-width of its 95 % interval). An interval of
    more than 2 nats to either side would squeeze the others into a dot: its numbers are written in its place.
    """
    height = -(-len(tables) // 4)
    figure, axes = plt.subplots(height, 4, figsize=(10.5, 2.5 * height), sharey=True, squeeze=False)
    for ax, (name, table) in zip(axes.flat, tables.items()):
        for i, (system, (difference, half_width)) in enumerate(table.items()):
            if half_width > 2:
                place = dict(transform=ax.get_yaxis_transform(), va="center", fontsize=9)
                ax.text(0.03, i, f"{difference:.0f} ± {half_width:.0f}", color=SYSTEM_COLOURS[system], **place)
                continue
            ax.errorbar(difference, i, xerr=half_width, fmt="o", color=SYSTEM_COLOURS[system], capsize=3, markersize=5)
        ax.axvline(0, color=EXACT, linewidth=1.2)
        rows(ax, [labels[system] for system in table], title=name)
        ax.margins(x=0.15)
    for ax in axes.flat[len(tables) :]:
        ax.set_axis_off()
    axes[0, 0].set_ylim(max(map(len, tables.values())) - 0.5, -0.5)
    figure.supxlabel("nats per point minus those of the Residual Flow", fontsize=11)
    return figure


@styled
def steepness(stretch: Mapping[str, Any], bounds: Sequence[float], labels: Mapping[str, str]) -> Figure:
    """Left, the largest stretch of each whole map over points, sorted: system -> (n,). Right, what n blocks can do.

    bounds: certified Lip(g) of each residual block in order; n of them stretch by prod(1 + bound) at most.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.5))
    for name, values in stretch.items():
        values = np.sort(array(values))
        left.plot(np.linspace(0, 100, len(values)), values, color=SYSTEM_COLOURS[name], label=labels[name])
    left.set(yscale="log", xlabel="points with less, %", ylabel="factor", title="largest stretch of f, at test points")
    left.legend(fontsize=9)
    depth = np.arange(len(bounds) + 1)
    right.plot(depth, np.cumprod([1, *(1 + np.array(bounds))]), "o-", color=ROULETTE, label="stretch, at most")
    right.plot(depth, np.cumprod([1, *(1 - np.array(bounds))]), "o-", color=AMBER, label="squeeze, at least")
    right.axhline(1, color=LIGHT, linewidth=1, zorder=0)
    right.set(yscale="log", xlabel="residual blocks", ylabel="factor", title="certified, from the bounds of Lip(g)")
    right.legend()
    return figure


@styled
def two_budgets(nats: Mapping[str, tuple[float, float]], labels: Mapping[str, str], ceiling: float | None) -> Figure:
    """Nats of each system after equal time (filled) and after equal steps (hollow). nats: system -> (time, steps)."""
    figure, ax = plt.subplots(figsize=(8, 0.5 * len(nats) + 1.1))
    for i, (name, (time, steps)) in enumerate(nats.items()):
        colour = SYSTEM_COLOURS[name]
        ax.plot([steps, time], [i, i], color=colour, linewidth=1.5)
        ax.plot(time, i, "o", color=colour, markersize=8)
        ax.plot(steps, i, "o", color=colour, markersize=8, markerfacecolor="white")
    for face, label in ((GREY, "equal time"), ("white", "equal steps")):
        ax.plot([], [], "o", color=GREY, markerfacecolor=face, markersize=8, label=label)
    if ceiling is not None:
        ax.axvline(ceiling, color=GREY, linestyle="--", linewidth=1.4, label="ceiling")
    rows(ax, [labels[name] for name in nats], xlabel="nats per point, exact")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
