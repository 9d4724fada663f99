"""Figures of chapter 10: residual flows among what came after. Each is a function of data."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from .panels import Curves, Pairs, array, beside, plane, rows
from .style import EXACT, GREY, LIGHT, ROULETTE, styled


@styled
def stretch(bounds: Pairs, measured: Pairs) -> Figure:
    """How much one block can squeeze and stretch, as proven, and between which factors trained blocks do.

    bounds, measured: name -> (smallest, largest) singular value of the block's Jacobian.
    """
    figure, ax = plt.subplots(figsize=(8, 0.55 * len(bounds) + 1.1))
    for row, (name, (low, high)) in enumerate(bounds.items()):
        ax.barh(row, high - low, left=low, height=0.55, color=LIGHT)
        ax.plot(measured[name], (row, row), "o-", color=ROULETTE, markersize=6)
    ax.axvline(1, color=GREY, linestyle=":", linewidth=1.2)
    ends = [end for pair in bounds.values() for end in pair]
    ax.set(xscale="log", xlim=(min(ends) / 1.3, max(ends) * 1.3))
    rows(ax, bounds, xlabel="factor by which a block changes lengths (grey: proven, blue: in the trained blocks)")
    return figure


@styled
def paths(walks: Curves, straightness: Mapping[str, float], limit: float) -> Figure:
    """Paths from noise to data, a panel per model; the title says how much longer than straight they are.

    walks: name -> (steps + 1, points, 2).  straightness: name -> mean length over distance.
    """
    titles = [f"{name}: {straightness[name]:.2f} × straight" for name in walks]
    figure, axes = beside(titles, (4.6 * len(walks), 4.6))
    for ax, walk in zip(axes, walks.values()):
        walk = array(walk)
        ax.plot(walk[..., 0], walk[..., 1], color=ROULETTE, linewidth=0.6, alpha=0.5)
        ax.plot(*walk[0].T, ".", color=GREY, markersize=3)
        ax.plot(*walk[-1].T, ".", color=EXACT, markersize=4)
        plane(ax, limit)
    return figure
