"""The figures of chapter 1: what a map does to mass, lengths and areas."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import PolyCollection
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from .panels import array, beside, plane
from .style import AMBER, EXACT, GREEN, PINK, ROULETTE, SKY, TRUNCATED, styled


@styled
def mass_through_map(x_edges: Any, z_edges: Any, mass: Any, curve: tuple[Any, Any], marked: Sequence[int]) -> Figure:
    """Histogram of x (below) and of z = f(x) (left) with the same cells; bars have area = mass on both sides.

    x_edges, z_edges: (n + 1,) edges of the cells before and after.  mass: (n,).  marked: cells followed by bands.
    """
    x_edges, z_edges, mass = array(x_edges), array(z_edges), array(mass)
    ratios = dict(width_ratios=[1, 2.6], height_ratios=[2.6, 1])
    figure, axes = plt.subplots(2, 2, figsize=(8, 6), sharex="col", sharey="row", **ratios)
    (left, middle), (corner, below) = axes
    corner.set_axis_off()
    colours = [SKY] * len(mass)
    for cell, colour in zip(marked, (TRUNCATED, GREEN, PINK)):
        colours[cell] = colour
        middle.axvspan(*x_edges[cell : cell + 2], color=colour, alpha=0.3, linewidth=0)
        middle.axhspan(*z_edges[cell : cell + 2], color=colour, alpha=0.3, linewidth=0)
    below.bar(x_edges[:-1], mass / np.diff(x_edges), np.diff(x_edges), align="edge", color=colours, linewidth=0)
    left.barh(z_edges[:-1], mass / np.diff(z_edges), np.diff(z_edges), align="edge", color=colours, linewidth=0)
    middle.plot(*(array(c) for c in curve), color=EXACT)
    left.invert_xaxis()
    left.set(ylabel="z = f(x)", xlabel="density of z")
    left.tick_params(labelbottom=True)
    below.set(xlabel="x", ylabel="density of x")
    below.tick_params(labelleft=True)
    middle.set_title("the map z = f(x), and three cells")
    return figure


@styled
def smallest_flow(scale: Any, base: Any, log_det: Any) -> Figure:
    """The two terms of the mean log-likelihood of z = a x, and their sum, against a."""
    scale, base, log_det = array(scale), array(base), array(log_det)
    figure, ax = plt.subplots(figsize=(7.5, 3.4))
    lines = ((base, AMBER, "mean log N(a x)"), (log_det, GREEN, "log |a|"), (base + log_det, EXACT, "their sum"))
    for values, colour, label in lines:
        ax.plot(scale, values, color=colour, label=label)
        best = values[1:-1].argmax() + 1
        if values[best] > max(values[0], values[-1]):
            ax.plot(scale[best], values[best], "o", color=colour)
            ax.annotate(f"a = {scale[best]:.2f}", (scale[best], values[best]), (-20, -18), textcoords="offset points")
    ax.set(xscale="log", xlabel="a, the slope of the map", ylabel="nats", ylim=(-7, 1))
    ax.legend(loc="lower center")
    return figure


@styled
def shrinking_squares(images: Sequence[Any], linear: Any, sides: Sequence[float], ratios: Sequence[float]) -> Figure:
    """Images of smaller and smaller squares, each magnified by 1 / side, and the parallelogram that they become.

    images: outlines (n, 2), centred and divided by the side.  linear: the same for the Jacobian matrix.
    """
    titles = [f"side {side:g}: area × {ratio:.3f}" for side, ratio in zip(sides, ratios)]
    figure, axes = beside(titles, (7.5, 3.1), "$z_2$ / side", sharex=True)
    for ax, image in zip(axes, images):
        ax.fill(*array(image).T, color=SKY, alpha=0.6, linewidth=0)
        ax.plot(*np.vstack([array(linear), array(linear)[:1]]).T, color=EXACT, linestyle="--", linewidth=1.4)
        ax.set(aspect="equal", xlabel="$z_1$ / side")
    return figure


@styled
def clouds(points: Mapping[str, Any], limits: Sequence[float], axis: str = "x") -> Figure:
    """Scatter plots (n, 2) beside each other, each on [-limit, limit]^2; axis: the letter of the coordinates."""
    n = len(points)
    size = (min(2.9 * n, 10.5), min(3.2, 10.5 / n + 0.4))
    figure, axes = beside(points, size, f"${axis}_2$", sharey=False)
    for ax, cloud, limit in zip(axes, points.values(), limits):
        ax.scatter(*array(cloud).T, s=2.5, color=ROULETTE, alpha=0.5, linewidths=0)
        plane(ax, limit, xlabel=f"${axis}_1$")
    return figure


@styled
def training_terms(histories: Mapping[str, Any]) -> Figure:
    """The terms of the log-likelihood during training. histories: name -> rows (step, log N(z), log-determinant)."""
    figure, axes = beside(histories, (9, 3.3), "nats")
    for ax, history in zip(axes, histories.values()):
        step, base, log_det = array(history).T
        ax.plot(step, base, color=AMBER, label="mean log N(z)")
        ax.plot(step, log_det, color=GREEN, label="mean log-determinant")
        ax.plot(step, base + log_det, color=EXACT, label="sum: log-likelihood")
        ax.set(xscale="log", xlabel="step")
    axes[1].legend(loc="lower right")
    return figure


@styled
def heat_maps(maps: Mapping[str, Any], limit: float, ranges: Sequence[tuple[float, float]]) -> Figure:
    """Functions of the plane on [-limit, limit]^2, (n, n) with rows for x_2; a range around 0 gets two colours."""
    figure, axes = beside(maps, (10.5, 3.3), "$x_2$")
    for ax, values, (low, high) in zip(axes, maps.values(), ranges):
        colours = "PuOr_r" if low == -high else "cividis"
        extent = (-limit, limit, -limit, limit)
        image = ax.imshow(array(values), origin="lower", extent=extent, cmap=colours, vmin=low, vmax=high)
        figure.colorbar(image, ax=ax, shrink=0.85, label="nats", extend="both")
        ax.set_xlabel("$x_1$")
    return figure


@styled
def boxes_of_mass(cells: Mapping[str, Any], areas: Mapping[str, Any], mass: Any, marked: Mapping[str, int]) -> Figure:
    """The same cells in z and in x, coloured by density = mass / area, and boxes of width = area, height = density.

    cells: "z" and "x" -> outlines (cells, n, 2).  areas: their areas.  mass: (cells,).  marked: label -> cell.
    """
    outlines = {letter: array(values) for letter, values in cells.items()}
    areas = {letter: array(values) for letter, values in areas.items()}
    density = {letter: array(mass) / areas[letter] for letter in cells}
    norm = PowerNorm(0.5, 0, np.quantile(density["x"], 0.95))
    figure = plt.figure(figsize=(10.5, 7))
    grid = figure.add_gridspec(2, 2, height_ratios=[1.9, 1], width_ratios=[1, 1.5])
    boxes, slots = figure.add_subplot(grid[1, :]), []
    for column, (letter, title) in enumerate({"z": "cells of equal area in z", "x": "the same cells in x"}.items()):
        ax = figure.add_subplot(grid[0, column])
        shapes = outlines[letter]
        filled = PolyCollection(shapes, array=density[letter], cmap="Blues", norm=norm, edgecolor="white", lw=0.4)
        ax.add_collection(filled)
        ax.set(aspect="equal", xlabel=f"${letter}_1$", ylabel=f"${letter}_2$", title=title)
        ax.autoscale_view()
        for i, ((label, cell), colour) in enumerate(zip(marked.items(), (TRUNCATED, GREEN, PINK))):
            shape, width, height = shapes[cell], areas[letter][cell], density[letter][cell]
            ax.fill(*shape.T, facecolor=colour, edgecolor=colour, linewidth=1.5, alpha=0.9)
            centre = shape.mean(0)  # of a bent cell it may lie outside: then beside the nearest point of the outline
            spot = shape[np.square(shape - centre).sum(1).argmin()] if column else centre
            name = ax.annotate(label, spot, (0, 9 * column), textcoords="offset points", color=colour, size=15)
            name.set(ha="center", va="center")
            name.set_path_effects([withStroke(linewidth=3, foreground="white")])
            slots.append((3 * i + column, label, letter, colour, width, height))
    figure.colorbar(filled, ax=ax, label="density", shrink=0.9, extend="max", ticks=[0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5])
    left = 0.0
    for _, label, letter, colour, width, height in sorted(slots):
        slot = max(width, 0.43)  # room for the text over a narrow box
        boxes.bar(left + slot / 2, height, width, color=colour, alpha=0.9 if letter == "x" else 0.45)
        label = f"{label} in {letter}\n{width:.3f} × {height:.3f}\n= {width * height:.3f}"
        boxes.text(left + slot / 2, height, label, ha="center", va="bottom", fontsize=10)
        left += slot + (0 if letter == "z" else 0.2)
    boxes.set(xticks=[], ylabel="density", title="boxes of mass: width = area of the cell, height = density")
    boxes.margins(y=0.5)
    return figure
