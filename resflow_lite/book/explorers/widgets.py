"""The explorers. Each is a widget, to be a cell's last line, and can be written as a page that needs no Python."""

from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from io import BytesIO
from json import dumps
from string import Template

import anywidget
import matplotlib.pyplot as plt
import numpy as np
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from ..figures.words import describe
from . import balls, cobwebs, mass, memory, series
from .simulation import probes, spectral_radius

SCRIPTS = files(__package__) / "js"


def script(name: str) -> str:
    """The JavaScript module of an explorer: what all share, and its own."""
    return "\n".join((SCRIPTS / f"{part}.js").read_text("utf-8") for part in ("kit", name))


class Explorer(anywidget.AnyWidget):
    """The explorer of js/`name`.js. Where neither kernel nor script runs, `figure` stands in, with its description.

    state: the settings, by name, as the reader has moved them.  data: what the script cannot compute.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    _css = traitlets.Unicode().tag(sync=True)
    state = traitlets.Dict().tag(sync=True)
    data = traitlets.Dict().tag(sync=True)

    def __init__(self, name: str, figure: Figure, data: Mapping | None = None) -> None:
        style = (SCRIPTS / "kit.css").read_text("utf-8")
        super().__init__(_esm=script(name), _css=style, data=dict(data or {}))
        drawn, small = BytesIO(), BytesIO()
        figure.savefig(drawn, format="png", dpi=100)
        Image.open(drawn).quantize(64).save(small, "png", optimize=True)
        self.png, self.description, self.width = small.getvalue(), describe(figure), round(90 * figure.get_figwidth())
        plt.close(figure)

    def _repr_mimebundle_(self, **kwargs):
        data, metadata = super()._repr_mimebundle_(**kwargs)
        data |= {"image/png": b64encode(self.png).decode(), "text/plain": self.description}
        return data, {**(metadata or {}), "image/png": {"alt": self.description, "width": self.width}}

    def page(self, title: str = "Explorer", about: str = "", footer: str = "") -> str:
        """A page in HTML that needs neither Python nor network. about, footer: in HTML."""
        picture = f'src="data:image/png;base64,{b64encode(self.png).decode()}" alt="{escape(self.description)}"'
        data = dumps(self.data, separators=(",", ":")).replace("<", "\\u003c")
        parts = dict(style=self._css, script=self._esm, title=escape(title), about=about, footer=footer)
        return Template((SCRIPTS / "page.html").read_text("utf-8")).substitute(parts, data=data, picture=picture)


def cobweb() -> Explorer:
    """Chapter 2: does x <- y - g(x) find an x with x + g(x) = y, and is there just one?"""
    return Explorer("cobweb", cobwebs.cobweb(lambda x: 0.5 * x, title="g(x) = 0.5 x"))


def truncation() -> Explorer:
    """Chapter 3: the bias of the truncated series for J = r R(angle)."""
    return Explorer("truncation", series.truncation_bias())


def truncated_against_roulette(source: Mapping[str, np.ndarray] | None = None) -> Explorer:
    """Chapter 4: truncation and roulette at equal cost.

    source: name -> (D, D) Jacobian, as from `series.block_jacobians(flow, images)`, in place of J = r R(angle).
    """
    first = series.rotation(0.8, 180) if source is None else next(iter(source.values()))
    data = {}
    for name, J in (source or {}).items():
        truth = np.linalg.slogdet(np.eye(len(J)) + J)[1] / len(J)
        rows = dict(jacobian=np.asarray(J, float).tolist(), probes=probes(len(J)).tolist())
        data[name] = rows | dict(truth=truth, rho=spectral_radius(J))
    figure = series.truncated_against_roulette(series.race(first))
    return Explorer("truncated_against_roulette", figure, {"blocks": data} if data else None)


def unit_balls() -> Explorer:
    """Chapter 6: the unit ball of |.|_p, its image under a matrix, and the induced norm from p to q."""
    return Explorer("unit_balls", balls.unit_balls(balls.stretch(1.6, 0.5, 30)))


def mass_through_map() -> Explorer:
    """Chapter 1: drag a map of the line, and see what becomes of mass and density."""
    return Explorer("mass_through_map", mass.mass_through_map())


def memory_against_terms() -> Explorer:
    """Chapter 5: what a training step keeps in memory, against the number of terms, for four ways to differentiate."""
    return Explorer("memory_against_terms", memory.memory_against_terms())


def grid_through_depth() -> Explorer:
    """Chapter 7: a grid of the plane, and data, after some of the blocks of a trained flow of deep_flows()."""
    import torch  # and the figure of trained flows: no other explorer needs it

    from ...models.densities import toy_data
    from ..figures import chapter07
    from .flows import deep_flows, grid_through

    points = toy_data("pinwheel", 300, torch.Generator().manual_seed(0))
    flows = {label: grid_through(flow, points) for label, flow in deep_flows().items()}

    def rounded(values) -> list:
        return np.round(values.double().numpy(), 3).tolist()

    data = {
        name: [dict(label=label, lines=rounded(lines[:, ::4]), points=rounded(dots)) for label, lines, dots in stages]
        for name, stages in flows.items()
    }
    return Explorer("grid_through_depth", chapter07.pushed_grid(next(iter(flows.values())), (0, 1)), {"flows": data})
