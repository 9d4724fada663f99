"""Figures of the ablation: settings over seeds, paired differences, what an objective claims against the truth."""

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..panels import beside, rows
from ..style import EXACT, GREEN, GREY, LIGHT, ROULETTE, TRUNCATED, styled

__all__ = ["over_seeds", "differences", "claimed_and_true"]

KINDS = {"truncated": TRUNCATED, "roulette": ROULETTE, "ours": GREEN}


@styled
def over_seeds(scores: Mapping[str, Sequence[float]], kinds: Mapping[str, str], title: str) -> Figure:
    """Bits/dim of every seed, and per setting the mean with its standard error.

    scores: setting -> one number per seed.  kinds: setting -> "truncated", "roulette" or "ours", which colours it.
    """
    figure, ax = plt.subplots(figsize=(8, 0.42 * len(scores) + 1.3))
    for y, (name, values) in enumerate(scores.items()):
        color, values = KINDS[kinds[name]], np.asarray(values)
        ax.plot(values, np.full(len(values), y) - 0.16, "o", color=color, alpha=0.35, markersize=5, markeredgewidth=0)
        error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
        ax.errorbar(values.mean(), y + 0.12, xerr=error, fmt="o", color=color, capsize=4, markersize=7)
        ax.annotate(f"{values.mean():.3f}", (1.01, y), xycoords=("axes fraction", "data"), va="center", color=color)
    rows(ax, scores, ylim=(len(scores) - 0.4, -0.6), xlabel="test bits/dim (fewer is better)", title=title)
    ax.grid(axis="x", color=LIGHT, linewidth=0.8)
    return figure


@styled
def differences(intervals: Mapping[str, tuple[float, float]], unit: str = "bits/dim") -> Figure:
    """Paired differences with their 95 % intervals. intervals: what is compared -> (difference, half-width)."""
    figure, ax = plt.subplots(figsize=(8, 0.45 * len(intervals) + 1.2))
    ax.axvline(0, color=EXACT, linewidth=1.2)
    for y, (difference, half_width) in enumerate(intervals.values()):
        color = GREY if abs(difference) <= half_width else GREEN if difference < 0 else TRUNCATED
        finite = half_width if np.isfinite(half_width) else 0.0
        ax.errorbar(difference, y, xerr=finite, fmt="o", color=color, capsize=4, markersize=7)
        text = f"{difference:+.3f} ± {half_width:.3f}" if np.isfinite(half_width) else f"{difference:+.3f}, one seed"
        ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", color=color)
    rows(ax, intervals, ylim=(len(intervals) - 0.4, -0.6), xlabel=f"difference in {unit}: left of 0 helps")
    ax.grid(axis="x", color=LIGHT, linewidth=0.8)
    return figure


@styled
def claimed_and_true(histories: Mapping[str, Sequence[tuple[float, float, float]]]) -> Figure:
    """What the objective claims, and the truth at the same weights; one panel for each training.

    histories: title -> rows of (epoch, claimed bits/dim, true bits/dim). A title that holds "roulette" is blue.
    """
    figure, axes = beside(histories, (4.6 * len(histories), 3.5), "bits/dim")
    for ax, (title, history) in zip(axes, histories.items()):
        epochs, claimed, true = np.asarray(history, dtype=float).T
        color = ROULETTE if "roulette" in title else TRUNCATED
        ax.fill_between(epochs, claimed, true, color=color, alpha=0.15, linewidth=0)
        ax.plot(epochs, claimed, color=color)
        ax.plot(epochs, true, color=EXACT, linestyle="--")
        ax.set(title=f"{title}: {claimed[-1] - true[-1]:+.3f} at the end", xlabel="epochs")
        lines = [Line2D([], [], color=color), Line2D([], [], color=EXACT, linestyle="--")]
        ax.legend(lines, ["what the objective claims", "the truth"], loc="lower left")
    return figure
