"""Notebooks in a real browser, driven by keyboard: Voila's explorers, a chapter and a hand-out in JupyterLab."""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from resflow_lite.__main__ import main
from resflow_lite.book import commands

ROOT = Path(__file__).parents[2]
CHAPTER = ROOT / "notebooks" / "02_invertible_residual_blocks.ipynb"
PATIENCE = 120  # seconds, for a kernel to start on a busy machine


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    page.set_default_timeout(1000 * PATIENCE)
    yield page
    page.close()


@contextmanager
def serving(log, *command, **variables):
    """A server of notebooks on a free port of this machine; its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"} | variables
    command = [sys.executable, "-m", *command, "--no-browser", f"--port={port}"]
    with open(log, "w") as out:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + PATIENCE
        while True:
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def another_picture(page, explorer, key):
    """Presses a key in the first slider of an explorer, and waits until it is drawn anew."""
    panels = explorer.locator(".panels")
    before = panels.inner_html()
    explorer.locator("input[type=range]:enabled").first.focus()
    page.keyboard.press(key)
    changed = "([panels, before]) => panels.innerHTML != before"
    page.wait_for_function(changed, arg=[panels.element_handle(), before])


def test_without_voila_the_verb_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    assert main(["explore"]) == 2
    assert "pip install -c constraints.txt -e .[dev]" in capsys.readouterr().err


def test_voila_shows_every_explorer_without_code(page, tmp_path):
    with serving(tmp_path / "log", "resflow_lite", "explore", "--") as address:
        page.goto(address)
        page.wait_for_function("document.querySelectorAll('.explorer .panels svg[data-axes]').length >= 15")
        assert page.locator("h2").count() == page.locator(".explorer").count() == 7
        assert "import" not in page.locator("body").inner_text()
        another_picture(page, page.locator(".explorer").last, "ArrowRight")


@contextmanager
def notebook_in_jupyterlab(page, path):
    """JupyterLab with one notebook open and its kernel idle."""
    # the announcements extension would ask the network, and the reader
    settings = path.parent / "config" / "labconfig" / "page_config.json"
    settings.parent.mkdir(parents=True)
    settings.write_text('{"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": true}}')
    lab = ("jupyterlab", str(path.parent), "--allow-root", "--IdentityProvider.token=local")
    with serving(path.parent / "log", *lab, JUPYTER_CONFIG_DIR=str(path.parent / "config")) as address:
        page.goto(f"{address}/lab/tree/{path.name}?token=local&reset")
        # the cells' own indicator is idle before a kernel is there
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        yield


def run_all(page):
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()


def test_a_chapter_in_jupyterlab_runs_and_its_slider_moves_the_figure(page, tmp_path):
    shutil.copy(CHAPTER, tmp_path)
    with notebook_in_jupyterlab(page, tmp_path / CHAPTER.name):
        run_all(page)
        explorer = page.locator(".explorer:has(.panels svg)").first
        error = page.locator(".jp-OutputArea-output:has-text('Traceback')")
        explorer.or_(error).first.wait_for(state="attached")
        assert error.all_inner_texts() == []
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        another_picture(page, explorer, "ArrowRight")
        assert error.all_inner_texts() == []


def test_a_hand_out_in_jupyterlab_has_places_for_answers_and_locked_tests(page, tmp_path):
    pytest.importorskip("nbgrader", reason="nbgrader is not installed: pip install -e .[course]")
    course = [sys.executable, str(ROOT / "notebooks" / "assignments" / "course")]
    subprocess.run([*course, "handout", "--term", "test", "--out", str(tmp_path)], check=True)
    with notebook_in_jupyterlab(page, tmp_path / "test" / "handout" / "contractions.ipynb"):
        stub = page.locator(".jp-CodeCell:has-text('YOUR CODE HERE')").first
        test = page.locator(".jp-CodeCell:has-text('assert close(jacobian(')").first
        for cell, open_to_students in ((stub, True), (test, False)):
            text = cell.locator(".cm-content")
            text.click()
            page.keyboard.press("Control+End")
            page.keyboard.type("  # mine")
            assert ("# mine" in text.inner_text()) == open_to_students
