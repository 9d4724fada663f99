"""An executed notebook as a web page that stands alone: no network, formulas as MathML, words for every figure."""

import re
from html import escape, unescape
from pathlib import Path

FORMULA = re.compile(r"\$\$(.+?)\$\$|(?<!\\)\$(?!\s)([^$]+?)(?<!\s)\$", re.DOTALL)
KEPT_AS_THEY_ARE = ("code", "pre", "script", "style")


def write_page(executed: Path, title: str, images: Path) -> None:
    """Write NAME.html beside the notebook. images: the folder that its pictures are relative to."""
    import nbformat
    from bs4 import BeautifulSoup
    from nbconvert import HTMLExporter

    notebook = nbformat.read(executed, as_version=4)
    resources = {"metadata": {"name": title, "path": str(images)}}
    html, _ = HTMLExporter(embed_images=True, mathjax_url="").from_notebook_node(notebook, resources=resources)
    page = BeautifulSoup(html, "html.parser")
    for script in page.find_all("script"):
        if script.get("src", "").startswith("http") or "https://cdn" in script.text:
            script.decompose()  # of widgets and diagrams, which need a server or a network anyway
    for text in page.select_one("main, body").find_all(string=FORMULA):
        if text.find_parent(KEPT_AS_THEY_ARE) is None:
            text.replace_with(BeautifulSoup(FORMULA.sub(_mathml, escape(text, quote=False)), "html.parser"))
    words = _words(notebook)
    for picture in page.find_all("img"):
        data = picture.get("src", "").partition("base64,")[2]
        if data in words:
            picture["alt"] = words[data]
    executed.with_suffix(".html").write_text(str(page), encoding="utf-8")


def _mathml(formula: re.Match) -> str:
    from latex2mathml.converter import convert

    try:
        return convert(unescape(formula[1] or formula[2]), display="block" if formula[1] else "inline")
    except Exception:  # whatever a reader's own notebook writes: the source is there to be read
        return formula[0]


def _words(notebook) -> dict[str, str]:
    """The alternative text of every figure, by the figure's data as the page holds it."""
    found = {}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            picture = output.get("data", {}).get("image/png")
            alt = output.get("metadata", {}).get("image/png", {}).get("alt")
            if picture and alt:
                found[picture.strip()] = alt
    return found
