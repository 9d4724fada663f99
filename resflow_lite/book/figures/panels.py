"""What several chapters draw: images in a block, points of the plane, panels beside each other, labelled rows."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import AMBER, GREY, LIGHT, ROULETTE, styled

Curves = Mapping[str, Any]
"""label -> numbers"""
Pairs = Mapping[str, tuple[Any, Any]]
"""label -> two numbers, or two arrays of them"""


def array(values: Any) -> np.ndarray:
    """Numbers, or a tensor on whatever device, as an array."""
    return np.asarray(values.detach().cpu() if hasattr(values, "detach") else values, dtype=float)


def beside(titles: Iterable[str], size: tuple[float, float], ylabel: str = "", **settings: Any) -> tuple[Figure, Any]:
    """A figure of this size (inches), and its panels (n,) beside each other with one vertical axis, named once.

    settings: of plt.subplots, such as sharey=False.
    """
    titles = list(titles)
    figure, axes = plt.subplots(1, len(titles), figsize=size, squeeze=False, **dict(sharey=True) | settings)
    for ax, title in zip(axes[0], titles):
        ax.set_title(title)
    axes[0, 0].set_ylabel(ylabel)
    return figure, axes[0]


def plane(ax: Axes, limit: float, **settings: Any) -> None:
    """[-limit, limit]^2, a unit as long up as across.  settings: of the axes."""
    ax.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", **settings)


def rows(ax: Axes, labels: Iterable[str], **settings: Any) -> None:
    """Labels down the left side, the first on top, at 0, 1, 2, ...  settings: of the axes."""
    labels = list(labels)
    ax.set(yticks=range(len(labels)), yticklabels=labels, **dict(ylim=(len(labels) - 0.5, -0.5)) | settings)
    ax.tick_params(axis="y", length=0)


def tile(images: Any, columns: int) -> np.ndarray:
    """(N, C, H, W) -> one picture (rows, columns) or (rows, columns, 3), row by row, one NaN between the images."""
    pictures = np.moveaxis(array(images), 1, -1)
    n, height, width, channels = pictures.shape
    rows = math.ceil(n / columns)
    canvas = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1, channels), np.nan)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * (height + 1), (i % columns) * (width + 1)
        canvas[top : top + height, left : left + width] = picture
    return canvas[..., 0] if channels == 1 else canvas


def show_images(ax: Axes, images: Any, columns: int, vmax: float = 1.0, vmin: float = 0.0) -> None:
    """A block of images (N, C, H, W) in one panel; vmin is white, vmax is black."""
    picture = tile(images, columns)
    if picture.ndim == 3:
        picture = np.nan_to_num(np.clip((picture - vmin) / (vmax - vmin), 0, 1), nan=0.87)
    colours = plt.get_cmap("gray_r").with_extremes(bad=LIGHT)
    ax.imshow(picture, cmap=colours, vmin=vmin, vmax=vmax)
    ax.set_axis_off()


@styled
def image_grid(images: Any, columns: int, title: str = "", vmax: float = 1.0) -> Figure:
    """One block of images (N, C, H, W); 0 is white, vmax is black."""
    rows = math.ceil(len(images) / columns)
    figure, ax = plt.subplots(figsize=(8, 8 * rows / columns + 0.3))
    show_images(ax, images, columns, vmax)
    ax.set_title(title)
    return figure


@styled
def image_rows(blocks: Mapping[str, Any], ranges: Pairs | None = None, columns: int = 0) -> Figure:
    """Labelled blocks of images under one another. ranges: (white, black) of a block where that is not (0, 1)."""
    columns = columns or max(len(images) for images in blocks.values())
    heights = [math.ceil(len(images) / columns) for images in blocks.values()]
    size = (8, 6.4 / columns * sum(heights) + 0.1 * len(blocks))
    figure, axes = plt.subplots(len(blocks), 1, figsize=size, height_ratios=heights, squeeze=False)
    for ax, (label, images) in zip(axes[:, 0], blocks.items()):
        white, black = (ranges or {}).get(label, (0.0, 1.0))
        show_images(ax, images, columns, black, white)
        ax.text(-0.02, 0.5, label, transform=ax.transAxes, ha="right", va="center")
    return figure


@styled
def training_curve(history: Sequence[Mapping[str, Any]], lines: Mapping[str, float]) -> Figure:
    """Bits/dim over steps: training batches, held-out images where they were scored, and lines to compare with.

    history: rows of training.jsonl.
    """
    figure, ax = plt.subplots(figsize=(8, 3.4))
    for style, (name, value) in zip(("--", "-.", ":", (0, (5, 1))), lines.items()):
        ax.axhline(value, color=GREY, linestyle=style, linewidth=1.4, label=f"{name}, {value:.2f}")
    steps, bits = [row["step"] for row in history], [row["bits_per_dim"] for row in history]
    ax.plot(steps, bits, color=ROULETTE, label="training batches", linewidth=1.6)
    scored = [(row["step"], row["validation"]) for row in history if "validation" in row]
    if scored:
        ax.plot(*zip(*scored), color=AMBER, marker="o", markersize=4, linewidth=0.8, label="held-out, averaged weights")
    ax.set(xlabel="step", ylabel="bits/dim")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def diagonal(right: Any, found: Any, xlabel: str, ylabel: str, *, log: bool = False) -> Figure:
    """What was found (n,) against what it should be (n,): points on the line are as they should be."""
    right, found = array(right), array(found)
    figure, ax = plt.subplots(figsize=(4.6, 3.8))
    ends = min(right.min(), found.min()), max(right.max(), found.max())
    ax.plot(ends, ends, color=GREY, linestyle="--", linewidth=1.4)
    ax.scatter(right, found, s=14, color=ROULETTE, alpha=0.6, linewidths=0)
    scale = "log" if log else "linear"
    ax.set(xlabel=xlabel, ylabel=ylabel, xscale=scale, yscale=scale)
    return figure
