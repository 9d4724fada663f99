"""The figures of chapter 6: activations and norms."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .panels import Curves, Pairs, beside, rows
from .style import AMBER, EXACT, GREEN, GREY, LIGHT, PINK, ROULETTE, SKY, TRUNCATED, styled

COLOURS = {"LipSwish": GREEN, "ELU": AMBER, "softplus": PINK, "tanh": SKY, "sine": GREY, "ReLU": EXACT}


def _finish(ax: Axes, **settings: Any) -> None:
    ax.axhline(0, color=LIGHT, linewidth=1, zorder=0)
    ax.set(**settings)


@styled
def curves(z: Any, functions: Mapping[str, tuple[Any, Any, Any]]) -> Figure:
    """a, a' and a'' of several activations. functions: name -> the three, each like z."""
    figure, axes = beside(("value a(z)", "slope a'(z)", "curvature a''(z)"), (9.5, 3.3), sharey=False)
    for i, ax in enumerate(axes):
        for name, values in functions.items():
            ax.plot(z, values[i], color=COLOURS[name], label=name)
        _finish(ax, xlabel="z")
    axes[1].axhline(1, color=GREY, linestyle=":", linewidth=1.2)
    axes[0].set_ylim(-2, 4)
    axes[0].legend(loc="upper left")
    return figure


@styled
def slope_bounds(z: Any, slopes: Mapping[str, Any], pair: Any) -> Figure:
    """Slopes of LipSwish for several scales, and those of the pair that is CLipSwish with their 2-norm."""
    figure, axes = beside(("LipSwish: one maximum, any scale", "CLipSwish: a little above 1"), (8.5, 3.2))
    for (label, slope), alpha in zip(slopes.items(), (0.35, 0.65, 1)):
        axes[0].plot(z, slope, color=GREEN, alpha=alpha, label=label)
    plus, minus = pair
    axes[1].plot(z, plus, color=GREEN, label="a'(z)")
    axes[1].plot(z, minus, color=PINK, label="a'(−z)")
    axes[1].plot(z, np.hypot(plus, minus), color=EXACT, label="2-norm of both")
    for ax in axes:
        ax.axhline(1, color=GREY, linestyle=":", linewidth=1.2)
        _finish(ax, xlabel="z", ylim=(-0.15, 1.4))
        ax.legend(loc="upper left", ncols=3, columnspacing=1.2, handlelength=1.4)
    axes[0].set_ylabel("slope")
    return figure


@styled
def curvature_against_slope(paths: Pairs, dots: Pairs, notes: Mapping[str, str]) -> Figure:
    """a'' against a', one panel for each of six activations with the band near slope 1 shaded, and the band enlarged.

    paths: (a', a'') along all z; jumps are left open.  dots: the same at quantiles of the inputs, equally many in each
    panel; the area of a dot says how many lie on it.
    """
    names = list(paths)
    places = [[*names[:3], "band"], [*names[3:], "band"]]
    figure, panels = plt.subplot_mosaic(places, figsize=(11, 5.4), width_ratios=[1, 1, 1, 1.5])
    band = panels.pop("band")
    for (name, ax), path in zip(panels.items(), paths.values()):
        path = np.stack([np.asarray(part) for part in path])
        jumps = np.abs(np.diff(path, axis=1)).max(0) > 0.3
        path[:, 1:][:, jumps] = np.nan
        places, counts = np.unique(np.round(np.stack(dots[name]), 6), axis=1, return_counts=True)
        ax.plot(*path, color=COLOURS[name], linewidth=1.5)
        ax.scatter(*places, s=45 * counts, color=COLOURS[name], alpha=0.45, linewidth=0)
        _finish(ax, title=name, xlim=(-0.25, 1.25), ylim=(-1.45, 1.15), xticks=(0, 0.5, 1), yticks=(-1, 0, 1))
        ax.text(0.5, 0.03, notes[name], transform=ax.transAxes, fontsize=9, ha="center")
        band.plot(*path, color=COLOURS[name])
        band.scatter(*places, s=45 * counts, color=COLOURS[name], alpha=0.45, linewidth=0)
        at_the_edge = path[1][np.abs(path[0] - 0.9) < 0.005]
        if at_the_edge.size:  # ReLU jumps over the band
            band.text(0.903, max(at_the_edge) + 0.015, name, color=COLOURS[name], va="bottom", fontweight="bold")
    for ax in (*panels.values(), band):
        ax.axvspan(0.9, 1.0, color=AMBER, alpha=0.25, linewidth=0, zorder=0)
    _finish(band, title="all of them, in the band", xlim=(0.88, 1.015), ylim=(-0.62, 1.15), xticks=(0.9, 0.95, 1))
    figure.supxlabel("slope a'(z)", fontsize=11)
    figure.supylabel("curvature a''(z)", fontsize=11)
    return figure


@styled
def near_one(distances: Sequence[float], gradients: Mapping[str, Sequence[float]]) -> Figure:
    """Mean size of the log-determinant's gradient against how near to 1 the slopes are held, with fitted powers."""
    figure, ax = plt.subplots(figsize=(8, 4.2))
    below = np.inf
    for name, values in sorted(gradients.items(), key=lambda item: -item[1][-1]):
        power = np.polyfit(np.log(distances[2:]), np.log(values[2:]), 1)[0]
        ax.plot(distances, values, color=COLOURS[name], marker="o", markersize=6)
        below = min(values[-1], below / 1.45)  # so that no label covers another
        label = rf"{name}: $\delta^{{{power:.1f}}}$"
        ax.text(distances[-1] / 1.12, below, label, color=COLOURS[name], va="center", fontweight="bold")
    ax.set(xscale="log", yscale="log", ylabel="mean |gradient of log det| per unit")
    ax.set_ylim(bottom=below / 1.5)
    ax.set(xlabel=r"$\delta$: slopes are held between $1-\delta$ and 1", xlim=(1.3 * distances[0], distances[-1] / 4))
    return figure


@styled
def two_demands(points: Mapping[str, tuple[float, float]]) -> Figure:
    """(largest mean slope, curvature near slope 1) of every activation: what a block wants is at the upper right.

    The curvature's axis is logarithmic; zeros stand on its lower end.
    """
    figure, ax = plt.subplots(figsize=(7.5, 3.8))
    edge, below = min(curvature for _, curvature in points.values() if curvature) / 3, np.inf
    for name, (slope, curvature) in sorted(points.items(), key=lambda item: -item[1][1]):
        height = max(curvature, edge)
        ax.plot(slope, height, "o", color=COLOURS[name], markersize=12, clip_on=False)
        below = min(height, below / 1.35)  # so that no label covers another
        label = name if curvature else f"{name}: 0"
        ax.text(slope + 0.015, below, label, va="center", color=COLOURS[name], fontweight="bold")
    ax.set(xlim=(0.5, 1.15), yscale="log", ylim=(edge / 1.4, 2 * max(curvature for _, curvature in points.values())))
    ax.set(xlabel="largest mean slope over inputs of variance 1", ylabel="mean |a''| where |a'| > 0.99")
    return figure


@styled
def local_optima(angles: Any, norms: Any, starts: Any, ends: Any, rates: Mapping[str, float]) -> Figure:
    """The ratio |A v|_q / |v|_p by the angle of v with starts coloured by their ends, and rates of success."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6), width_ratios=[1.35, 1])
    norms, starts = np.asarray(norms), np.asarray(starts)
    axes[0].plot(angles, norms, color=EXACT)
    best = np.asarray(ends) > (1 - 1e-6) * norms.max()
    for chosen, colour, label in ((best, GREEN, "ends at the maximum"), (~best, TRUNCATED, "ends below")):
        heights = np.interp(starts[chosen], angles, norms)
        axes[0].plot(starts[chosen], heights, "o", color=colour, markersize=7, alpha=0.8, label=label)
    axes[0].set(xlabel="angle of v, degrees", ylabel=r"$|Av|_q\,/\,|v|_p$", xticks=range(0, 181, 45))
    axes[0].set_ylim(top=norms.max() + 0.25 * np.ptp(norms))
    axes[0].legend(loc="upper left", ncols=2)
    for i, (label, rate) in enumerate(rates.items()):
        axes[1].barh(i, rate, color=GREEN, height=0.65)
        axes[1].barh(i, 1 - rate, left=rate, color=TRUNCATED, height=0.65, alpha=0.35)
        axes[1].text(0.02, i, f"{rate:.0%}", va="center", color="white", fontweight="bold")
    rows(axes[1], rates, xlim=(0, 1), xlabel="share of starts that find the norm")
    return figure


@styled
def norm_bounds(orders: Any, truth: Any, estimates: Any, certificate: Any, tangent: tuple[float, float]) -> Figure:
    """|A|_(p->p) against p: truth, single estimates (len(orders), n), the certificate, and (p, slope) of a tangent."""
    figure, ax = plt.subplots(figsize=(8, 3.8))
    orders, truth = np.asarray(orders), np.asarray(truth)
    ax.plot(orders, certificate, color=ROULETTE, linestyle="--", label="certificate, never below")
    ax.plot(orders, truth, color=EXACT, label="norm (best of many starts)")
    for column in np.asarray(estimates).T:
        ax.plot(orders, column, ".", color=TRUNCATED, markersize=5, alpha=0.6, zorder=1)
    ax.plot([], [], ".", color=TRUNCATED, label="one start each, never above")
    p, slope = tangent
    near = orders[abs(orders - p) < 0.8]
    ax.plot(near, np.interp(p, orders, truth) + slope * (near - p), color=GREEN, linewidth=3, alpha=0.7)
    ax.plot([], [], color=GREEN, linewidth=3, label="slope by the envelope theorem")
    ax.set(xlabel="order p", ylabel=r"$\|A\|_{p\to p}$")
    ax.legend(loc="lower left", bbox_to_anchor=(0.26, 0.1), ncols=2)
    return figure


@styled
def broken_chain(sizes: Sequence[int], product: float, radius: Sequence[float], iterates: Sequence[float]) -> Figure:
    """The product of two norms that do not meet, the true spectral radius by width, and the inverse that diverges."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4))
    axes[0].plot(sizes, radius, color=EXACT, marker="o", markersize=5)
    axes[0].text(sizes[-1], radius[-1], "true spectral radius  ", ha="right", va="center")
    axes[0].axhline(product, color=TRUNCATED, linestyle="--")
    axes[0].text(sizes[0], product * 0.62, "product of the norms", color=TRUNCATED)
    axes[0].set(xscale="log", yscale="log", xlabel="width n", ylabel="factor per application of g")
    axes[0].set_ylim(0.3, 2.5 * radius[-1])
    axes[1].plot(iterates, color=EXACT, marker="o", markersize=5)
    axes[1].set(yscale="log", xlabel="step of the fixed-point iteration", ylabel="distance to the solution")
    return figure


@styled
def learned_orders(paths: Curves, target: Any, orders: Curves, ball: float, bound: float) -> Figure:
    """First columns (a, b) of applied weights on their way to a target, and the orders that were learned.

    paths: label -> (steps, 2), the fixed order first.  ball: the order that the other path ended with.
    bound: radius of the balls.  orders: label -> (steps,).
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.9), width_ratios=[1, 1.25])
    turn = np.linspace(0, np.pi / 2, 200)
    for p, colour, (label, path) in zip((2, ball), (TRUNCATED, GREEN), paths.items()):
        corner = np.stack([np.cos(turn), np.sin(turn)])
        axes[0].plot(*(bound * corner / np.linalg.norm(corner, p, axis=0)), color=colour, linewidth=1.2)
        axes[0].plot(*np.asarray(path).T, color=colour, marker=".", markersize=4, linewidth=1, alpha=0.8, label=label)
    axes[0].plot(*target, "*", color=EXACT, markersize=14, label="target")
    axes[0].set(xlim=(0, 1.1), ylim=(0, 1.1), aspect="equal", xlabel="a", ylabel="b")
    axes[0].legend(loc="lower left", fontsize=9)
    for (label, order), colour in zip(orders.items(), (GREEN, PINK)):
        axes[1].plot(order, color=colour)
        axes[1].text(len(order), order[-1], f" {label}", color=colour, va="center")
    axes[1].axhline(2, color=GREY, linestyle=":", linewidth=1.2)
    axes[1].set(xlabel="step", ylabel="learned order p", ylim=(1, 5))
    axes[1].set_xlim(0, 1.45 * max(len(order) for order in orders.values()))
    return figure
