"""What nbval needs to know: kernels of their own kind, and what notebooks write to stderr is passed over, as warnings
and progress bars differ from machine to machine."""

import os
import tempfile

# Neither a reader's own start-up files, nor a history that two kernels would lock from each other.
IPYTHON = tempfile.TemporaryDirectory(prefix="ipython-")
os.environ["IPYTHONDIR"] = IPYTHON.name


def pytest_collectstart(collector):
    # It stands here because pytest shows a collector only the conftest files of its own folder and those above.
    if collector.path.suffix == ".ipynb":
        collector.skip_compare += ("stderr",)
