"""Lets nbval pass over what notebooks write to stderr: warnings and progress bars differ from machine to machine."""


def pytest_collectstart(collector):
    # It stands here because pytest shows a collector only the conftest files of its own folder and those above.
    if collector.path.suffix == ".ipynb":
        collector.skip_compare += ("stderr",)
