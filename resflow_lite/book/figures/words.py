"""What a figure shows, in words and numbers, for those who do not see it: its alternative text, made from its data."""

import re

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from .numbers import write_number

PANELS, SERIES, LONGEST = 6, 8, 1500
"""Panels, series of a panel, and characters that a listener can be asked for."""
MARKUP = re.compile(r"\\(?:mathrm|mathbf|text|left|right|,|!|;)|[${}\\]")


def describe(figure: Figure) -> str:
    """What the figure is about (its label, which `styled` sets), then each panel: axes, and the ends and extremes of
    what is drawn in it."""
    panels = [axes for axes in figure.axes if axes.get_visible() and axes.get_label() != "<colorbar>"]
    told = [words for axes in panels[:PANELS] if (words := _panel(axes))]
    if len(told) > 1:
        told = [f"Panel {i}: {words}" for i, words in enumerate(told, start=1)]
    if len(panels) > PANELS:
        told.append(f"And {len(panels) - PANELS} panels more.")
    if not told and not any(axes.texts for axes in panels):  # texts alone are what the label tells of
        told = ["A figure without lines, bars, points or images."]
    text = " ".join([_ended(_plain(figure.get_label())), _ended(_plain(figure.get_suptitle())), *told])
    text = re.sub(r"\s+", " ", text).strip()
    return text if len(text) <= LONGEST else text[: LONGEST - 4].rsplit(" ", 1)[0] + " ..."


def _panel(axes: Axes) -> str:
    titles = [axes.get_title(loc) for loc in ("left", "center", "right")]
    title = next((_plain(t) for t in titles if t), "")
    found = [*_bars(axes), *_lines(axes), *_points(axes), *_images(axes)]
    if len(found) > SERIES:
        found = [*found[:SERIES], f"and {len(found) - SERIES} more"]
    scales = [] if axes.images or not axes.axison else [_scale(axes, "x"), _scale(axes, "y")]
    sentences = [title, "; ".join(s for s in scales if s), "; ".join(found)]
    return " ".join(_ended(s[:1].upper() + s[1:]) for s in sentences if s)


def _scale(axes: Axes, name: str) -> str:
    """Label and range of an axis."""
    label = _plain(getattr(axes, f"get_{name}label")())
    low, high = sorted(getattr(axes, f"get_{name}lim")())
    log = " (logarithmic)" if getattr(axes, f"get_{name}scale")() == "log" else ""
    return f"{name}{f', {label},' if label else ''} from {low:.3g} to {high:.3g}{log}"


def _lines(axes: Axes) -> list[str]:
    """Lines with a name, and how many there are without."""
    told, others = [], 0
    for line in axes.lines:
        y = np.asarray(line.get_ydata(), dtype=float)
        y = y[np.isfinite(y)]
        if _unnamed(line) or not len(y):
            others += len(y) > 0
        elif len(y) == 1 or np.ptp(y) == 0:
            told.append(f"{_plain(line.get_label())} at {y[0]:.3g}")
        else:
            inside = "" if {y.min(), y.max()} <= {y[0], y[-1]} else f", between {y.min():.3g} and {y.max():.3g}"
            told.append(f"{_plain(line.get_label())} from {y[0]:.3g} to {y[-1]:.3g}{inside}")
    return told + ([_count(others, "line")] if others else [])


def _bars(axes: Axes) -> list[str]:
    """Bars, by the names under them where they have some."""
    told = []
    for bars in (c for c in axes.containers if isinstance(c, BarContainer)):
        upright = bars.orientation != "horizontal"
        sizes = [bar.get_height() if upright else bar.get_width() for bar in bars]
        names = [_plain(t.get_text()) for t in (axes.get_xticklabels() if upright else axes.get_yticklabels())]
        label = "" if _unnamed(bars) else f"{_plain(bars.get_label())}: "
        if len(names) == len(sizes) <= 12 and all(names):
            told.append("bars, " + label + ", ".join(f"{name} {size:.3g}" for name, size in zip(names, sizes)))
        elif sizes:
            told.append(f"{label}{len(sizes)} bars from {min(sizes):.3g} to {max(sizes):.3g}")
    return told


def _points(axes: Axes) -> list[str]:
    """Clouds of points, and filled areas that have a name."""
    told, others = [], 0
    for drawn in axes.collections:
        if isinstance(drawn, PathCollection) and len(drawn.get_offsets()):
            n = len(drawn.get_offsets())
            told.append(f"{_count(n, 'point')}{'' if _unnamed(drawn) else f', {_plain(drawn.get_label())}'}")
        elif isinstance(drawn, PolyCollection) and not _unnamed(drawn):
            told.append(f"a band, {_plain(drawn.get_label())}")
        else:
            others += 1
    return told + ([_count(others, "set") + " of lines or areas"] if others else [])


def _images(axes: Axes) -> list[str]:
    told = []
    for image in axes.images:
        values = np.ma.filled(np.ma.asarray(image.get_array(), dtype=float), np.nan)
        rows, columns = values.shape[:2]
        told.append(f"an image of {rows} by {columns}, values {np.nanmin(values):.3g} to {np.nanmax(values):.3g}")
    return told


def _ended(words: str) -> str:
    return f"{words.removesuffix('.')}." if words else ""


def _unnamed(drawn) -> bool:
    label = drawn.get_label()
    return not isinstance(label, str) or not label or label.startswith("_")


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' if n != 1 else ''}"


def _plain(text: str) -> str:
    """Without the marks of formulas, which a voice would spell out."""
    return re.sub(r"\s+", " ", MARKUP.sub(" ", text or "")).strip()


def show_with_words() -> None:
    """Every figure that a notebook shows from now on carries its description, where JupyterLab, nbconvert and the site
    look for one: in the output's metadata, image/png, alt. So does its number, where a chapter has asked for numbers
    (see numbers.py). Without a notebook nothing happens."""
    try:
        shell = get_ipython()  # type: ignore[name-defined]
    except NameError:
        return
    formatter = shell.display_formatter.mimebundle_formatter

    def with_words(figure: Figure, **_: object) -> tuple[dict, dict]:
        if not figure.axes and not figure.lines:
            return {}, {}  # IPython makes no picture of it
        number = write_number(figure, shell)  # before the picture is made of the figure
        return {}, {"image/png": {"alt": f"{number}{describe(figure)}"}}

    formatter.for_type(Figure, with_words)
