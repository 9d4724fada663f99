"""Figures of chapter 9: one network for the density and the label."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .panels import array, beside, rows, tile
from .style import AMBER, EXACT, GREEN, GREY, LIGHT, PINK, ROULETTE, SKY, TRUNCATED, styled

WEIGHTS = {"0": SKY, "1/D": GREEN, "1": PINK}
"""Colours of the three lambdas."""
KINDS = {"residual": (ROULETTE, "o"), "coupling": (AMBER, "s"), "coupling+1x1": (GREY, "D")}


@styled
def one_direction(degrees: Any, density: Any, label: Any, weights: Mapping[str, float]) -> Figure:
    """Mean log p(x) and log p(y | x), nats, of the best model for each direction; their weighted sums and its best."""
    degrees, density, label = array(degrees), array(density), array(label)
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.7))
    left.plot(degrees, density - density.max(), color=EXACT, label="mean log p(x)")
    left.plot(degrees, label - label.max(), color=TRUNCATED, label="mean log p(y | x)")
    left.set(xlabel="direction, degrees", ylabel="nats below the best", title="two parts, two favourites")
    for name, weight in weights.items():
        total = weight * density + label
        total = (total - total.max()) / (total.max() - total.min())
        right.plot(degrees, total, color=WEIGHTS[name], label=f"λ = {name}")
        right.plot(degrees[total.argmax()], 0, "*", color=WEIGHTS[name], markersize=15, clip_on=False)
    right.set(xlabel="direction, degrees", ylabel="rescaled", title="λ log p(x) + log p(y | x)")
    for ax in (left, right):
        ax.set_xticks([0, 45, 90, 135, 180])
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.25), ncols=3, columnspacing=1.2)
    return figure


@styled
def worth_of_labels(labels: Mapping[str, float], gaps: Mapping[str, float]) -> Figure:
    """Bits/dim that knowing every label is worth, by data set, beside the gap between two published densities."""
    figure, ax = plt.subplots(figsize=(8, 0.5 * len(labels) + 1.1))
    ax.plot(list(labels.values()), range(len(labels)), "o", color=TRUNCATED, markersize=9, label="all labels known")
    found = [(gap, row) for row, name in enumerate(labels) if (gap := gaps.get(name)) is not None]
    ax.plot(*zip(*found), "D", color=EXACT, markersize=8, label="Residual Flow ahead of Glow (paper)")
    for value, row in [*zip(labels.values(), range(len(labels))), *found]:
        ax.annotate(f"{value:.4f}", (value, row), (0, 8), textcoords="offset points", ha="center", fontsize=9)
    rows(ax, labels, xscale="log", xlabel="bits/dim", xlim=(6e-4, 0.15), ylim=(len(labels) - 0.4, -0.7))
    ax.legend(loc="upper left", fontsize=9)
    return figure


@styled
def gradient_norms(steps: Sequence[int], density: Sequence[float], label: Sequence[float], dims: int) -> Figure:
    """Norms of the gradients of both parts with respect to what they share, over training."""
    figure, ax = plt.subplots(figsize=(8, 3.3))
    density = np.asarray(density)
    ax.plot(steps, density, color=WEIGHTS["1"], marker="^", label="∇ log p(x), as λ = 1 adds it")
    ax.plot(steps, density / dims, color=WEIGHTS["1/D"], marker="o", label=f"1/{dims} of it, as λ = 1/D adds it")
    ax.plot(steps, label, color=TRUNCATED, marker="s", label="∇ log p(y | x)")
    ax.set(yscale="log", xlabel="step", ylabel="norm of the gradient", title="what pulls at the shared layers")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def learning_curves(records: Mapping[str, Sequence[tuple[float, float, float]]], top: float) -> Figure:
    """Accuracy and bits/dim on test images over training. records: lambda -> (step, accuracy, bits/dim).

    top: of the axis of bits/dim; what lies above is drawn at its edge.
    """
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.3))
    for name, record in records.items():
        step, accuracy, bits = np.array(record).T
        left.plot(step, 100 * (1 - accuracy).clip(1e-3), color=WEIGHTS[name], label=f"λ = {name}")
        right.plot(step, bits.clip(max=top), color=WEIGHTS[name], label=f"λ = {name}")
    left.set(yscale="log", xlabel="step", ylabel="wrong labels, %", title="the classifier")
    right.set(xlabel="step", ylabel="bits/dim", title="the density", ylim=(None, top * 1.02))
    left.set_yticks([1, 3, 10, 30, 90], ["1", "3", "10", "30", "90"])
    left.minorticks_off()
    left.legend(loc="lower left")
    return figure


@styled
def accuracy_against_bits(points: Mapping[tuple[str, str], tuple[Sequence[float], Sequence[float | None]]]) -> Figure:
    """The figure of the chapter. points: (kind, lambda) -> accuracies and bits/dim of the seeds; None for lambda = 0.

    Small dots: seeds. Large ones: means, with standard errors over the seeds. A line joins the lambdas of a kind.
    """
    figure, (alone, both) = plt.subplots(1, 2, figsize=(9, 4.4), width_ratios=(1, 3.2), sharey=True)
    kinds = list(dict.fromkeys(kind for kind, _ in points))
    means: dict[str, list[tuple[float, float]]] = {}
    groups: dict[str, list[tuple[float, float, float]]] = {}
    for (kind, weight), (accuracy, bits) in points.items():
        colour, marker = KINDS[kind]
        accuracy = 100 * np.asarray(accuracy)
        trained = weight != "0"
        x = np.asarray(bits, float) if trained else np.full(len(accuracy), float(kinds.index(kind)))
        ax, n = (both if trained else alone), len(accuracy)
        error = [values.std(ddof=1) / n**0.5 if n > 1 else 0.0 for values in (x, accuracy)]
        jitter = np.linspace(-0.25, 0.25, n) if not trained and n > 1 else 0.0
        ax.plot(x + jitter, accuracy, marker, color=colour, markersize=4, alpha=0.45, markeredgewidth=0)
        look = dict(markersize=10, capsize=3, markeredgecolor="white", zorder=3)
        ax.errorbar(x.mean(), accuracy.mean(), error[1], error[0] if trained else None, marker, color=colour, **look)
        if trained:
            means.setdefault(kind, []).append((x.mean(), accuracy.mean()))
            groups.setdefault(weight, []).append((x.mean(), accuracy.max(), accuracy.min()))
    for kind, line in means.items():
        both.plot(*zip(*line), color=KINDS[kind][0], linewidth=1.2, alpha=0.6, zorder=1)
    for weight, group in groups.items():
        x, top, bottom = np.array(group).T
        above = (x.mean(), top.max()), (0, 6), dict(ha="center", va="bottom")
        beside_it = (x.max(), bottom.min()), (14, 0), dict(va="center")  # for λ = 1, above which there is no room
        place, offset, look = beside_it if weight == "1" else above
        both.annotate(f"λ = {weight}", place, offset, textcoords="offset points", fontsize=12, **look)
    alone.set(xlim=(-0.7, len(kinds) - 0.3), xticks=[], title="λ = 0")
    alone.set(xlabel="no density trained", ylabel="accuracy on test images, %")
    both.set(xlabel="bits/dim on test images  (better to the left)", title="λ > 0: the same blocks do both")
    handles = [Line2D([], [], color=KINDS[k][0], marker=KINDS[k][1], linestyle="", markersize=9) for k in kinds]
    both.legend(handles, [f"{kind} blocks" for kind in kinds], loc="lower left")
    both.margins(0.08, 0.18)
    both.tick_params(labelleft=True)
    return figure


@styled
def calibration_errors(made: Sequence[float], measured: Mapping[str, Sequence[float]]) -> Figure:
    """Calibration errors of made-up classifiers, as measured against as made: points on the line are as they should be.
    measured: two ways, by name; the first is drawn as rings."""
    figure, ax = plt.subplots(figsize=(6.4, 3.4))
    ax.plot(made, made, color=GREY, linestyle="--", linewidth=1.4)
    looks = dict(color=EXACT, markerfacecolor="none", markersize=11), dict(color=ROULETTE, markersize=6)
    for (name, values), look in zip(measured.items(), looks):
        ax.plot(made, values, "o", label=name, **look)
    ax.set(xlabel="calibration error, as made", ylabel="as measured", xticks=made)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def reliability_diagrams(models: Mapping[str, tuple[Any, Any, Any]], errors: Mapping[str, float]) -> Figure:
    """Accuracy against confidence in equal bins. models: name -> reliability(...).  errors: calibration errors."""
    titles = [f"{name}: error {errors[name]:.3f}" for name in models]
    figure, axes = beside(titles, (3.1 * len(models), 3.4), "accuracy")
    for ax, bins in zip(axes, models.values()):
        confidence, accuracy, counts = map(array, bins)
        ax.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2)
        for x, y in zip(confidence, accuracy):
            ax.plot([x, x], [x, y], color=TRUNCATED, linewidth=2.5, alpha=0.7)
        ax.scatter(confidence, accuracy, s=12 + 250 * np.sqrt(counts / counts.sum()), color=EXACT, zorder=3)
        ax.set(xlabel="confidence", xlim=(0, 1.05), ylim=(-0.03, 1.06))
    return figure


@styled
def density_histograms(known: Any, strange: Mapping[str, tuple[Any, Any]], title: str) -> Figure:
    """Histograms of log p(x) in nats: test images in grey, altered ones in blue. strange: name -> images, scores."""
    known = array(known)
    scores = {name: array(values) for name, (_, values) in strange.items()}
    low = known.min() - 2 * (known.max() - known.min())
    edges = np.linspace(low, max(known.max(), *(values.max() for values in scores.values())), 60)
    highest = 1.6 * np.histogram(known, edges, density=True)[0].max()
    figure, axes = plt.subplots(len(strange), 2, figsize=(9, 1.25 * len(strange) + 0.6), width_ratios=(1, 2.6))
    for row, (name, (images, _)) in zip(axes, strange.items()):
        row[0].imshow(tile(images[:8], columns=8), vmin=0, vmax=1)
        row[0].set_title(name, fontsize=10)
        row[0].axis("off")
        row[1].hist(known, edges, color=LIGHT, density=True)
        row[1].hist(scores[name].clip(low), edges, color=ROULETTE, density=True, histtype="step", linewidth=1.6)
        row[1].set(yticks=[], ylim=(0, highest))
        row[1].spines["left"].set_visible(False)
    axes[0, 1].set_title(title)
    axes[-1, 1].set_xlabel("log p(x), nats  (leftmost bin: all below)")
    return figure
