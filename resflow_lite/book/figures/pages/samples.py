"""Figures of sample quality: how near samples come to training images, and a distance that depends on their number."""

from collections.abc import Mapping
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from ..panels import Curves, Pairs
from ..style import AMBER, EXACT, GREEN, GREY, PINK, ROULETTE, SKY, TRUNCATED, styled

COLOURS = (EXACT, ROULETTE, TRUNCATED, GREEN, AMBER, PINK, SKY)


@styled
def nearest_distances(groups: Mapping[str, Any], xlabel: str) -> Figure:
    """Share of images whose nearest training image lies within a distance, one line for each group."""
    figure, ax = plt.subplots(figsize=(8, 3.6))
    for (name, distances), colour in zip(groups.items(), COLOURS):
        distances = np.sort(np.asarray(distances))
        ax.step(distances, np.arange(1, len(distances) + 1) / len(distances), where="post", color=colour, label=name)
    ax.set(xlabel=xlabel, ylabel="share of images", ylim=(0, 1.02), xlim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def distance_against_number(curves: Curves, limits: Pairs, ylabel: str) -> Figure:
    """A Frechet distance against 1 / (number of samples), with its extrapolation to infinitely many.

    curves: name -> {n: (mean, standard error)}.  limits: name -> (value at 1 / n = 0, standard error).
    """
    figure, ax = plt.subplots(figsize=(8, 4))
    for (name, points), colour in zip(curves.items(), COLOURS[1:]):
        inverse = np.array([1 / n for n in points])
        means, errors = np.array(list(points.values())).T
        ax.errorbar(inverse, means, 2 * errors, fmt="o", color=colour, capsize=3, label=name)
        limit, error = limits[name]
        slope = np.polyfit(inverse, means - limit, 1, w=inverse)[0]
        far = np.array([0, inverse.max()])
        ax.plot(far, limit + slope * far, color=colour, linewidth=1, linestyle="--")
        ax.errorbar([0], [limit], [2 * error], fmt="D", color=colour, markerfacecolor="white", capsize=3, clip_on=False)
    ticks = [1 / n for n in next(iter(curves.values()))]
    ax.set_xticks([0, *ticks], ["∞", *(str(n) for n in next(iter(curves.values())))])
    ax.set(xlabel="number of samples, on a scale of 1 / n", ylabel=ylabel)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def distance_against_temperature(temperatures: Any, distances: Any, floor: float, ylabel: str) -> Figure:
    """(mean, standard error) at each of the temperatures, and what test images themselves get."""
    figure, ax = plt.subplots(figsize=(8, 3.4))
    means, errors = np.array(distances).T
    ax.errorbar(temperatures, means, 2 * errors, fmt="o-", color=ROULETTE, capsize=3)
    ax.axhline(floor, color=EXACT, linestyle="--", linewidth=1.5)
    ax.text(min(temperatures), floor, "test images", color=EXACT, va="bottom")
    ax.set(xlabel="temperature", ylabel=ylabel, ylim=(0, None))
    return figure
