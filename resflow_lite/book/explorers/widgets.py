"""The explorers: controls over the figures of this folder. Each is a widget, to be a cell's last line."""

from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from ...estimators.series import Geometric, Matched, Poisson, Roulette
from ...lab.checkpoints import pretrained
from ...layers.elementwise import ActNorm
from ...models.densities import toy_data
from ...models.flow import Flow
from ...models.systems import systems
from ..figures import chapter07
from ..figures.words import describe
from . import balls, cobwebs, series
from .simulation import spectral_radius

__all__ = ["cobweb", "truncation", "truncated_against_roulette", "unit_balls", "grid_through_depth"]

Controls = Mapping[str, widgets.ValueWidget]
LABEL = {"description_width": "90px"}


class Explorer(widgets.VBox):
    """Controls above the figure draw(**their values), drawn anew when one of them changes.

    Where no kernel runs (a stored notebook, a web page, a phone) the figure of the first values stands in, with its
    description.
    """

    def __init__(self, draw: Callable[..., Figure], controls: Controls) -> None:
        self.draw, self.controls, self.description = draw, controls, ""
        self.picture = widgets.Image(format="png", layout=widgets.Layout(max_width="100%"))
        for control in controls.values():
            control.observe(self.redraw, "value")
        self.redraw()
        row = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap", max_width="950px"))
        super().__init__([row, self.picture])

    def redraw(self, change=None) -> None:
        figure = self.draw(**{name: control.value for name, control in self.controls.items()})
        png = BytesIO()
        figure.savefig(png, format="png", dpi=120, pil_kwargs={"compress_level": 1})
        self.picture.layout.width = f"{90 * figure.get_figwidth():.0f}px"
        self.description = describe(figure)
        plt.close(figure)
        self.picture.value = png.getvalue()

    def _repr_mimebundle_(self, **kwargs):
        data = super()._repr_mimebundle_(**kwargs)
        picture = Image.open(BytesIO(self.picture.value)).quantize(64)
        small = BytesIO()
        picture.save(small, "png", optimize=True)
        data["image/png"] = b64encode(small.getvalue()).decode()
        width = int(self.picture.layout.width.removesuffix("px"))
        return data, {"image/png": {"alt": self.description, "width": width}}


def cobweb() -> Explorer:
    """Chapter 2: does x <- y - g(x) find an x with x + g(x) = y, and is there just one?"""
    branches = {"0.5 x": (0.5, False), "tanh x": (1.0, True), "3 x": (3.0, False), "−1.5 tanh x": (-1.5, True)}

    def draw(branch: str, strength: float, y: float, start: float, steps: int) -> Figure:
        factor, bent = branches[branch]
        a = strength * factor
        title = f"g(x) = {a:.3g} {'tanh x' if bent else 'x'}".replace("-", "−")
        return cobwebs.cobweb(lambda x: a * (np.tanh(x) if bent else x), y, start, steps, title)

    controls = dict(
        branch=_choice("g(x)", list(branches)),
        strength=_slider("strength ×", 1.0, 0.0, 2.0, 0.1),
        y=_slider("y", 0.5, -3.0, 3.0, 0.1),
        start=_slider("start", -2.0, -4.5, 4.5, 0.1),
        steps=_slider("steps", 12, 1, 40),
    )
    return Explorer(draw, controls)


def truncation() -> Explorer:
    """Chapter 3: the bias of the truncated series for J = r R(angle)."""
    controls = dict(r=_slider("r", 0.8, 0.3, 0.98, 0.01), angle=_slider("angle (°)", 180, 0, 180, 5))
    controls |= dict(n_terms=_slider("terms", 5, 1, 30))
    return Explorer(series.truncation_bias, controls)


def truncated_against_roulette(source: Mapping[str, np.ndarray] | None = None) -> Explorer:
    """Chapter 4: truncation and roulette at equal cost.

    source: name -> (D, D) Jacobian, as from `series.block_jacobians(flow, images)`, in place of J = r R(angle).
    """
    if source is None:
        controls = dict(r=_slider("r", 0.8, 0.3, 0.98, 0.01), angle=_slider("angle (°)", 180, 0, 180, 5))
        controls |= dict(noise=_slider("probe noise", 0.0, 0.0, 1.0, 0.1))
    else:
        controls = dict(block=_choice("block", list(source)), probe_noise=_tick("probe noise"))
    controls |= dict(
        law=_choice("law", ["Geometric", "Poisson", "Matched"]),
        p=_slider("p", 0.25, 0.05, 0.9, 0.05),
        rate=_slider("rate", 2.0, 0.5, 8.0, 0.5),
        n_exact=_slider("exact terms", 2, 0, 10),
        seed=_slider("seed", 0, 0, 50),
        equal_cost=_tick("equal cost"),
        n_terms=_slider("truncated at", 5, 1, 60),
    )
    # a control that would do nothing is greyed out
    widgets.dlink((controls["law"], "value"), (controls["p"], "disabled"), lambda law: law != "Geometric")
    widgets.dlink((controls["law"], "value"), (controls["rate"], "disabled"), lambda law: law != "Poisson")
    widgets.dlink((controls["equal_cost"], "value"), (controls["n_terms"], "disabled"))

    def draw(**chosen) -> Figure:
        if source is None:
            jacobian = series.noisy_rotation(chosen["r"], chosen["angle"], chosen["noise"])
        else:
            jacobian = source[chosen["block"]]
        laws = dict(Geometric=lambda: Geometric(chosen["p"]), Poisson=lambda: Poisson(chosen["rate"]))
        law = laws.get(chosen["law"], lambda: Matched(spectral_radius(jacobian)))()
        n_terms = None if chosen["equal_cost"] else chosen["n_terms"]
        roulette, noisy = Roulette(law, chosen["n_exact"]), chosen.get("probe_noise", True)
        race = series.race(jacobian, roulette, n_terms, chosen["seed"], probe_noise=noisy)
        return series.truncated_against_roulette(race)

    return Explorer(draw, controls)


def unit_balls() -> Explorer:
    """Chapter 6: the unit ball of |.|_p, its image under a matrix, and the induced norm from p to q."""
    orders = [("1", 1), ("1.25", 1.25), ("1.5", 1.5), ("2", 2), ("3", 3), ("5", 5), ("∞", np.inf)]

    def draw(p: float, q: float, factor: float, angle: float, turn: float) -> Figure:
        return balls.unit_balls(balls.stretch(factor, 0.5, angle, turn), p, q)

    controls = dict(
        p=_order("p, before", orders, 2),
        q=_order("q, after", orders, 2),
        factor=_slider("stretch", 1.6, 0.5, 3.0, 0.1),
        angle=_slider("along (°)", 30, 0, 180, 5),
        turn=_slider("then turn (°)", 0, 0, 180, 5),
    )
    return Explorer(draw, controls)


def deep_flows() -> dict[str, Flow]:
    """The small flows of the pinwheel that the project ships, by the system's label."""
    return {systems[name].label: pretrained(f"pinwheel-{name}").float() for name in ("resflow", "realnvp")}


@torch.no_grad()
def grid_through(flow: Flow, points: Tensor, limit: float = 4.0) -> list[tuple[str, Tensor, Tensor]]:
    """Stages for chapter07.pushed_grid: a grid on [-limit, limit]^2, and points, after 0, 1, ... blocks."""
    ticks, along = torch.linspace(-limit, limit, 17), torch.linspace(-limit, limit, 161)
    level = torch.stack(torch.meshgrid(ticks, along, indexing="ij")[::-1], -1)
    lines = torch.cat([level, level.flip(2)])  # (lines, points of a line, 2)
    x, stages = torch.cat([lines.view(-1, 2), points]).to(next(flow.parameters()).dtype), []
    for layer in flow.bijection.layers:
        x = layer.transform(x)
        if isinstance(layer, ActNorm):
            depth = len(stages)
            label = f"after {depth} block{'s' if depth > 1 else ''}" if depth else "the data"
            stages.append((label, x[: -len(points)].view(lines.shape), x[-len(points) :]))
    return stages


def grid_through_depth() -> Explorer:
    """Chapter 7: a grid of the plane, and data, after some of the blocks of a trained flow of deep_flows()."""
    points = toy_data("pinwheel", 600, torch.Generator().manual_seed(0))
    flows = {label: grid_through(flow, points) for label, flow in deep_flows().items()}
    depths = min(map(len, flows.values())) - 1

    def draw(flow: str, depth: int) -> Figure:
        return chapter07.pushed_grid(flows[flow], (0, depth))

    return Explorer(draw, dict(flow=_choice("flow", list(flows)), depth=_slider("depth", 1, 0, depths)))


def _slider(label: str, value: float, low: float, high: float, step: float = 1) -> widgets.ValueWidget:
    kind = widgets.IntSlider if isinstance(value, int) else widgets.FloatSlider
    return kind(value, min=low, max=high, step=step, description=label, style=LABEL)


def _order(label: str, options: list[tuple[str, float]], value: float) -> widgets.ValueWidget:
    return widgets.SelectionSlider(options=options, value=value, description=label, style=LABEL)


def _choice(label: str, options: list[str]) -> widgets.ValueWidget:
    return widgets.Dropdown(options=options, value=options[0], description=label, style=LABEL)


def _tick(label: str) -> widgets.ValueWidget:
    return widgets.Checkbox(True, description=label, style=LABEL)
