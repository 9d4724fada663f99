"""A map of the line through five heights, and what it does to mass. js/mass_through_map.js has the same numbers."""

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from scipy.interpolate import CubicHermiteSpline
from scipy.special import ndtr

from ...errors import SettingsError
from ..figures.style import AMBER, EXACT, GREEN, ROULETTE, styled

KNOTS = np.arange(-2.0, 3.0)
HEIGHTS = (-2.0, -1.5, 0.0, 1.5, 2.0)
LIMIT = 3.0  # of the x that the picture shows


def through_map(heights: Sequence[float], left: float = 0.5, width: float = 1.0) -> dict[str, np.ndarray]:
    """The rising map f with f(-2), ..., f(2) = heights, and the density p(x) = N(f(x)) f'(x) of x, if f(x) is normal.

    Between its knots f is a cubic; its slope at a knot is the mean of the neighbouring rises, or twice the smaller if
    that is less, so that f rises everywhere (Fritsch and Carlson 1980). Outside f is straight.
    Returns, on 241 points of [-3, 3]: x, f, slope, density, base = N(f(x)). And of the interval
    [left, left + width]: images, its ends in z, and its mass. area: that under the base, over the whole line.
    Raises SettingsError for heights that do not rise.
    """
    heights = np.asarray(heights, float)
    rise = np.diff(heights)
    if heights.shape != KNOTS.shape or not (rise > 0).all():
        raise SettingsError(f"heights={heights.tolist()}: expected five that rise, so that f can be undone")
    inner = np.minimum((rise[:-1] + rise[1:]) / 2, 2 * np.minimum(rise[:-1], rise[1:]))
    slopes = np.concatenate([rise[:1], inner, rise[-1:]])
    cubic = CubicHermiteSpline(KNOTS, heights, slopes)

    def f(x: np.ndarray) -> np.ndarray:
        inside = np.clip(x, -2, 2)
        return cubic(inside) + (x - inside) * np.where(x < 0, rise[0], rise[-1])

    x = np.linspace(-LIMIT, LIMIT, 241)
    slope = cubic.derivative()(np.clip(x, -2, 2))
    base = np.exp(-(f(x) ** 2) / 2) / np.sqrt(2 * np.pi)
    images = f(np.array([left, left + width]))
    tails = ndtr(f(-LIMIT)) / rise[0] + ndtr(-f(LIMIT)) / rise[-1]
    parts = dict(images=images, mass=np.diff(ndtr(images))[0], area=np.trapezoid(base, x) + tails)
    return dict(x=x, f=f(x), slope=slope, density=base * slope, base=base, **parts)


@styled
def mass_through_map(heights: Sequence[float] = HEIGHTS, left: float = 0.5, width: float = 1.0) -> Figure:
    """The density of z, the map z = f(x), and the density of x, with one interval and its image."""
    found = through_map(heights, left, width)
    x, (low, high) = found["x"], found["images"]
    z = np.linspace(-3.5, 3.5, 241)
    normal = np.exp(-(z**2) / 2) / np.sqrt(2 * np.pi)
    figure, (before, middle, after) = plt.subplots(1, 3, figsize=(10.5, 3.6), width_ratios=[1, 2, 2])
    before.plot(normal, z, color=ROULETTE)
    inside = (low <= z) & (z <= high)
    before.fill_betweenx(z[inside], normal[inside], color=AMBER, alpha=0.5, linewidth=0)
    before.set(xlabel="density of z", ylabel="z", ylim=(-3.5, 3.5), xlim=(0, None))
    middle.axvspan(left, left + width, color=AMBER, alpha=0.3, linewidth=0)
    middle.axhspan(low, high, color=AMBER, alpha=0.3, linewidth=0)
    middle.plot(x, found["f"], color=EXACT)
    middle.plot(KNOTS, heights, "o", color=EXACT)
    middle.set(xlabel="x", ylabel="z = f(x)", ylim=(-3.5, 3.5), title="the map: steep makes dense")
    after.plot(x, found["density"], color=GREEN, label="N(f(x)) f'(x), the density of x")
    after.plot(x, found["base"], color=AMBER, linestyle="--", label=f"N(f(x)) alone: area {found['area']:.2f}")
    inside = (left <= x) & (x <= left + width)
    after.fill_between(x[inside], found["density"][inside], color=AMBER, alpha=0.5, linewidth=0)
    top = 1.35 * max(found["density"].max(), found["base"].max())  # room for the legend
    after.set(xlabel="x", ylim=(0, top), title=f"mass between the marks: {found['mass']:.3f}, in x as in z")
    after.legend(loc="upper left")
    return figure
