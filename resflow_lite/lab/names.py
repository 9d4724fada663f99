"""What the lab is asked for by name, for whoever needs no more than the names: this file loads no torch."""

from .data.sources import IMAGE_SETS, MADE_HERE
from .package_data import shipped

image_names = (*MADE_HERE, *IMAGE_SETS)
PROFILES = ("smoke", "laptop", "paper")
SWEEPS = shipped("sweeps")
"""The folder of the sweeps: NAME.yaml."""
TASK_NAMES = dict(density="density", plane="toy", hybrid="hybrid")
"""What --task says, and what a sweep says."""
