"""Induced norms |A|_(p->q) of 2 x 2 matrices as pictures of unit balls."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...errors import SettingsError
from ..figures.style import EXACT, GREY, ROULETTE, SKY, TRUNCATED, styled


def stretch(factor: float, squeeze: float, angle: float, turn: float = 0.0) -> np.ndarray:
    """(2, 2) A = R(turn) R(angle) diag(factor, squeeze) R(-angle): stretches along `angle`, then turns; in degrees."""

    def rotation(degrees: float) -> np.ndarray:
        c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        return np.array([[c, -s], [s, c]])

    return rotation(turn + angle) @ np.diag([factor, squeeze]) @ rotation(-angle)


def unit_circle(p: float, angles: np.ndarray) -> np.ndarray:
    """(2, n) the vectors of |v|_p = 1 in these directions (radians)."""
    v = np.stack([np.cos(angles), np.sin(angles)])
    return v / np.linalg.norm(v, p, axis=0)


def largest_image(matrix: np.ndarray, p: float, q: float) -> tuple[float, np.ndarray]:
    """|A|_(p->q) = max |A v|_q over |v|_p = 1, and a v that attains it, by search over directions to 1e-12 of a turn.

    matrix: (2, 2).  p, q: 1 to infinity. Raises SettingsError for anything else.
    """
    if np.shape(matrix) != (2, 2):
        raise SettingsError(f"a matrix of shape {np.shape(matrix)}: the picture needs (2, 2)")
    if not (p >= 1 and q >= 1):
        raise SettingsError(f"p={p!r}, q={q!r}: |.|_p is a norm for p from 1 to infinity only")
    middle, reach = np.pi / 2, np.pi / 2
    while reach > 1e-12:
        # half a turn is enough, -v does as well as v; the grid hits the corners of the balls of 1 and infinity
        angles = middle + reach * np.linspace(-1, 1, 2881)
        images = np.linalg.norm(matrix @ unit_circle(p, angles), q, axis=0)
        middle, reach = angles[images.argmax()], reach / 1000
    v = unit_circle(p, np.array([middle]))[:, 0]
    return float(np.linalg.norm(matrix @ v, q)), v


@styled
def unit_balls(matrix: np.ndarray, p: float = 2, q: float = 2) -> Figure:
    """Left the ball |v|_p <= 1, right its image under A, in the smallest ball of |.|_q that holds it.

    The radius of that ball is |A|_(p->q).
    The arrows are the v that A lengthens most, from |.|_p to |.|_q, and its image.
    """
    matrix = np.asarray(matrix, float)
    norm, best = largest_image(matrix, p, q)
    angles = np.linspace(0, 2 * np.pi, 721)  # hits all corners
    ball = unit_circle(p, angles)
    image, around = matrix @ ball, norm * unit_circle(q, angles)

    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6))
    ax = axes[0]
    for order in (1, 2, np.inf):
        ax.plot(*unit_circle(order, angles), color=GREY, linewidth=0.8, linestyle=":")
    ax.fill(*ball, facecolor=SKY, alpha=0.35)
    ax.plot(*ball, color=ROULETTE)
    _arrow(ax, best)
    ax.set_title(f"all v with |v| ≤ 1 in the {_order(p)}-norm")
    ax = axes[1]
    ax.plot(*around, color=TRUNCATED)
    ax.fill(*image, facecolor=SKY, alpha=0.35)
    ax.plot(*image, color=ROULETTE)
    _arrow(ax, matrix @ best)
    ax.set_title(f"their images A v: norm {_order(p)} → {_order(q)} is {norm:.3f}")
    for ax, size in zip(axes, (1.0, max(norm, abs(image).max(), 1.0))):
        ax.set(xlim=(-1.12 * size, 1.12 * size), ylim=(-1.12 * size, 1.12 * size), aspect="equal")
        ax.axhline(0, color=GREY, linewidth=0.5, zorder=0)
        ax.axvline(0, color=GREY, linewidth=0.5, zorder=0)
        ax.set(xlabel="first entry", ylabel="second entry")
    return figure


def _arrow(ax: Axes, tip: np.ndarray) -> None:
    ax.annotate("", tip, (0, 0), arrowprops=dict(arrowstyle="-|>", color=EXACT, linewidth=2, shrinkA=0, shrinkB=0))


def _order(p: float) -> str:
    return "∞" if p == np.inf else f"{p:g}"
