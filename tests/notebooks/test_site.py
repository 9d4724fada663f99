"""The book as a site: what is copied, where links lead, what stands beside a figure. `make site` builds it."""

import importlib.util
import re
import subprocess
import sys
from html import unescape
from pathlib import Path
from urllib.parse import unquote, urlsplit

import nbformat
import pytest
import yaml

ROOT = Path(__file__).parents[2]
SITE = ROOT / "notebooks" / "site"
ADDRESS = "https://example.org/book"


@pytest.fixture(scope="module")
def build():
    spec = importlib.util.spec_from_file_location("site_build", SITE / "build.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_chapter_and_page_is_in_the_contents(build):
    there = {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")}
    there |= {f"reproduction/{path.stem}" for path in (ROOT / "notebooks" / "reproduction").glob("*.ipynb")}
    assert there <= set(build.PAGES)


@pytest.mark.parametrize(
    ("link", "page", "target"),
    [
        ("[a](01_change_of_variables.ipynb)", "00_start_here", "01_change_of_variables.ipynb"),
        ("[a](../04_russian_roulette.ipynb#more)", "reproduction/results", "../04_russian_roulette.ipynb#more"),
        ("[a](sweeps/toy.yaml)", "reproduction/hybrid", f"{ADDRESS}/blob/main/notebooks/reproduction/sweeps/toy.yaml"),
        ("[a](../../data/results/)", "reproduction/results", f"{ADDRESS}/tree/main/data/results"),
        ("[a](../README.md#results)", "00_start_here", f"{ADDRESS}/blob/main/README.md#results"),
        ("[a](https://arxiv.org/abs/1906.02735)", "00_start_here", "https://arxiv.org/abs/1906.02735"),
        ("![a](picture.png)", "explorers/explorers", "picture.png"),
    ],
)
def test_links_lead_to_pages_and_else_to_the_repository(build, link, page, target):
    assert build.with_links(link, page, ADDRESS).endswith(f"]({target})")


def test_a_link_to_an_explorer_leads_to_its_page(build):
    told = build.with_links("As [a page](explorers/cobweb.html).", "02_invertible_residual_blocks", ADDRESS)
    assert told == 'As <a href="explorers/cobweb.html">a page</a>.'


def test_alternative_texts_and_progress_bars_are_those_of_a_page(build):
    png = nbformat.v4.new_output("display_data", {"image/png": "aGk="}, metadata={"image/png": {"alt": "A line."}})
    stream = nbformat.v4.new_output("stream", text="before\n  0%|          | 0/600 [00:00<?]\nafter\n")
    cell = nbformat.v4.new_code_cell("plt.show()", outputs=[png, stream])
    page = build.for_the_site(nbformat.v4.new_notebook(cells=[cell]), "00_start_here", ADDRESS)
    assert page.cells[0].metadata["mystnb"]["image"]["alt"] == "A line."
    assert page.cells[0].outputs[1].text == "before\nafter\n"


def test_workflows_and_forms_are_yaml_with_what_their_readers_look_for():
    for path in (ROOT / ".github").rglob("*.yml"):
        content = yaml.safe_load(path.read_text())
        needed = {"workflows": {"name", "jobs"}, "ISSUE_TEMPLATE": {"name", "description", "body"}}[path.parent.name]
        assert path.name == "config.yml" or needed <= set(content), path


@pytest.mark.slow
def test_the_site_is_built_and_loads_nothing_from_elsewhere(tmp_path):
    pytest.importorskip("jupyter_book", reason="pip install -e .[site]")
    subprocess.run([sys.executable, SITE / "build.py", "--out", tmp_path], check=True)
    pages = list((tmp_path / "html").rglob("*.html"))
    assert len(pages) > 15
    assert len(list((tmp_path / "html" / "explorers").glob("*.html"))) == 8
    assert 'href="../explorers/cobweb.html"' in (tmp_path / "html/site/explorers.html").read_text(encoding="utf-8")
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert 'src="http' not in text and 'rel="stylesheet" href="http' not in text, page
    assert broken_links(tmp_path / "html") == []
    chapter = (tmp_path / "html/04_russian_roulette.html").read_text(encoding="utf-8")
    assert "https://mybinder.org/" in chapter and "https://colab.research.google.com/" in chapter


def broken_links(site):
    """Page and link, where no file lies there or the page has no such place. The theme keeps templates in _static/."""
    pages = [page.resolve() for page in site.rglob("*.html") if "_static" not in page.parts]
    texts = {page: re.sub(r"<script.*?</script>", "", page.read_text("utf-8"), flags=re.DOTALL) for page in pages}
    places = {page: set(re.findall(r'<[^>]*?\s(?:id|name)="([^"]+)"', text)) for page, text in texts.items()}
    found = []
    for page, text in texts.items():
        for link in set(re.findall(r'<[^>]*?\s(?:href|src)="([^"]*)"', text)):
            address = urlsplit(unescape(link))
            if address.scheme:
                continue
            target, place = page.parent / unquote(address.path), unquote(address.fragment)
            target = page if not address.path else target / "index.html" if target.is_dir() else target.resolve()
            if not target.is_file() or (place and place not in places.get(target, {place})):
                found.append(f"{page.relative_to(site.resolve())}: {link}")
    return found


def test_a_link_without_its_target_is_found(tmp_path):
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a> <a class="x" href="b.html#there">b</a>')
    (tmp_path / "b.html").write_text('<p id="here"><img src="no.png"> <a href="a.html">a</a> <a href="c.html">c</a>')
    assert sorted(broken_links(tmp_path)) == ["a.html: b.html#there", "b.html: c.html", "b.html: no.png"]
