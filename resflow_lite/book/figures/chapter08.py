"""The figures of chapter 8: images, layers, and what a reported bits/dim is made of."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from .panels import array, beside, rows, show_images
from .style import AMBER, EXACT, GREEN, GREY, LIGHT, PINK, ROULETTE, SKY, TRUNCATED, styled

LAYER_COLOURS = {"Logit": GREEN, "ActNorm": SKY, "Squeeze": AMBER, "Flatten": AMBER}


@styled
def point_masses(widths: Any, raw: Any, dequantised: Any, floor: float) -> Figure:
    """Bits per pixel of a density made of narrow bumps, against the width of the bumps."""
    figure, ax = plt.subplots(figsize=(7.5, 3.4))
    ax.plot(widths, raw, color=TRUNCATED, label="scored on the integers")
    ax.plot(widths, dequantised, color=ROULETTE, label="scored after dequantisation")
    ax.axhline(floor, color=EXACT, linestyle="--", linewidth=1.2, label="entropy of the levels: no code is shorter")
    ax.axhline(0, color=LIGHT, linewidth=1, zorder=0)
    ax.set(xscale="log", ylim=(min(array(raw)) - 0.5, min(8.0, max(array(dequantised)))), ylabel="bits per pixel")
    ax.set(xlabel="width of the bumps, in levels (narrower to the right)")
    ax.invert_xaxis()
    ax.legend(loc="lower left")
    return figure


@styled
def logit_map(before: Any, after: Any) -> Figure:
    """Histograms of pixel values before and after the logit."""
    figure, axes = beside(("the pixels end at two walls", "and now they do not"), (8, 2.8), sharey=False)
    for ax, values, colour, label in zip(axes, (before, after), (AMBER, GREEN), ("x", "logit of x")):
        ax.hist(array(values).ravel(), bins=85, density=True, color=colour)
        ax.set(xlabel=label, yticks=[])
        ax.spines["left"].set_visible(False)
    return figure


@styled
def squeeze_map(before: Any, after: Any) -> Figure:
    """A one-channel image of numbers, and the channels that a squeeze makes of it; equal numbers, equal colours."""
    before, after = array(before), array(after)
    size = before.shape[-1]
    # a colour for the place inside a 2 x 2 patch
    place = {before[i, j]: 2 * (i % 2) + j % 2 for i in range(size) for j in range(size)}
    colours = (SKY, AMBER, GREEN, PINK)
    figure, axes = plt.subplots(1, 1 + len(after), figsize=(8, 2.2), width_ratios=[2] + [1] * len(after))
    titles = ["1 channel"] + [f"channel {c}" for c in range(len(after))]
    for ax, grid, title in zip(axes, [before, *after], titles):
        height, width = grid.shape
        for (i, j), number in np.ndenumerate(grid):
            ax.add_patch(plt.Rectangle((j, i), 1, 1, facecolor=colours[place[number]], edgecolor="white", linewidth=2))
            ax.text(j + 0.5, i + 0.5, f"{number:.0f}", ha="center", va="center")
        ax.set(xlim=(0, width), ylim=(height, 0), aspect="equal", title=title)
        ax.set_axis_off()
    return figure


@styled
def layer_list(layers: Sequence[tuple[str, tuple[int, ...], int]]) -> Figure:
    """A model from top to bottom. layers: (name, shape after the layer, parameters)."""
    figure, ax = plt.subplots(figsize=(7.5, 0.24 * len(layers) + 0.4))
    most = max(parameters for *_, parameters in layers) or 1
    for i, (name, shape, parameters) in enumerate(layers):
        colour = LAYER_COLOURS.get(name, ROULETTE if "residual" in name else LIGHT)
        ax.add_patch(plt.Rectangle((0, i + 0.08), 2.6, 0.84, color=colour, linewidth=0))
        dark = colour in (ROULETTE, GREEN)
        ax.text(1.3, i + 0.5, name, ha="center", va="center", color="white" if dark else "black", fontsize=9.5)
        ax.text(2.8, i + 0.5, " x ".join(str(s) for s in shape), va="center", fontsize=9.5)
        ax.barh(i + 0.5, 2.6 * parameters / most, left=4.2, height=0.6, color=LIGHT)
        ax.text(4.25, i + 0.5, f"{parameters:,}", va="center", fontsize=9.5)
    for left, heading in ((0, "layer"), (2.8, "shape after it"), (4.2, "parameters")):
        ax.text(left, -0.5, heading, va="center", fontweight="bold", fontsize=10)
    ax.set(xlim=(0, 6.9), ylim=(len(layers), -1))
    ax.set_axis_off()
    return figure


@styled
def cost_per_image(bits: Any, images: Any, extremes: int = 6) -> Figure:
    """How many bits each image costs: the histogram, and the cheapest and the most expensive images."""
    bits = array(bits)
    order = np.argsort(bits)
    figure, axes = plt.subplots(1, 3, figsize=(8, 2.7), width_ratios=[1, 2.4, 1])
    axes[1].hist(bits, bins=30, color=SKY)
    axes[1].axvline(bits.mean(), color=EXACT, linestyle="--", linewidth=1.5)
    axes[1].text(bits.mean(), 1.0, "mean", va="bottom", ha="center", transform=axes[1].get_xaxis_transform())
    axes[1].set(xlabel="bits/dim of one image", ylabel="images")
    for ax, chosen, title in ((axes[0], order[:extremes], "cheapest"), (axes[2], order[-extremes:], "most expensive")):
        show_images(ax, images[chosen.tolist()], 2)
        ax.set_title(title, loc="center")
    return figure


@styled
def error_budget(noise: Mapping[str, float], bias: Mapping[str, float], yardsticks: Mapping[str, float]) -> Figure:
    """Sizes of the errors of a reported bits/dim on one logarithmic axis, beside differences that people publish.

    noise: one standard error each.  bias: signed; the sign is printed.
    """
    errors = [(name, value, ROULETTE) for name, value in noise.items()]
    errors += [(name, value, TRUNCATED) for name, value in bias.items()]
    # an error of zero has no place on this axis: it is drawn as nothing, at the left end
    smallest = max(1e-8, min(abs(value) for _, value, _ in errors))
    figure, ax = plt.subplots(figsize=(8, 0.36 * len(errors) + 1.3))
    left = 10 ** math.floor(math.log10(smallest)) / 2
    for i, (name, value, colour) in enumerate(errors):
        ax.barh(i, max(0.0, abs(value) - left), left=left, height=0.66, color=colour)
        sign = "±" if name in noise else "+" if value > 0 else "−"
        label = ax.text(max(abs(value), left) * 1.12, i, f"{sign}{abs(value):.2g}", va="center", fontsize=10)
        label.set_bbox(dict(facecolor="white", edgecolor="none", pad=1))
    for name, value in yardsticks.items():
        ax.axvline(value, color=GREY, linestyle=":", linewidth=1.5, zorder=0)
        ax.text(value, -0.75, name, ha="center", va="bottom", color=GREY, fontsize=10)
    right = 3 * max(left, *(abs(value) for _, value, _ in errors))
    ax.set(xscale="log", xlim=(left, right), xlabel="bits/dim")
    rows(ax, [name for name, *_ in errors], ylim=(len(errors) - 0.5, -0.7))
    return figure


@styled
def estimator_errors(exact: Any, estimates: Mapping[str, tuple[Any, Any]]) -> Figure:
    """Per block: the exact log-determinant (top), and estimates minus exact with bars of two standard errors (bottom).

    estimates: name -> (mean of estimate - exact, standard error), each (n_blocks,). A name that starts with "roulette"
    has that estimator's colour, all others are truncations in lighter and darker orange.
    """
    exact = array(exact)
    blocks = np.arange(1, len(exact) + 1)
    figure, axes = plt.subplots(2, 1, figsize=(8, 4.6), sharex=True, height_ratios=[1, 1.9])
    axes[0].bar(blocks, exact, color=EXACT, width=0.6)
    axes[0].axhline(0, color=EXACT, linewidth=0.8)
    axes[0].set(ylabel="nats", title="exact log-determinant of each block, mean over images")
    orange = iter((AMBER, TRUNCATED, PINK))
    markers = iter("sv^D")
    for i, (name, (error, standard_error)) in enumerate(estimates.items()):
        colour, marker = (ROULETTE, "o") if name.startswith("roulette") else (next(orange), next(markers))
        offset = 0.22 * (i - (len(estimates) - 1) / 2)
        look = dict(fmt=marker, color=colour, capsize=3, markersize=5, linewidth=1.5)
        axes[1].errorbar(blocks + offset, array(error), 2 * array(standard_error), label=name, **look)
    axes[1].axhline(0, color=EXACT, linewidth=0.8)
    axes[1].set(xlabel="block", ylabel="nats", title="estimate minus exact, ± 2 standard errors", xticks=blocks)
    axes[1].legend(ncols=len(estimates), loc="upper right")
    return figure


@styled
def where_the_bits_go(parts: Mapping[str, float], images: Any, columns: int, title: str) -> Figure:
    """Samples beside the bill: bits/dim by part of the model, from the price of raw pixels to the total.

    parts: signed contributions in bits/dim, in the order of the model; they add up to the total.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.3), width_ratios=[1, 1.25])
    show_images(axes[0], images, columns)
    axes[0].set_title(title)
    ax, level = axes[1], 0.0
    for i, (name, value) in enumerate(parts.items()):
        ax.barh(i, value, left=level, height=0.7, color=TRUNCATED if value > 0 else GREEN)
        right = max(level, level + value)
        ax.text(right, i, f" {value:+.2f}".replace("-", "−"), va="center", fontsize=10)
        level += value
        ax.plot([level, level], [i - 0.35, i + 1.35], color=GREY, linewidth=1)
    ax.barh(len(parts), level, height=0.7, color=EXACT)
    ax.text(level, len(parts), f" {level:.2f}", va="center", fontsize=10, fontweight="bold")
    ax.axvline(0, color=EXACT, linewidth=0.8)
    rows(ax, [*parts, "bits/dim"], xlabel="bits/dim", title="where the bits go: costs (orange), savings (green)")
    ax.margins(x=0.14)
    return figure
