"""Figures with controls, one for a chapter: `explorers.cobweb()` is a widget, to be a cell's last line.

Each is drawn by one JavaScript module in js/, in a notebook as on a page without Python (`write_pages`). The modules
here have the same numbers in NumPy, and the figure that stands in where no script runs.
"""

from typing import TYPE_CHECKING

from ...faces import face

if TYPE_CHECKING:
    from .flows import deep_flows, grid_through
    from .pages import write_pages
    from .widgets import (
        cobweb,
        grid_through_depth,
        mass_through_map,
        memory_against_terms,
        truncated_against_roulette,
        truncation,
        unit_balls,
    )

__getattr__, __dir__ = face(__name__, __file__)
