"""The explorers as pages: in a real browser, without Python and without network, with the numbers of the modules."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.book import explorers
from resflow_lite.book.explorers import balls, cobwebs, mass, memory, pages, series, simulation, widgets
from resflow_lite.book.figures import style

NAMES = list(pages.EXPLORERS)
# in the order of the controls, a key that changes each
KEYS = {
    "mass_through_map": dict.fromkeys(("f0", "f1", "f2", "f3", "f4", "left", "width"), "ArrowUp"),
    "cobweb": dict(branch="ArrowDown", strength="ArrowUp", y="ArrowUp", start="ArrowUp", steps="ArrowDown"),
    "truncation": dict(r="ArrowUp", angle="ArrowDown", n_terms="ArrowUp"),
    "truncated_against_roulette": dict(r="ArrowDown", angle="ArrowDown", noise="ArrowUp", p="ArrowDown")
    | dict(n_exact="ArrowUp", seed="ArrowUp", equal_cost="Space", n_terms="ArrowUp"),
    "memory_against_terms": dict.fromkeys(("n_terms", "blocks", "batch", "width", "side", "card"), "ArrowDown"),
    "unit_balls": dict(p="ArrowDown", q="ArrowDown", factor="ArrowUp", angle="ArrowUp", turn="ArrowUp"),
    "grid_through_depth": dict(flow="ArrowDown", depth="ArrowUp"),
}
NUMBERS = "JSON.stringify(explorer.compute(settings, data), (name, v) => ArrayBuffer.isView(v) ? Array.from(v) : v)"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pages")
    explorers.write_pages(folder)
    return folder


def pages_of(browser, width, height, **options):
    """One page of a browser without network, for all tests; `failures` is what went wrong in it."""
    context = browser.new_context(viewport={"width": width, "height": height}, offline=True, **options)
    page = context.new_page()
    page.failures, page.asked = [], []
    page.on("pageerror", lambda error: page.failures.append(error))
    page.on("request", lambda request: page.asked.append(request.url.split("#")[0]))
    yield page
    context.close()


@pytest.fixture(scope="module")
def tab(browser):
    yield from pages_of(browser, 1366, 768)


@pytest.fixture(scope="module")
def phone(browser):
    yield from pages_of(browser, 390, 844, is_mobile=True, has_touch=True, color_scheme="dark")


def opened(tab, folder, name, hash=""):
    tab.goto("about:blank")
    tab.asked.clear()
    tab.goto((folder / f"{name}.html").as_uri() + hash)
    return tab


def numbers(tab, **chosen):
    """What the script computes for its own settings, but for those chosen."""
    usual = "Object.fromEntries(Object.entries(typeof explorer.controls == 'function' ? explorer.controls(data)"
    usual += " : explorer.controls).map(([name, control]) => [name, control.value]))"
    settings = tab.evaluate(usual) | chosen
    return settings, json.loads(tab.evaluate(f"settings => {NUMBERS}", settings))


def picture(tab):
    return tab.locator(".panels").inner_html()


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_driven_by_keyboard_fits_its_screens_and_needs_nothing_else(tab, folder, name):
    opened(tab, folder, name)
    assert tab.evaluate("[document.body.scrollWidth, document.body.scrollHeight]") <= [1366, 768]
    tops = [panel.bounding_box()["y"] for panel in tab.locator(".panels > *").all()]
    assert len(tops) >= 2 and max(tops) - min(tops) < 200  # side by side
    reset = before = picture(tab)
    for control, key in KEYS[name].items():
        for _ in range(20):
            tab.keyboard.press("Tab")
            if tab.evaluate("document.activeElement.name") == control:
                assert tab.evaluate("getComputedStyle(document.activeElement).outline").endswith("solid 3px")
                break
        tab.keyboard.press(key)
        tab.wait_for_function("before => document.querySelector('.panels').innerHTML != before", arg=before)
        before = picture(tab)
        assert f"{control}=" in tab.url
    address = tab.url
    opened(tab, folder, name, address[address.index("#") :])
    assert picture(tab) == before and tab.asked == [(folder / f"{name}.html").as_uri()]
    tab.get_by_role("button", name="Start again").click()
    tab.wait_for_function("!location.hash")
    assert picture(tab) == reset and len(tab.locator(".panels").get_attribute("aria-label")) > 60
    assert tab.failures == []


WORDS = """Array.from(document.querySelectorAll(".panels text"), (text) => {
  const [words, frame] = [text, text.closest("svg[data-axes]")].map((part) => part.getBoundingClientRect());
  const inside = words.left > frame.left - 1 && words.right < frame.right + 1;
  const size = parseFloat(getComputedStyle(text).fontSize) * text.ownerSVGElement.getScreenCTM().a;
  return [text.textContent, inside, size];
})"""


@pytest.mark.parametrize("name", NAMES)
def test_a_page_is_read_and_moved_on_a_phone_in_the_dark(phone, folder, name):
    opened(phone, folder, name)
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390
    for words, inside, pixels in phone.evaluate(WORDS):
        assert inside and pixels >= 11, words
    assert phone.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor") == "rgb(20, 24, 30)"
    before, slider = picture(phone), phone.locator("input[type=range]:enabled").first.bounding_box()
    assert slider["width"] > 150
    phone.touchscreen.tap(slider["x"] + 0.55 * slider["width"], slider["y"] + slider["height"] / 2)
    phone.wait_for_function("before => document.querySelector('.panels').innerHTML != before", arg=before)
    phone.wait_for_function("location.hash")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 390 and phone.failures == []


@pytest.mark.parametrize(("name", "control", "value"), [("mass_through_map", "f2", 1.45), ("cobweb", "y", 2.5)])
def test_a_finger_moves_a_dot_and_not_the_page(phone, folder, name, control, value):
    opened(phone, folder, name)
    handle = phone.locator(f"[data-drag=',{control}']")
    handle.scroll_into_view_if_needed()
    before, box = phone.evaluate("scrollY"), handle.bounding_box()
    finger = phone.context.new_cdp_session(phone)
    for i, touch in enumerate(["Start", *8 * ["Move"], "End"]):
        at = dict(x=box["x"] + box["width"] / 2, y=box["y"] + box["height"] / 2 - 8 * i)
        finger.send("Input.dispatchTouchEvent", dict(type=f"touch{touch}", touchPoints=[] if touch == "End" else [at]))
        phone.evaluate("new Promise(requestAnimationFrame)")
    phone.wait_for_function("control => location.hash.includes(control)", arg=control)
    moved = float(phone.evaluate("control => document.querySelector('form')[control].value", control))
    assert moved == pytest.approx(value, abs=0.2) and phone.evaluate("scrollY") == before


# what a kernel's side of the widget does, and how often the explorer draws
NOTEBOOK = """async (source) => {
  source += "; globalThis.drawn = 0; const draw = explorer.draw; explorer.draw = (...a) => (drawn++, draw(...a));";
  const { default: widget } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const values = { data: {}, state: {} }, heard = [], frame = () => new Promise(requestAnimationFrame);
  const set = (name, value) => ((values[name] = value), heard.forEach((f) => f()));
  const model = { get: (name) => values[name], set, save_changes() {}, on: (_, f) => heard.push(f) };
  widget.render({ model, el: document.body });
  const [slider, counts] = [document.querySelector("[name=steps]"), [drawn]];
  slider.value = 3;
  slider.dispatchEvent(new Event("input", { bubbles: true }));
  for (let i = 0; i < 3; i++) await frame();
  counts.push(drawn);
  set("state", { ...values.state, steps: 5 });
  return [...counts, drawn, slider.value, values.state.steps];
}"""


def test_in_a_notebook_a_move_draws_once_and_a_state_from_python_is_shown(tab):
    tab.goto("about:blank")
    assert tab.evaluate(NOTEBOOK, widgets.script("cobweb")) == [1, 2, 3, "5", 5]


def test_a_phone_that_is_turned_has_wider_panels(phone, folder):
    opened(phone, folder, "cobweb")
    width = "document.querySelector('svg[data-axes]').viewBox.baseVal.width"
    assert phone.evaluate(width) == 440
    phone.set_viewport_size({"width": 844, "height": 390})
    phone.wait_for_function(f"{width} == 480")
    phone.set_viewport_size({"width": 390, "height": 844})


def test_a_page_is_dark_where_the_reader_wants_it_dark(tab, folder):
    opened(tab, folder, "cobweb")
    for scheme, paper in (("dark", "rgb(20, 24, 30)"), ("light", "rgb(255, 255, 255)")):
        tab.emulate_media(color_scheme=scheme)
        assert tab.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor") == paper
    tab.evaluate("document.documentElement.dataset.theme = 'dark'")  # as the site does
    assert tab.evaluate("getComputedStyle(document.querySelector('main')).backgroundColor") == "rgb(20, 24, 30)"


def test_an_address_with_nonsense_shows_a_picture_all_the_same(tab, folder):
    opened(tab, folder, "mass_through_map", "#f0=3&f1=-3&f9=1&left=much")
    assert len(picture(tab)) > 1000 and "NaN" not in picture(tab) and tab.failures == []


def test_a_dot_of_the_map_is_dragged_up_to_its_neighbour(tab, folder):
    opened(tab, folder, "mass_through_map")
    box = tab.locator("[data-drag=',f2']").bounding_box()
    tab.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    tab.mouse.down()
    for up in (20, 200):
        tab.mouse.move(box["x"] + 20, box["y"] - up, steps=3)
    tab.mouse.up()
    tab.wait_for_function("location.hash.includes('f2')")
    assert tab.evaluate("document.querySelector('form').f2.value") == "1.45"


def test_no_script_leaves_a_picture_with_its_description(browser, folder):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((folder / "unit_balls.html").as_uri())
    image = page.locator("noscript img")
    assert image.evaluate("image => image.naturalWidth") > 500 and "norm 2 → 2 is 1.600" in image.get_attribute("alt")
    context.close()


LAWS = dict(Geometric=lambda s: rf.Geometric(s["p"]), Poisson=lambda s: rf.Poisson(s["rate"]))
RACES = [{}, dict(r=0.9, law="Poisson", seed=7), dict(r=0.9, angle=130, noise=0.4, law="Matched", n_exact=0)]


@pytest.mark.parametrize("chosen", RACES, ids=["default", "poisson", "matched"])
def test_the_race_of_the_page_is_that_of_the_notebook_draw_for_draw(tab, folder, chosen):
    opened(tab, folder, "truncated_against_roulette")
    equal = "noise" not in chosen
    settings, found = numbers(tab, **chosen, equal_cost=equal, n_terms=9)
    jacobian = series.noisy_rotation(settings["r"], settings["angle"], settings["noise"])
    law = LAWS.get(settings["law"], lambda _: rf.Matched(simulation.spectral_radius(jacobian)))(settings)
    roulette = rf.Roulette(law, settings["n_exact"])
    same(found, vars(series.race(jacobian, roulette, None if equal else 9, settings["seed"])))


def test_the_race_of_given_jacobians_is_that_of_the_notebook(tab, tmp_path):
    one = "one <img src=x onerror=oops()> & a  half"  # a name is text, whatever is in it
    source = {one: np.diag([-0.8, -0.7, -0.6]), "two": np.random.default_rng(0).normal(size=(8, 8)) / 8}
    page = explorers.truncated_against_roulette(source).page()
    (tmp_path / "own.html").write_text(page, encoding="utf-8")
    opened(tab, tmp_path, "own")
    for block, noisy in ((one, False), ("two", True)):
        _, found = numbers(tab, block=block, probe_noise=noisy, seed=3)
        same(found, vars(series.race(source[block], seed=3, probe_noise=noisy)))
    assert tab.locator("option").all_text_contents()[0] == one and tab.failures == []


def same(found, expected):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert np.allclose(found[name], value, rtol=1e-9, atol=1e-12), name


def test_the_other_pages_compute_what_the_modules_compute(tab, folder):
    opened(tab, folder, "truncation")
    settings, found = numbers(tab, r=0.93, angle=115)
    same(found, dict(zip(("truth", "sums", "bound"), simulation.partial_sums(0.93, 115, 30))))

    opened(tab, folder, "cobweb")
    for branch, g in (("0.5 x", lambda x: 0.6 * x), ("−1.5 tanh x", lambda x: -1.8 * np.tanh(x))):
        settings, found = numbers(tab, branch=branch, strength=1.2, y=0.2)
        iterates = cobwebs.iterates(g, 0.2, settings["start"], settings["steps"])
        residual = abs(iterates[-1] + g(iterates[-1]) - 0.2)
        same(found, dict(iterates=iterates, roots=cobwebs.preimages(g, 0.2), residual=residual))

    opened(tab, folder, "unit_balls")
    for p, q in (("∞", "1.5"), ("1.25", "5")):
        settings, found = numbers(tab, p=p, q=q, turn=35)
        matrix = balls.stretch(settings["factor"], 0.5, settings["angle"], 35)
        norm, v = balls.largest_image(matrix, *(float(order.replace("∞", "inf")) for order in (p, q)))
        assert np.allclose(found["matrix"], matrix, atol=1e-14) and found["norm"] == pytest.approx(norm, rel=1e-12)

    opened(tab, folder, "mass_through_map")
    for heights in (mass.HEIGHTS, (-3, -0.1, 0, 0.3, 2.2)):
        settings, found = numbers(tab, **{f"f{i}": height for i, height in enumerate(heights)}, left=-2.4, width=1.1)
        same(found, mass.through_map(heights, -2.4, 1.1))

    opened(tab, folder, "memory_against_terms")
    settings, found = numbers(tab, n_terms=7, blocks=9, batch=40, width=256, side=16)
    same(found["peaks"], memory.peaks(7, 9, 4 * 40 * 256 * 16**2, 4 * 40 * 3 * 16**2))
    assert all(24e9 / (found["peaks"][way] / 40) - n < 1 for way, n in found["fits"].items())

    opened(tab, folder, "grid_through_depth")
    settings, (_, stage) = numbers(tab, depth=5)
    flow = explorers.deep_flows()[settings["flow"]]
    label, lines, _ = explorers.grid_through(flow, torch.zeros(1, 2))[5]
    assert stage["label"] == label and np.allclose(stage["lines"], lines[:, ::4], atol=6e-4)
    assert stage["limit"] == pytest.approx(1.15 * np.quantile(np.abs(stage["points"]), 0.995))


def test_the_pages_open_with_the_settings_of_the_picture_that_stands_in_for_them(tab, folder):
    opened(tab, folder, "truncation")
    assert np.allclose(series.truncation_bias().axes[1].lines[1].get_ydata(), numbers(tab)[1]["sums"])


def test_the_pages_have_the_colours_of_the_figures_and_can_be_read_in_the_dark():
    found = re.findall(r"--(\w+): light-dark\((#\w{6}), (#\w{6})\)", (widgets.SCRIPTS / "kit.css").read_text("utf-8"))
    paper = dict((name, dark) for name, _, dark in found)["paper"]
    for name, light, dark in found:
        assert name == "paper" or light == getattr(style, name.upper())
        if name in ("exact", "truncated", "roulette", "green", "grey"):  # they write words
            assert contrast(dark, paper) >= 4.5, name


def contrast(one, other):
    """WCAG 2.1's ratio of luminances."""

    def luminance(colour):
        parts = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (0.2126, 0.7152, 0.0722)

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_the_page_in_the_checkout_is_the_one_that_is_written_today():
    kept = Path(__file__).parents[2] / "notebooks" / "explorers" / "truncated_against_roulette.html"
    text = kept.read_text("utf-8")
    assert widgets.script("truncated_against_roulette") in text and explorers.truncation()._css in text
    assert "href=" not in text  # it is downloaded alone


def test_the_gallery_leads_to_every_page(folder):
    index = (folder / "index.html").read_text("utf-8")
    assert re.findall(r'href="(\w+).html"', index) == NAMES
    assert all((folder / f"{name}.{kind}").exists() for name in NAMES for kind in ("html", "png"))
    for name in NAMES:
        text = (folder / f"{name}.html").read_text("utf-8")
        assert not re.search(r'(src|href)="(https?:)?//', text) and text.count("<script") == 1
