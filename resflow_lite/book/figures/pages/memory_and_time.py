"""Figures of what a training step takes, by the way in which blocks are differentiated."""

import math
from collections.abc import Mapping

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..chapter05 import COLOURS, STYLES
from ..style import EXACT, GREY, LIGHT, ROULETTE, SKY, styled

Mode = tuple[str, str]


def _line(ax: Axes, mode: Mode, points: Mapping[int, float]) -> None:
    gradient, memory = mode
    label = f"{gradient}, {memory.replace('_', '-')}"
    style, face = STYLES[gradient]
    colour, width = COLOURS[memory], 5 if mode == ("neumann", "store") else 2  # another line may lie on it
    ax.plot(*zip(*points.items()), style, color=colour, linewidth=width, marker="o", mfc=face or colour, label=label)


@styled
def grid_of_peaks(panels: Mapping[str, tuple[str, Mapping[Mode, Mapping[int, float]]]]) -> Figure:
    """Peak bytes by mode, a panel for each thing that was varied. panels: title -> (axis label, mode -> {x: bytes})."""
    figure, axes = plt.subplots(math.ceil(len(panels) / 2), 2, figsize=(8.5, 7), sharey=True, squeeze=False)
    for ax, (title, (label, by_mode)) in zip(axes.flat, panels.items()):
        for mode, peaks in by_mode.items():
            _line(ax, mode, {x: peak / 1e6 for x, peak in peaks.items()})
        ticks = list(next(iter(by_mode.values())))
        ax.set(xscale="log", yscale="log", xlabel=label, title=title)
        ax.set_xticks(ticks, [str(tick) for tick in ticks])
        ax.xaxis.minorticks_off()
        ax.grid(axis="y", color=LIGHT, linewidth=0.8)
    for ax in axes[:, 0]:
        ax.set_ylabel("peak of a step, MB")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@styled
def savings(
    ratios: Mapping[str, Mapping[int, float]], claim: float, expected: Mapping[str, float], largest: int
) -> Figure:
    """By which factor the peak falls, against the number of terms, and a claimed factor.

    ratios: line -> {terms: factor}.  expected: law -> its mean number of terms.  largest: terms shown.
    """
    figure, ax = plt.subplots(figsize=(8.5, 4.4))
    for (name, points), colour in zip(ratios.items(), (ROULETTE, SKY, COLOURS["recompute"])):
        ax.plot(*zip(*points.items()), color=colour, marker="o", label=name)
    ax.axhline(claim, color=EXACT, linestyle="--", linewidth=1.5)
    ax.text(largest, claim * 0.96, f"{claim:g} times less", color=EXACT, ha="right", va="top")
    for i, (law, mean) in enumerate(expected.items()):
        ax.axvline(mean, color=GREY, linestyle=":", linewidth=1.2)
        ax.text(mean, 0.03 + 0.07 * i, f" {law}", transform=ax.get_xaxis_transform(), color=GREY, fontsize=9.5)
    ax.set(xlabel="terms of the series", ylabel="(series, store) over this mode", yscale="log")
    ticks = [tick for tick in (1, 2, 5, 10, 20, 50) if tick < 1.2 * ax.get_ylim()[1]]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()
    figure.legend(*ax.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


@styled
def time_against_terms(ratios: Mapping[Mode, Mapping[int, float]]) -> Figure:
    """Time of a step by mode, relative to one of them."""
    figure, ax = plt.subplots(figsize=(8.5, 3.8))
    for mode, points in ratios.items():
        _line(ax, mode, points)
    ax.set(xlabel="terms of the series", ylabel="time of a step, relative", ylim=(0, None))
    ax.set_xticks(list(next(iter(ratios.values()))))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def time_and_memory(points: Mapping[Mode, tuple[float, float]]) -> Figure:
    """(time, peak memory) of every mode, relative to one of them."""
    figure, ax = plt.subplots(figsize=(8.5, 3.8))
    for (gradient, memory), (time, peak) in points.items():
        face = STYLES[gradient][1] or COLOURS[memory]
        label = f"{gradient}, {memory.replace('_', '-')}"
        ax.plot(time, peak, "o", color=COLOURS[memory], markerfacecolor=face, markersize=11, label=label)
    ax.set(xlabel="time of a step, relative", ylabel="peak memory, relative", xlim=(0, None), ylim=(0, None))
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
