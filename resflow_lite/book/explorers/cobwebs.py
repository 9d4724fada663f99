"""Solving x + g(x) = y by x <- y - g(x) in one dimension: cobwebs, and what there is to find."""

from collections.abc import Callable, Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..figures.style import AMBER, EXACT, GREEN, GREY, ROULETTE, TRUNCATED, styled

Map = Callable[[np.ndarray], np.ndarray]
SPAN = 5.0  # the picture shows [-SPAN, SPAN] where nothing else is said


def preimages(g: Map, y: float, span: float = SPAN) -> np.ndarray:
    """(n,) every x in [-span, span] with x + g(x) = y, up to the resolution of a grid of 4,001 points."""
    x = np.linspace(-span, span, 4001)
    excess = x + g(x) - y
    i = np.flatnonzero((excess[:-1] < 0) != (excess[1:] < 0))
    left, right, rising = x[i], x[i + 1], excess[i] < 0
    for _ in range(45):  # bisection, all roots at once
        middle = (left + right) / 2
        before = (middle + g(middle) < y) == rising
        left, right = np.where(before, middle, left), np.where(before, right, middle)
    return (left + right) / 2


def iterates(g: Map, y: float, start: float, steps: int) -> np.ndarray:
    """x_0, ..., x_steps. A diverging sequence stops where plotting would overflow."""
    x = [start]
    while len(x) <= steps and abs(x[-1]) < 1e6:
        x.append(float(y - g(np.array(x[-1]))))
    return np.array(x)


@styled
def cobweb(g: Map, y: float = 0.5, start: float = -2.0, steps: int = 12, title: str = "") -> Figure:
    """Left the iteration x <- y - g(x) as a cobweb, right f(x) = x + g(x) and every x that it maps to y."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 5.2), layout="compressed")
    _draw_cobweb(axes[0], g, y, start, steps)
    _draw_preimages(axes[1], g, y)
    if title:
        figure.suptitle(title, x=0.01, ha="left")
    return figure


@styled
def cobwebs(cases: Mapping[str, tuple[Map, float, float]], steps: int = 12, span: float = SPAN) -> Figure:
    """The same for several cases on [-span, span], one in each column. cases: title -> (g, y, start)."""
    figure, axes = plt.subplots(2, len(cases), figsize=(3.5 * len(cases), 7.2), squeeze=False)
    for (top, bottom), (title, (g, y, start)) in zip(axes.T, cases.items()):
        _draw_cobweb(top, g, y, start, steps, span)
        _draw_preimages(bottom, g, y, span)
        top.set_title(f"{title}\n{top.get_title(loc='left')}")
    return figure


def _draw_cobweb(ax: Axes, g: Map, y: float, start: float, steps: int, span: float = SPAN) -> None:
    x = np.linspace(-span, span, 401)
    ax.plot(x, x, color=GREY, linewidth=1)
    ax.plot(x, y - g(x), color=ROULETTE)
    found = iterates(g, y, start, steps)
    # to the curve, to the diagonal, to the curve, ...
    across, up = np.repeat(found, 2)[:-1], np.append(start, np.repeat(found[1:], 2))
    up[0] = -span  # from the start on the horizontal axis
    ax.plot(across, up, color=AMBER, linewidth=1.4)
    ax.plot(start, -span, "o", color=AMBER, markersize=8, clip_on=False, zorder=3)
    roots = preimages(g, y, span)
    ax.plot(roots, roots, "o", color=EXACT, markersize=6)
    residual = abs(found[-1] + float(g(found[-1])) - y)
    lost = residual > max(1.0, abs(found[0] + float(g(np.array(start))) - y))
    verdict = "diverges" if lost else f"{len(found) - 1} steps: |f(x) − y| = {residual:.1e}"
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal", xlabel="x", ylabel="y − g(x)")
    ax.set_title(verdict, color=TRUNCATED if lost else EXACT)


def _draw_preimages(ax: Axes, g: Map, y: float, span: float = SPAN) -> None:
    x = np.linspace(-span, span, 401)
    roots = preimages(g, y, span)
    one = len(roots) == 1
    ax.plot(x, x + g(x), color=GREEN if one else TRUNCATED)
    ax.axhline(y, color=EXACT, linestyle="--", linewidth=1.2)
    ax.vlines(roots, -span, y, color=EXACT, linewidth=1, linestyle=":")
    ax.plot(roots, np.full(len(roots), y), "o", color=EXACT, markersize=6)
    ax.set(xlim=(-span, span), ylim=(-span, span), aspect="equal", xlabel="x", ylabel="f(x) = x + g(x)")
    ax.set_title(f"f(x) = {y:g} has {len(roots)} solution{'' if one else 's'}".replace("-", "−"))
