"""Figures of chapter 4: what Russian roulette weighs, costs and hides. Each is a function of data."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from .panels import Curves, beside, rows
from .style import AMBER, EXACT, GREEN, GREY, LIGHT, PINK, ROULETTE, SKY, TRUNCATED, styled

OTHER = "#6A3D9A"  # what is no law: Krylov, the control variate
# a law whose name contains this -> its colour and marker, the first that fits
LAWS = {"Geometric(0.25)": (SKY, "s"), "Geometric": (ROULETTE, "o"), "Poisson": (PINK, "v"), "Matched": (GREEN, "D")}


def law_style(name: str) -> dict[str, Any]:
    """Colour and marker of a law, the same in every figure."""
    colour, marker = next((look for law, look in LAWS.items() if law in name), (GREY, "x"))
    return dict(color=colour, marker=marker, markersize=5)


@styled
def intervals(panels: Mapping[str, tuple[Any, Any]], truth: float, unit: str = "nats per dimension") -> Figure:
    """One panel per estimator: an upright bar per interval, amber where it misses the truth.

    panels: title -> (means, half widths), each (n,).
    """
    figure, axes = beside(panels, (max(8, 3.1 * len(panels)), 3.1), unit)
    for ax, (title, (mean, half)) in zip(axes, panels.items()):
        mean, half = np.asarray(mean), np.asarray(half)
        miss = np.abs(mean - truth) > half
        look = dict(colors=np.where(miss, AMBER, GREY), linewidth=1.6, zorder=2)
        ax.vlines(np.arange(len(mean)), mean - half, mean + half, **look)
        ax.axhline(truth, color=EXACT, linewidth=1.2, zorder=3)
        ax.set(title=f"{title}\n{miss.sum()} of {len(mean)} miss", xlabel="repetition", xlim=(-1, len(mean)))
    ends = np.concatenate([[np.asarray(m) - h, np.asarray(m) + h] for m, h in panels.values()], axis=None)
    low, high = np.quantile(ends, [0.04, 0.96])  # a few intervals may leave the picture
    axes[0].set(ylim=(low - 0.3 * (high - low), high + 0.3 * (high - low)))
    return figure


@styled
def weight_boxes(laws: Mapping[str, Any], n_exact: int, widest: float = 22.0) -> Figure:
    """A box for each term: its height the chance that the term is computed, its width the weight it then has.

    laws: title -> an object with survival(k). Random terms are drawn until a box would be wider than `widest`.
    """
    figure, axes = plt.subplots(len(laws), 1, figsize=(8, 1.9 * len(laws)), sharex=True, squeeze=False)
    for ax, (title, law) in zip(axes[:, 0], laws.items()):
        left, k = 0.0, 1
        while (chance := law.survival(max(0, k - n_exact))) * widest >= 1:
            colour = EXACT if k <= n_exact else law_style(title)["color"]
            ax.add_patch(plt.Rectangle((left, 0), 1 / chance, chance, facecolor=colour, edgecolor="white"))
            ax.text(left + 0.5 / chance, chance + 0.03, f"$a_{{{k}}}$", ha="center", va="bottom")
            left, k = left + 1 / chance, k + 1
        ax.set(title=title, ylim=(0, 1.25), xlim=(0, max(left, ax.get_xlim()[1])), yticks=(0, 0.5, 1), ylabel="chance")
    axes[-1, 0].set_xlabel("weight if computed (boxes side by side)")
    return figure


@styled
def law_curves(x: Any, curves: Curves, xlabel: str, ylabel: str, *, logx: bool = False, walls: Any = ()) -> Figure:
    """One curve per law on a logarithmic vertical axis. walls: law -> the x where its curve goes to infinity."""
    figure, ax = plt.subplots(figsize=(8, 3.4))
    for name, y in curves.items():
        ax.plot(x, y, label=name, **law_style(name))
    for name, wall in dict(walls).items():
        ax.axvline(wall, color=law_style(name)["color"], linestyle=":", linewidth=1.5, zorder=0)
    ax.set(xlabel=xlabel, ylabel=ylabel, yscale="log", xscale="log" if logx else "linear")
    ax.legend()
    return figure


@styled
def coverage(radii: Any, shares: Mapping[str, Any]) -> Figure:
    """Share of nominal intervals that contain the truth, against the contraction rate of J."""
    figure, ax = plt.subplots(figsize=(8, 3.6))
    ax.axhline(95, color=EXACT, linestyle="--", linewidth=1.2)
    ax.text(min(radii), 96, "nominal 95 %", va="bottom", fontsize=10)
    for name, share in shares.items():
        ax.plot(radii, 100 * np.asarray(share), label=name, **law_style(name))
    ax.set(ylim=(0, 104), xlabel="r, spectral radius of J", ylabel="intervals that cover the truth (%)")
    ax.legend(loc="lower left")
    return figure


@styled
def fans(draws: Any, races: Mapping[str, Mapping[str, Any]]) -> Figure:
    """|running mean - truth| of many runs per law, what the runs claim, and the truncation of the same cost.

    draws: (n,) where the runs are looked at.  races: title -> errors (runs, n), claimed (runs, n) standard errors,
    cost in products per draw, bias of the truncated series.
    """
    figure, axes = beside(races, (3.4 * len(races), 4.4), "error, nats per dimension", sharex=True)
    for ax, (title, race) in zip(axes, races.items()):
        colour, products = law_style(title)["color"], np.asarray(draws) * race["cost"]
        ax.loglog(products, race["errors"].T, color=colour, linewidth=0.6, alpha=0.35)
        ax.loglog(products, np.median(race["errors"], 0), color=colour, linewidth=3, label="the error, median run")
        claimed = np.median(race["claimed"], 0)
        ax.loglog(products, claimed, color=EXACT, linewidth=1.6, linestyle="--", label="the error it claims")
        ax.axhline(race["bias"], color=TRUNCATED, label="truncated, same products per draw")
        ax.set_xlabel("products spent")
    costs = [race["cost"] for race in races.values()]
    axes[0].set(xlim=(draws[0] * max(costs), draws[-1] * min(costs)), ylim=(3e-4, 10))
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.legends[0].legend_handles[0].set_color(GREY)  # the colour of no law
    return figure


@styled
def batch_means(means: Mapping[str, Any], exact: float) -> Figure:
    """A row of dots per way to draw: each dot is the mean of one batch. The truth is a line."""
    figure, ax = plt.subplots(figsize=(8, 0.85 * len(means) + 1.1))
    rng = np.random.default_rng(0)
    for row, (name, values) in enumerate(means.items()):
        values = np.asarray(values)
        ax.plot(values, row + rng.uniform(-0.25, 0.25, len(values)), "o", color=ROULETTE, alpha=0.4, markersize=4)
    ax.axvline(exact, color=EXACT, linewidth=1.5)
    labels = (f"{name}\nstandard deviation {np.asarray(values).std():.2f}" for name, values in means.items())
    rows(ax, labels, xlabel="mean log-determinant of the batch (nats)")
    return figure


@styled
def equal_products(products: Any, errors: Mapping[str, Any], noise: float) -> Figure:
    """|bias| against the products spent, and the size of the probe noise of one estimate."""
    figure, ax = plt.subplots(figsize=(8, 3.4))
    for (name, error), colour, marker in zip(errors.items(), (TRUNCATED, OTHER), "os"):
        ax.semilogy(products, np.abs(np.asarray(error)), color=colour, marker=marker, markersize=5, label=name)
    ax.axhline(noise, color=LIGHT, linewidth=4, zorder=0, label="noise of one probe")
    ax.set(xlabel="products with J", ylabel="|bias| (nats)")
    ax.legend(loc="lower left")
    return figure


@styled
def noise_bars(noise: Mapping[str, Any]) -> Figure:
    """Standard deviation of the estimate in each block, a group of bars per block, two of its standard errors up and
    down. noise: name -> (standard deviation, standard error), each (n_blocks,)."""
    figure, ax = plt.subplots(figsize=(8, 2.9))
    for i, (name, (values, errors)) in enumerate(noise.items()):
        at = np.arange(1, len(values) + 1) + 0.28 * (i - (len(noise) - 1) / 2)
        look = dict(ecolor=EXACT, error_kw=dict(elinewidth=1.2))
        ax.bar(at, values, width=0.26, yerr=2 * np.asarray(errors), color=(ROULETTE, OTHER, SKY)[i], label=name, **look)
    ax.set(xlabel="block", ylabel="standard deviation (nats)", xticks=np.arange(1, len(values) + 1))
    ax.legend()
    return figure


# how a sample comes to a term -> its colour
KINDS = {
    "not computed": "white",
    "computed, weight 0": LIGHT,
    "always": EXACT,
    "by rank": ROULETTE,
    "by chance": AMBER,
}


@styled
def who_computes(panels: Mapping[str, tuple[Any, int]], n_exact: int) -> Figure:
    """One panel per way to draw N: a row per term, a column per sample, and the weight of the term beside its row.

    panels: title -> (weights, fixed): (terms, samples), NaN where a term is not computed and 0 where it is computed for
    the batch's sake; the first `fixed` terms are no matter of chance.
    """
    figure, axes = beside(panels, (3.4 * len(panels), 3.6), "term")
    names = list(KINDS)
    for ax, (weights, fixed) in zip(axes, panels.values()):
        weights = np.asarray(weights, dtype=float)
        k = np.arange(1, len(weights) + 1)
        how = np.select([k <= n_exact, k <= fixed], [names.index("always"), names.index("by rank")], 4)
        kinds = np.select([np.isnan(weights), weights == 0], [0, 1], how[:, None])
        edges = np.arange(weights.shape[1] + 1) + 0.5, np.arange(len(k) + 1) + 0.5
        ax.pcolormesh(*edges, kinds, cmap=ListedColormap(list(KINDS.values())), vmin=-0.5, vmax=4.5)
        ax.hlines(edges[1], 0.5, edges[0][-1], color="white", linewidth=2)
        for row, weight in zip(k, np.nanmax(weights, 1)):
            ax.text(weights.shape[1] + 2, row, f"× {weight:.3g}", va="center", fontsize=10)
        ax.set(xlabel="sample", xlim=(0.5, 1.2 * weights.shape[1]))
    most = max(len(weights) for weights, _ in panels.values())
    axes[0].set(ylim=(most + 0.6, 0.4), yticks=range(1, most + 1))
    shown = [Patch(color=colour, label=name) for name, colour in KINDS.items() if name != "not computed"]
    figure.legend(handles=shown, loc="outside lower center", ncols=len(shown))
    return figure
