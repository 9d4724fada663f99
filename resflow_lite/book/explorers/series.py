"""What truncating the series costs, and what a roulette makes of it. Everything is in nats per dimension."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from ...errors import SettingsError
from ..figures.style import AMBER, EXACT, GREEN, GREY, LIGHT, ROULETTE, TRUNCATED, styled
from .simulation import Race, noisy_rotation, partial_sums, race, rotation

SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

__all__ = ["truncation_bias", "truncated_against_roulette", "rotation", "noisy_rotation", "race"]


def __getattr__(name: str):
    if name != "block_jacobians":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .flows import block_jacobians  # needs torch, and waits until it is asked for

    return block_jacobians


@styled
def truncation_bias(r: float = 0.8, angle: float = 180, n_terms: int = 5, n_max: int = 30) -> Figure:
    """Partial sums of log det(I + J) for J = r R(angle), angle in degrees, and their distance from the truth.

    Raises SettingsError for r outside [0, 1) and n_terms outside 1 ... n_max.
    """
    if not 1 <= n_terms <= n_max:
        raise SettingsError(f"n_terms={n_terms!r}: expected 1 to n_max={n_max}")
    truth, sums, bound = partial_sums(r, angle, n_max)
    k, angle, bias, here = np.arange(1, n_max + 1), np.deg2rad(angle), sums - truth, n_terms - 1

    figure, axes = plt.subplots(1, 3, figsize=(10.5, 3.8), width_ratios=[1, 2, 2])
    ax = axes[0]
    ax.add_patch(plt.Circle((0, 0), 1, facecolor="none", edgecolor=GREY))
    ax.add_patch(plt.Circle((0, 0), r, facecolor=LIGHT, edgecolor="none"))
    ax.plot(r * np.cos([angle, -angle]), r * np.sin([angle, -angle]), "o", color=EXACT, markersize=8)
    ax.set(xlim=(-1.15, 1.15), ylim=(-1.15, 1.15), aspect="equal", xticks=[-1, 0, 1], yticks=[-1, 0, 1])
    ax.set(xlabel="real part", ylabel="imaginary part", title="eigenvalues of J")

    ax = axes[1]
    ax.axhline(truth, color=EXACT, linestyle="--", linewidth=1.5)
    ax.plot(k, sums, color=TRUNCATED, marker="o", markersize=3.5, linewidth=1)
    ax.plot([n_terms, n_terms], [truth, sums[here]], color=AMBER, linewidth=4, solid_capstyle="butt", zorder=0)
    ax.plot(n_terms, sums[here], "o", color=TRUNCATED, markersize=9)
    ax.text(1.01, truth, "truth", transform=ax.get_yaxis_transform(), va="center")
    ax.set(xlabel="number of terms", ylabel="nats per dimension", title="the truncated series")
    ax.margins(y=0.12)

    ax = axes[2]
    ax.semilogy(k, bound, color=GREY, linestyle=":", label="worst J of this norm, −r I")
    ax.semilogy(k, abs(bias), color=TRUNCATED, marker="o", markersize=3.5, linewidth=1, label="this J")
    ax.semilogy(n_terms, abs(bias[here]), "o", color=TRUNCATED, markersize=9)
    ax.set(xlabel="number of terms", ylabel="|bias|, nats per dimension", ylim=(1e-6, 10))
    _decades(ax.yaxis)
    ax.set_title(f"bias with {n_terms} terms: {_signed(bias[here])}")
    ax.legend(loc="lower left")
    return figure


@styled
def truncated_against_roulette(race: Race) -> Figure:
    """Truncation and roulette at equal cost: errors of running means, one run with its error bars, its single draws."""
    figure = plt.figure(figsize=(10.5, 6.1), layout="none")  # placed by hand: twice as fast under a slider
    grid = figure.add_gridspec(2, 2, width_ratios=[3, 2], left=0.085, right=0.965, bottom=0.09, top=0.79, wspace=0.25)
    grid.update(hspace=0.6)
    _errors(figure.add_subplot(grid[:, 0]), race)
    _one_run(figure.add_subplot(grid[0, 1]), race)
    _single_draws(figure.add_subplot(grid[1, 1]), race)
    title = "Same cost. One is wrong forever; one is right on average; one only looks right."
    figure.text(0.01, 0.98, title, va="top", fontsize=13, fontweight="bold")
    finite = race.rho**2 < race.limit
    variance, sign = ("finite", "<") if finite else ("INFINITE", "≥")
    badge = f"{race.coverage:.0%} of the roulette's nominal 95% intervals contain the truth"
    badge += f";  variance {variance}: ρ² = {race.rho**2:.2g} {sign} {race.limit:.2g}"
    box = dict(boxstyle="round,pad=0.4", facecolor="white", edgecolor=GREEN if finite else TRUNCATED, linewidth=2)
    figure.text(0.018, 0.89, badge, va="center", bbox=box)
    return figure


def _errors(ax: Axes, race: Race) -> None:
    errors = np.maximum(abs(race.roulette_means - race.truth), 1e-12)
    constant = np.maximum(np.median(abs(race.truncated_means - race.truth), 0), 1e-12)
    ax.loglog(race.counts, errors.T, color=ROULETTE, linewidth=0.6, alpha=0.35)
    ax.loglog(race.counts, np.median(errors, 0), color=ROULETTE, linewidth=2.5)
    ax.loglog(race.counts, constant, color=TRUNCATED, linewidth=2.5)
    top = 10.0 ** np.ceil(np.log10(errors.max()) + 0.3)  # room for the labels
    ax.set(xlim=(1, race.counts[-1]), ylim=(1e-5 * top, top))
    ax.set(xlabel="draws", ylabel="|running mean − truth|, nats per dimension")
    _decades(ax.xaxis)
    _decades(ax.yaxis)
    place = dict(transform=ax.transAxes, ha="right", va="top")
    ax.text(0.99, 0.99, f"truncated, {race.n_terms} products: bias {_signed(race.bias)}", color=TRUNCATED, **place)
    label = f"roulette, {race.products:.3g} products on average: 30 runs, their median"
    ax.text(0.99, 0.94, label, color=ROULETTE, **place)


def _one_run(ax: Axes, race: Race) -> None:
    mean, reach = race.roulette_means[0], 2 * race.errors
    ax.fill_between(race.counts, mean - reach, mean + reach, color=ROULETTE, alpha=0.25, linewidth=0)
    ax.semilogx(race.counts, mean, color=ROULETTE)
    ax.semilogx(race.counts, race.truncated_means[0], color=TRUNCATED)
    ax.axhline(race.truth, color=EXACT, linestyle="--", linewidth=1.5)
    half = 2 * max(abs(race.bias), reach[race.counts >= 100].max())
    ax.set(xlim=(10, race.counts[-1]), ylim=(race.truth - half, race.truth + half))
    ax.set(xlabel="draws", ylabel="nats per dim.", title="one run: mean ± 2 standard errors")
    _decades(ax.xaxis)


def _single_draws(ax: Axes, race: Race) -> None:
    """The histogram of one run; its 0.1 % on either side are ticks, and counted where they lie outside the picture."""
    draws = np.sort(race.draws)
    tail = len(draws) // 1000
    low, high = min(draws[tail], race.truth), max(draws[-tail - 1], race.truth)
    margin = 0.25 * (high - low) + 0.01
    left, right = low - margin, high + margin
    ax.hist(draws, bins=80, range=(low - 1e-9, high + 1e-9), color=ROULETTE)
    rare = np.concatenate([draws[:tail], draws[-tail:]])
    ax.vlines(rare, 0, 0.09, color=EXACT, linewidth=1, transform=ax.get_xaxis_transform())
    ax.axvline(race.truth, color=EXACT, linestyle="--", linewidth=1.5)
    ax.axvline(race.truncated, color=TRUNCATED, linewidth=1.5)
    sides = (
        (0.02, "left", "◂ {} down to {}", draws[draws < left]),
        (0.98, "right", "{} up to {} ▸", draws[draws > right][::-1]),
    )
    for x, side, words, beyond in sides:
        if len(beyond):
            words = words.format(len(beyond), _signed(beyond[0]))
            ax.text(x, 0.12, words, transform=ax.transAxes, ha=side, fontsize=10)
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.set(xlim=(left, right), xlabel="one estimate, nats per dimension", ylabel="draws")
    ax.set_title(f"{len(draws):,} draws, largest |weight × term| {race.largest_term:,.3g}")


def _decades(axis: Axis) -> None:
    """Powers of ten without mathtext, which would take most of a redraw."""
    axis.set_major_formatter(lambda value, position: "10" + str(round(np.log10(value))).translate(SUPERSCRIPT))
    axis.set_minor_locator(NullLocator())


def _signed(value: float) -> str:
    return f"{value:+{',.0f' if abs(value) >= 100 else '.3g'}}".replace("-", "−")
