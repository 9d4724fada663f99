"""The figures of chapter 2: inverses of residual blocks, norms and their certificates."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.collections import LineCollection, PolyCollection
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure

from .panels import array, beside
from .style import AMBER, EXACT, GREEN, GREY, LIGHT, ROULETTE, SKY, TRUNCATED, styled


@styled
def errors_and_bounds(runs: Mapping[str, Mapping[str, Any]]) -> Figure:
    """What is proven of a fixed-point iteration, and what is true. runs: panel -> line -> (n,) distances."""
    figure, axes = beside(runs, (10, 3.4), "distance to the solution")
    for ax, lines in zip(axes, runs.values()):
        for (name, values), colour, line in zip(lines.items(), (GREY, GREEN, EXACT), (":", "--", "-")):
            ax.plot(array(values), color=colour, linestyle=line, label=name)
        ax.set(yscale="log", xlabel="rounds")
    ax.legend(loc="lower left")
    return figure


@styled
def longest_image(matrix: Any, vectors: Any) -> Figure:
    """The unit circle, its image under a 2 x 2 matrix, and the iterates v_0, v_1, ... of power iteration in both."""
    angle = np.linspace(0, 2 * np.pi, 200)
    circle, matrix, vectors = np.stack([np.cos(angle), np.sin(angle)], 1), array(matrix), array(vectors)
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.9), sharex=True, sharey=True)
    for ax, curve, arrows, name in zip(axes, (circle, circle @ matrix.T), (vectors, vectors @ matrix.T), ("v", "A v")):
        ax.plot(*curve.T, color=GREY, linewidth=1.4)
        for k, arrow in enumerate(arrows):
            colour = plt.get_cmap("cividis_r")((k + 1) / len(arrows))
            ax.annotate("", arrow, (0, 0), arrowprops=dict(arrowstyle="-|>", color=colour, lw=2))
            if k in (0, 1, len(arrows) - 1):
                beyond = arrow + 0.2 * arrow / np.linalg.norm(arrow)
                ax.annotate(f"${name}_{k}$", beyond, ha="center", va="center", color=colour)
        ax.set(aspect="equal", title=f"{name}: longest {np.linalg.norm(arrows, axis=1).max():.3f}")
    reach = 1.3 * max(1.0, np.abs(circle @ matrix.T).max())
    axes[0].set(xlim=(-reach, reach), ylim=(-reach, reach))
    return figure


@styled
def folded_grids(grids: Mapping[str, tuple[Any, Any]]) -> Figure:
    """Cells of a grid after a map of the plane. grids: name -> (corners (cells, 4, 2), turned over? (cells,))."""
    figure, axes = beside(grids, (6.4, 4.8), "$y_2$", sharex=True)
    for ax, (cells, turned) in zip(axes, grids.values()):
        turned = np.asarray(turned, dtype=bool)
        order = np.argsort(turned, kind="stable")  # what is turned over lies on top
        colours = [to_rgba(TRUNCATED, 0.85) if over else to_rgba(SKY, 0.5) for over in turned[order]]
        ax.add_collection(PolyCollection(array(cells)[order], facecolors=colours, edgecolor="white", lw=0.7))
        ax.set(aspect="equal", xlabel="$y_1$")
        ax.autoscale_view()
    return figure


@styled
def norms_in_training(truth: Any, estimate: Any, certificate: Any, coeff: float) -> Figure:
    """Left: a changing norm, its warm-started estimate, its certificate. Right: the norm of the layer as applied."""
    truth, estimate, certificate = array(truth), array(estimate), array(certificate)
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 3.6))
    axes[0].plot(truth, color=EXACT, label="true norm")
    axes[0].plot(estimate, color=TRUNCATED, label="power iteration, warm start")
    axes[0].plot(certificate, color=GREEN, linestyle="--", label="Gram bound")
    axes[0].set(xlabel="step", ylabel="norm of W", title="the raw weight")
    axes[0].legend(loc="upper left")
    by_estimate, by_bound = (coeff * truth / np.maximum(divisor, coeff) for divisor in (estimate, certificate))
    axes[1].plot(by_estimate, color=TRUNCATED, label="divided by the estimate")
    axes[1].plot(by_bound, color=GREEN, ls="--", label="divided by the Gram bound")
    axes[1].axhline(1, color=EXACT, linewidth=1, linestyle=":")
    axes[1].set(xlabel="step", ylabel="true norm as applied", title="after normalisation: above 1, no proof")
    axes[1].legend(loc="upper left")
    return figure


@styled
def solver_race(residuals: Mapping[str, Mapping[str, Any]], tol: float) -> Figure:
    """Residuals against evaluations of g, a panel for each problem. residuals: problem -> solver -> (n,)."""
    figure, axes = beside(residuals, (max(10, 2.8 * len(residuals)), 3.2), "RMS residual |T(x) - x|")
    for ax, solvers in zip(axes, residuals.values()):
        for (name, values), colour in zip(solvers.items(), (AMBER, GREEN)):
            ax.plot(np.arange(1, len(array(values)) + 1), array(values), color=colour, label=name)
        ax.axhline(tol, color=GREY, linewidth=1, linestyle=":")
        ax.set(yscale="log", xlabel="evaluations of g")
    axes[0].legend(loc="upper right")
    return figure


@styled
def wrong_preimages(x: Any, returned: Any) -> Figure:
    """Points (n, 2) in their places and where a solver put them: right ones grey, wrong ones with their way."""
    x, returned = array(x), array(returned)
    wrong = np.linalg.norm(x - returned, axis=1) > 1e-3
    titles = "x, before", f"there and back: {wrong.sum()} of {len(x)} are someone else"
    figure, axes = beside(titles, (8.5, 4), "$x_2$", sharex=True)
    axes[0].scatter(*x.T, s=8, color=ROULETTE, linewidths=0)
    ways = np.stack([x, returned], 1)[wrong]
    axes[1].add_collection(LineCollection(ways, colors=LIGHT, linewidths=0.8, zorder=0))
    axes[1].scatter(*returned[~wrong].T, s=8, color=ROULETTE, linewidths=0)
    axes[1].scatter(*returned[wrong].T, s=8, color=TRUNCATED, linewidths=0)
    for ax in axes:
        ax.set(aspect="equal", xlabel="$x_1$")
    return figure
