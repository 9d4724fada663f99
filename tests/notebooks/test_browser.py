"""The explorers in a real browser, driven by keyboard: Voila's page, the HTML page, and one chapter in JupyterLab.

RESFLOW_REQUIRE_BROWSER=1 turns the skip without a browser into a failure.
"""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

import resflow_lite as rf
from resflow_lite import commands
from resflow_lite.__main__ import main
from resflow_lite.book.explorers import series
from resflow_lite.book.figures import style

ROOT = Path(__file__).parents[2]
HTML = ROOT / "notebooks" / "explorers" / "truncated_against_roulette.html"
CHAPTER = ROOT / "notebooks" / "02_invertible_residual_blocks.ipynb"
PATIENCE = 120  # seconds, for a kernel to start on a busy machine


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def explorers_page(browser, tmp_path_factory):
    """What `python -m resflow_lite explore` shows, with every explorer drawn."""
    with serving(tmp_path_factory.mktemp("voila") / "log", "resflow_lite", "explore", "--") as address:
        page = browser.new_page(viewport={"width": 1100, "height": 900})
        page.set_default_timeout(1000 * PATIENCE)
        page.goto(address)
        page.wait_for_function("document.querySelectorAll('img.widget-image').length == 5")
        yield page
        page.close()


def wait_for_another_picture(page, picture, before):
    page.wait_for_function(
        "([img, src]) => img.src != src && img.naturalWidth > 0", arg=[picture.element_handle(), before]
    )


def test_without_voila_the_verb_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(commands, "find_spec", lambda name: None)
    assert main(["explore"]) == 2
    assert "pip install -c constraints.txt -e .[dev]" in capsys.readouterr().err


def press_tab_until(page, control):
    for _ in range(20):
        if control.evaluate("control => control == document.activeElement"):
            return
        page.keyboard.press("Tab")
    pytest.fail(f"the keyboard does not reach {control}")


def test_voila_shows_the_page_without_code(explorers_page):
    assert [h.inner_text() for h in explorers_page.locator("h2").all()] == [
        "Chapter 2: inverting x + g(x) = y",
        "Chapter 3: the bias of a truncated series",
        "Chapter 4: truncated against roulette",
        "Chapter 6: norms and unit balls",
        "Chapter 7: a grid through the depth of a flow",
    ]
    assert "import" not in explorers_page.locator("body").inner_text()


@pytest.mark.parametrize(
    ("chapter", "label", "key"),
    [
        (0, "strength ×", "ArrowRight"),
        (1, "terms", "ArrowLeft"),
        (2, "r", "ArrowRight"),
        (3, "stretch", "ArrowRight"),
        (4, "depth", "ArrowRight"),
    ],
)
def test_the_keyboard_moves_each_explorer(explorers_page, chapter, label, key):
    explorer = explorers_page.locator(".widget-vbox:has(img.widget-image)").nth(chapter)
    picture, slider = (
        explorer.locator("img.widget-image"),
        explorer.locator(f".widget-slider:has-text('{label}')").first,
    )
    before, value = picture.get_attribute("src"), slider.locator(".widget-readout").inner_text()
    shown = picture.screenshot()
    explorer.locator("select, [role=slider]").first.focus()
    press_tab_until(explorers_page, slider.locator("[role=slider]"))
    explorers_page.keyboard.press(key)
    wait_for_another_picture(explorers_page, picture, before)
    assert slider.locator(".widget-readout").inner_text() != value
    assert picture.screenshot() != shown


class PageUniforms(np.random.Generator):
    """The random numbers of the HTML page (Marsaglia's xorshift128), asked for as NumPy asks."""

    def __init__(self, seed):
        super().__init__(np.random.PCG64())
        self.state = [123456789 ^ (seed * 0x9E3779B9) & 0xFFFFFFFF, 362436069, 521288629, 88675123]
        self.random(20)

    def random(self, size):
        x, y, z, w = self.state
        numbers = []
        for _ in range(int(np.prod(size))):
            t = (x ^ (x << 11)) & 0xFFFFFFFF
            x, y, z = y, z, w
            w ^= (w >> 19) ^ t ^ (t >> 8)
            numbers.append(w)
        self.state = [x, y, z, w]
        return np.array(numbers).reshape(size) / 2**32


DEFAULTS = dict(
    r=0.8, angle=180, noise=0, law="Geometric", p=0.25, rate=2, n_exact=2, seed=0, equal_cost=True, n_terms=5
)


@pytest.mark.parametrize(
    ("chosen", "law"),
    [
        ({}, rf.Geometric(0.25)),
        (dict(r=0.9, law="Poisson", seed=7), rf.Poisson(2.0)),
        (dict(r=0.9, angle=130, noise=0.4, law="Matched", n_exact=0, equal_cost=False, n_terms=9), None),
    ],
    ids=["default", "poisson", "matched"],
)
def test_the_html_page_computes_what_the_notebook_computes(page, chosen, law):
    chosen = DEFAULTS | chosen
    page.goto(HTML.as_uri())
    found = page.evaluate("chosen => ({...race(chosen), draws: [...race(chosen).draws]})", chosen)
    jacobian = series.noisy_rotation(chosen["r"], chosen["angle"], chosen["noise"])
    law = law or rf.Matched(float(abs(np.linalg.eigvals(jacobian)).max()))
    n_terms = None if chosen["equal_cost"] else chosen["n_terms"]
    expected = vars(series.race(jacobian, rf.Roulette(law, chosen["n_exact"]), n_terms, PageUniforms(chosen["seed"])))
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert np.allclose(found[name], value, rtol=1e-9, atol=1e-9), name


GEOMETRIC = dict(r="ArrowDown", angle="ArrowDown", noise="ArrowUp", p="ArrowDown", n_exact="ArrowUp", seed="ArrowUp")
GEOMETRIC |= dict(equal_cost="Space", n_terms="ArrowUp")
POISSON = dict(law="ArrowDown", rate="ArrowUp")


@pytest.mark.parametrize("keys", [GEOMETRIC, POISSON], ids=["geometric", "poisson"])
def test_the_html_page_is_driven_by_keyboard_and_needs_nothing_else(page, keys):
    asked, failures = [], []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: failures.append(error))
    page.goto(HTML.as_uri())
    figure, badge = page.locator("svg"), page.locator("#badge")
    assert "bias +0.151" in figure.inner_html() and "finite: ρ² = 0.64 < 0.75" in badge.inner_text()
    for name, key in keys.items():
        press_tab_until(page, page.locator(f"[name={name}]"))
        before = figure.inner_html()
        page.keyboard.press(key)
        page.wait_for_function("before => document.querySelector('svg').innerHTML != before", arg=before)
    assert asked == [HTML.as_uri()] and failures == []


def test_the_html_page_has_the_colours_of_the_figures():
    found = dict(re.findall(r"--(\w+): (#\w{6})", HTML.read_text()))
    names = ("exact", "truncated", "roulette", "green", "grey")
    assert found == {name: getattr(style, name.upper()) for name in names}


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
        picture = page.locator("img.widget-image").first
        error = page.locator(".jp-OutputArea-output:has-text('Traceback')")
        picture.or_(error).first.wait_for(state="attached")
        assert error.all_inner_texts() == []
        picture.scroll_into_view_if_needed()
        page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()
        before = picture.get_attribute("src")
        slider = page.locator(".widget-slider [role=slider]").first
        slider.focus()
        page.keyboard.press("ArrowRight")
        wait_for_another_picture(page, picture, before)
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
