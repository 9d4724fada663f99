"""Figures with controls, one for a chapter: `explorers.cobweb()` is a widget, to be a cell's last line.

What they draw is in the modules here, as functions of data that need no controls.
"""

from typing import TYPE_CHECKING

from ...faces import face

if TYPE_CHECKING:
    from .widgets import (
        cobweb,
        deep_flows,
        grid_through,
        grid_through_depth,
        truncated_against_roulette,
        truncation,
        unit_balls,
    )

__getattr__, __dir__ = face(__name__, __file__)
