"""What the tests of notebooks share: a page executed with parameters, a run that was stopped, and a browser.

RESFLOW_REQUIRE_BROWSER=1 turns the skip without a browser into a failure.
"""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

import resflow_lite as rf
from resflow_lite.__main__ import main
from resflow_lite.lab import step
from resflow_lite.lab.machine import Stopped

PAGES = Path(__file__).parents[2] / "notebooks" / "reproduction"


@pytest.fixture
def run_page(tmp_path, monkeypatch):
    """Executes a reproduction page with parameters and a home of its own; the exit code."""
    monkeypatch.setenv("RESFLOW_HOME", str(tmp_path))

    def execute(name, *parameters):
        words = [word for parameter, value in parameters for word in ("-p", parameter, value)]
        return main(["run", "--notebook", str(PAGES / name), "--run-dir", str(tmp_path / "page"), *words])

    return execute


@pytest.fixture
def stopped_run(tmp_path, monkeypatch):
    """Trains a smoke experiment into tmp_path and stops it by SIGTERM after a few steps; the folder."""

    def stop(**settings):
        torch.set_default_dtype(torch.float32)
        original, count = step.update_norms_, iter(range(100))

        def update(flow, *tolerance):
            original(flow, *tolerance)
            if next(count) == 5:
                os.kill(os.getpid(), signal.SIGTERM)

        with monkeypatch.context() as patch, pytest.raises(Stopped):
            patch.setattr(step, "update_norms_", update)
            rf.fit(rf.Experiment(profile="smoke", **settings), tmp_path)
        return tmp_path

    return stop


@pytest.fixture(scope="session")
def browser():
    """Headless Chromium: the system's, or else playwright's own."""
    give_up = pytest.fail if os.environ.get("RESFLOW_REQUIRE_BROWSER") else pytest.skip
    try:
        from playwright import sync_api as playwright
    except ImportError:
        give_up("playwright is not installed: pip install -c constraints.txt -e .[dev]")
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    system = next(filter(None, map(shutil.which, names)), None)
    with playwright.sync_playwright() as engine:
        try:
            # root, as in containers, cannot have Chromium's sandbox
            chromium = engine.chromium.launch(executable_path=system, args=["--no-sandbox"])
        except playwright.Error as error:
            give_up(
                f"no browser: install chromium, or run `playwright install chromium`. {error.message.splitlines()[0]}"
            )
        yield chromium
        chromium.close()
