"""Figures of the ablation: settings over seeds, paired differences, what an objective claims against the truth."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..panels import beside, rows
from ..style import EXACT, GREEN, GREY, LIGHT, PINK, ROULETTE, TRUNCATED, styled

ESTIMATORS = {"truncated": TRUNCATED, "roulette": ROULETTE, "stratified": GREEN, "control variate": PINK}
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
def differences(intervals: Mapping[str, tuple[float, float]]) -> Figure:
    """Paired differences with their 95 % intervals. intervals: what is compared -> (difference, half-width)."""
    figure, ax = plt.subplots(figsize=(8, 0.45 * len(intervals) + 1.2))
    ax.axvline(0, color=EXACT, linewidth=1.2)
    for y, (difference, half_width) in enumerate(intervals.values()):
        color = GREY if abs(difference) <= half_width else GREEN if difference < 0 else TRUNCATED
        finite = half_width if np.isfinite(half_width) else 0.0
        ax.errorbar(difference, y, xerr=finite, fmt="o", color=color, capsize=4, markersize=7)
        text = f"{difference:+.3f} ± {half_width:.3f}" if np.isfinite(half_width) else f"{difference:+.3f}, one seed"
        ax.annotate(text, (1.01, y), xycoords=("axes fraction", "data"), va="center", color=color)
    rows(ax, intervals, ylim=(len(intervals) - 0.4, -0.6), xlabel="difference in bits/dim: left of 0 helps")
    ax.grid(axis="x", color=LIGHT, linewidth=0.8)
    return figure


@styled
def claims_and_truth(curves: Mapping[str, Sequence[Any]], simple: Mapping[str, float]) -> Figure:
    """What training claims in its course (left), and what is true of the same weights (right, another scale).

    curves: the name of an estimator -> for each seed an array of rows (step, claim, truth), in bits/dim; single seeds
    are thin, their mean is thick.  simple: models without a network -> their bits/dim, as lines to compare with.
    """
    titles = ("what training claims (dashed: the truth)", "what is true of the same weights, enlarged")
    figure, axes = beside(titles, (9.6, 4.4), "bits/dim", sharey=False)
    for name, seeds in curves.items():
        colour, seeds = ESTIMATORS[kind(name)], np.stack([np.asarray(rows, dtype=float) for rows in seeds])
        steps, claims, truths = seeds.mean(0).T
        for ax, values, mean in ((axes[0], seeds[:, :, 1], claims), (axes[1], seeds[:, :, 2], truths)):
            ax.plot(steps, values.T, color=colour, linewidth=0.9, alpha=0.4)
            ax.plot(steps, mean, color=colour, linewidth=2.8, label=name)
        axes[0].plot(steps, truths, color=colour, linewidth=1.2, linestyle="--")
        axes[0].fill_between(steps, claims, truths, color=colour, alpha=0.12, linewidth=0)
    for ax in axes:
        ax.set(xlabel="steps of training", xlim=(0, None))
    _floor(axes[0])
    for name, bits in simple.items():
        axes[1].axhline(bits, color=GREY, linestyle=":", linewidth=1.4)
        axes[1].annotate(name, (0.99, bits), xycoords=("axes fraction", "data"), ha="right", va="bottom", color=GREY)
    figure.legend(*axes[1].get_legend_handles_labels(), loc="outside lower center", ncols=max(1, len(curves)))
    return figure


def _floor(ax: Axes) -> None:
    """Grey below 0, where no code length of discrete data can be."""
    low = ax.get_ylim()[0]
    if low < 0:
        ax.set_ylim(low, None)
        ax.axhspan(low, 0, color=LIGHT, alpha=0.6, linewidth=0)
        ax.annotate("below 0: probabilities above 1", (0.03, 0.03), xycoords="axes fraction", color=GREY)


def kind(name: str) -> str:
    """The estimator that a name begins with."""
    return next(kind for kind in ESTIMATORS if name.replace("-", " ").startswith(kind))


@styled
def gaps(ends: Mapping[str, tuple[float, float]]) -> Figure:
    """Where trainings end: a ring at what they claim, a dot at what is true, a line between. ends: name -> the two."""
    figure, ax = plt.subplots(figsize=(8, 0.36 * len(ends) + 1.2))
    for y, (name, (claim, truth)) in enumerate(ends.items()):
        colour = ESTIMATORS[kind(name)]
        ax.plot([claim, truth], [y, y], color=colour, linewidth=2)
        ax.plot(claim, y, "o", color=colour, markerfacecolor="white", markersize=7)
        ax.plot(truth, y, "o", color=colour, markersize=8)
        ax.annotate(f"{truth:.3f}", (1.01, y), xycoords=("axes fraction", "data"), va="center", color=colour)
    for face, label in (("white", "claim"), (GREY, "truth")):
        ax.plot([], [], "o", color=GREY, markerfacecolor=face, label=label)
    rows(ax, ends, ylim=(len(ends) - 0.4, -0.6), xlabel="bits/dim at the end")
    ax.grid(axis="x", color=LIGHT, linewidth=0.8)
    figure.legend(*ax.get_legend_handles_labels(), loc="outside upper right", ncols=2)
    return figure
