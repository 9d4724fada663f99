"""The figures of chapter 5: gradients of the log-determinant and the memory that they take."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .panels import beside, plane, rows
from .style import AMBER, EXACT, GREEN, GREY, LIGHT, PINK, ROULETTE, SKY, TRUNCATED, styled

COLOURS = {"store": AMBER, "backward_in_forward": PINK, "recompute": GREEN}
STYLES = {"series": ("--", "none"), "neumann": ("-", None)}
GRADIENTS = {"series": GREY, "neumann": ROULETTE}


@styled
def mountains(steps: Mapping[tuple[str, int], tuple[Sequence[int], int]]) -> Figure:
    """Live bytes after each operation of a training step.

    steps: (gradient, number of terms) -> (bytes, operations in the forward pass).
    """
    figure, ax = plt.subplots(figsize=(8, 3.4))
    for (way, n), (history, forward) in steps.items():
        kilobytes, colour = np.asarray(history) / 1e3, GRADIENTS[way]
        ax.fill_between(range(len(kilobytes)), kilobytes, color=colour, alpha=0.15, linewidth=0)
        ax.plot(kilobytes, color=colour)
        ax.plot(forward - 1, kilobytes[forward - 1], "o", color=colour, markersize=7)
        top = int(kilobytes.argmax())
        ax.annotate(f"{n} terms", (top, kilobytes[top]), (0, 3), textcoords="offset points", color=colour)
    for way in dict.fromkeys(way for way, _ in steps):
        ax.plot([], [], color=GRADIENTS[way], label="Neumann gradient" if way == "neumann" else "backpropagated series")
    ax.plot([], [], "o", color=EXACT, markersize=7, label="end of the forward pass")
    ax.set(xlabel="operation of the training step", ylabel="live tensors, KB", xlim=(0, None))
    ax.margins(y=0.12)
    ax.set_ylim(0, None)
    ax.legend(loc="upper right")
    return figure


@styled
def truncation_errors(terms: Sequence[int], value: Sequence[float], gradient: Sequence[float], rho: float) -> Figure:
    """Relative errors of the truncated value and of its gradient, with rho^n to guide the eye."""
    figure, ax = plt.subplots(figsize=(7.5, 3.4))
    guide = [0.3 * gradient[0] * rho ** (n - terms[0]) for n in terms]
    ax.plot(terms, guide, color=GREY, linestyle=":", linewidth=1.5)
    lines = {"gradient": (gradient, TRUNCATED), r"slope $\rho^n$": (guide, GREY), "value": (value, EXACT)}
    for label, (errors, colour) in lines.items():
        ax.text(terms[-1] + 0.4, errors[-1], label, color=colour, va="center")
        if colour != GREY:
            ax.plot(terms, errors, color=colour, marker="o", markersize=5)
    ax.set(xlabel="terms kept", ylabel="relative error", yscale="log", xlim=(terms[0] - 0.5, 1.16 * terms[-1]))
    ax.set_xticks(terms[4::5])
    return figure


@styled
def draws_of_two(series: Any, neumann: Any, exact: float) -> Figure:
    """One entry of the gradient, draw by draw: both methods against each other, and their histograms."""
    series, neumann = np.asarray(series), np.asarray(neumann)
    low, high = np.quantile(np.concatenate([series, neumann]), (0.002, 0.998))
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.7), width_ratios=[1, 1.2])
    axes[0].plot(series[:1500], neumann[:1500], ".", color=SKY, markersize=3)
    axes[0].plot([low, high], [low, high], color=EXACT, linewidth=1, linestyle="--")
    axes[0].plot(exact, exact, "P", color=EXACT, markersize=11, markeredgecolor="white")
    axes[0].set(xlabel="backpropagated series", ylabel="Neumann", xlim=(low, high), ylim=(low, high), aspect="equal")
    axes[0].set_title("the same draws: close, not equal")
    bins = np.linspace(low, high, 60)
    for values, colour, label in ((series, GRADIENTS["series"], "series"), (neumann, GRADIENTS["neumann"], "Neumann")):
        axes[1].hist(values, bins, histtype="stepfilled", color=colour, alpha=0.3)
        axes[1].hist(values, bins, histtype="step", color=colour, linewidth=1.5)
        look = dict(color=colour, markersize=12, clip_on=False, zorder=5)
        axes[1].plot(values.mean(), 0, "^", label=f"{label}, mean", **look)
    axes[1].axvline(exact, color=EXACT, linewidth=1.5, label="exact gradient")
    axes[1].set(xlabel="entry of the gradient", yticks=[], title="their means agree")
    axes[1].spines["left"].set_visible(False)
    axes[1].legend(loc="upper left")
    return figure


@styled
def which_number(estimates: Mapping[str, tuple[float, float]], truth: float) -> Figure:
    """log(1 + j) against j / (1 + j), and the two as measured: name -> (mean, standard error), the wrong one last."""
    figure, axes = plt.subplots(1, 2, figsize=(8.5, 3.3))
    j = np.linspace(-0.8, 1, 300)
    axes[0].fill_between(j, np.log1p(j), j / (1 + j), color=LIGHT, linewidth=0)
    axes[0].plot(j, np.log1p(j), color=EXACT)
    axes[0].plot(j, j / (1 + j), color=TRUNCATED)
    axes[0].text(0.05, 0.65, "log(1 + j)", color=EXACT)
    axes[0].text(-0.55, -2.0, "j / (1 + j)", color=TRUNCATED)
    axes[0].set(xlabel="j", ylabel="nats", title="in one dimension", xticks=(-0.5, 0, 0.5, 1))
    for i, ((name, (mean, error)), colour) in enumerate(zip(estimates.items(), (ROULETTE, TRUNCATED))):
        axes[1].errorbar(mean, i, xerr=2 * error, fmt="o", color=colour, capsize=4)
        axes[1].annotate(name, (mean, i), (-12, -4), textcoords="offset points", color=colour, ha="right")
    axes[1].axvline(truth, color=EXACT, linestyle="--", linewidth=1.5)
    axes[1].text(truth, 1.75, "exact ", ha="right", color=EXACT)
    axes[1].set(ylim=(-0.4, 2), yticks=[], xlabel="nats", title="for our block, ± 2 standard errors")
    axes[1].margins(x=0.35)
    axes[1].spines["left"].set_visible(False)
    return figure


@styled
def one_weight_for_all(cases: Mapping[str, tuple[Any, Any]]) -> Figure:
    """Entries of a gradient, computed against true, one panel for each case: title -> (true, computed)."""
    figure, axes = beside(cases, (8.5, 3.7), sharey=False)
    for ax, (true, computed) in zip(axes, cases.values()):
        bound = 1.05 * max(np.abs(true).max(), np.abs(computed).max())
        ax.plot([-bound, bound], [-bound, bound], color=EXACT, linewidth=1, linestyle="--")
        ax.plot(true, computed, ".", color=PINK, markersize=3)
        plane(ax, bound, xlabel="true entry of the gradient", ylabel="computed")
        ax.locator_params(nbins=5)
    return figure


@styled
def differences(changes: Mapping[str, Sequence[float]]) -> Figure:
    """Relative differences between gradients on a logarithmic axis, one row for each kind of change; 0 at the edge."""
    figure, ax = plt.subplots(figsize=(8.5, 0.42 * len(changes) + 1.1))
    edge = 1e-17
    for i, (label, values) in enumerate(changes.items()):
        values = np.asarray(values)
        colour = GREEN if values.max() < 1e-10 else ROULETTE if "draw" in label else TRUNCATED
        ax.plot(np.maximum(values, edge), np.full(len(values), i), "o", color=colour, markersize=9, alpha=0.7)
        text = "0" if values.max() == 0 else f"{values.max():.0e}" if values.max() < 1e-3 else f"{values.max():.0%}"
        ax.text(max(values.max(), edge) * 3, i, text, color=colour, va="center")
    ax.axvline(np.finfo(float).eps, color=GREY, linestyle=":", linewidth=1.5)
    ax.text(np.finfo(float).eps, -0.75, "rounding of one number", color=GREY, ha="center", fontsize=10)
    rows(ax, changes, ylim=(len(changes) - 0.5, -0.6), xlabel="relative difference of two gradients")
    ax.set(xscale="log", xlim=(edge / 3, 100))
    ax.set_xticks([edge, 1e-12, 1e-8, 1e-4, 1], ["0", "$10^{-12}$", "$10^{-8}$", "$10^{-4}$", "1"])
    ax.minorticks_off()
    return figure


def _plain_ticks(ax: Axes, ticks: Sequence[float]) -> None:
    """A logarithmic axis with numbers that one can read."""
    low, high = ax.get_ylim()
    shown = [tick for tick in ticks if low <= tick <= high]
    ax.set_yticks(shown, [f"{tick:g}" for tick in shown])
    ax.minorticks_off()


@styled
def bytes_against_terms(
    by_terms: Mapping[tuple[str, str], Mapping[int, int]], by_blocks: Mapping[tuple[str, str], Mapping[int, int]]
) -> Figure:
    """Peak bytes of a training step by (gradient, memory): against the number of terms, and of blocks."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 5), sharey=True, width_ratios=[2.1, 1])
    for ax, found in zip(axes, (by_terms, by_blocks)):
        for (gradient, memory), peaks in found.items():
            line, face = STYLES[gradient]
            megabytes = [peak / 1e6 for peak in peaks.values()]
            look = dict(color=COLOURS[memory], linestyle=line, markerfacecolor=face or COLOURS[memory])
            ax.plot(list(peaks), megabytes, marker="o", markersize=7, **look)
            if ax is axes[0]:
                label = f"{memory.replace('_', '-')} {megabytes[-1]:.1f}"
                ax.text(max(peaks) + 0.4, megabytes[-1], label, color=COLOURS[memory], va="center", fontweight="bold")
        ax.set(yscale="log", axisbelow=True)
        ax.grid(axis="y", color=LIGHT, linewidth=0.8)
        ax.set_xticks(list(next(iter(found.values()))))
    _plain_ticks(axes[0], (1, 2, 5, 10, 20, 50, 100, 200))
    axes[0].set(xlabel="terms of the series", ylabel="peak of a training step, MB")
    axes[0].set_xlim(right=1.5 * axes[0].get_xlim()[1])
    axes[0].set_title("dashed: backpropagated series; solid: Neumann gradient")
    axes[1].set(xlabel="blocks of the model", title="with 8 terms")
    return figure


@styled
def memory_against_time(points: Mapping[tuple[str, str], tuple[float, float]]) -> Figure:
    """(time, peak memory) of every mode, relative to one of them."""
    figure, ax = plt.subplots(figsize=(7.5, 3.8))
    for (gradient, memory), (time, peak) in points.items():
        face = STYLES[gradient][1] or COLOURS[memory]
        ax.plot(time, peak, "o", color=COLOURS[memory], markerfacecolor=face, markersize=11, markeredgewidth=2)
        label = f"{gradient}, {memory.replace('_', '-')}"
        ax.annotate(label, (time, peak), (10, 0), textcoords="offset points", va="center")
    ax.set(xlabel="time of a step, relative to (series, store)", ylabel="peak memory, relative", yscale="log")
    ax.set_xlim(0, 1.5 * max(time for time, _ in points.values()))
    _plain_ticks(ax, (0.02, 0.05, 0.1, 0.2, 0.5, 1))
    return figure
