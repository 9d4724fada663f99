"""The explorers as pages that need neither Python nor network, and a gallery that leads to them."""

import json
from html import escape
from pathlib import Path

from . import widgets
from .widgets import SCRIPTS, Explorer

EXPLORERS = json.loads((SCRIPTS / "gallery.json").read_text("utf-8"))
"""Name -> chapter, title, and what to look for (HTML), in the book's order."""


def write_pages(folder: Path) -> list[Path]:
    """Writes NAME.html and NAME.png for each explorer, and index.html, the gallery. Returns the pages."""
    folder.mkdir(parents=True, exist_ok=True)
    back = ' <a href="index.html">All explorers</a>'
    for name in EXPLORERS:
        explorer = getattr(widgets, name)()
        (folder / f"{name}.html").write_text(page(name, explorer, back), encoding="utf-8")
        (folder / f"{name}.png").write_bytes(explorer.png)
    style = (SCRIPTS / "kit.css").read_text("utf-8")
    head = '<!DOCTYPE html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    index = f'{head}<title>Explorers</title><style>{style}</style><body class="explorer page">'
    about = "One for each of the chapters 1 to 7; all work without network."
    index += f"<header><h1>Explorers</h1><p>{about}</p></header>{gallery()}"
    (folder / "index.html").write_text(index, encoding="utf-8")
    return [folder / "index.html", *(folder / f"{name}.html" for name in EXPLORERS)]


def page(name: str, explorer: Explorer, back: str = "") -> str:
    """The explorer's page, with its words from the gallery. back: a link to the others, in HTML, if they are there."""
    told = EXPLORERS[name]
    footer = f"<p>Chapter {told['chapter']} of resflow-lite. The address keeps the settings.{back}</p>"
    return explorer.page(told["title"], f"<p>{told['about']}</p>", footer)


def gallery(folder: str = "") -> str:
    """A list of all explorers, in HTML. folder: where their pages lie, with a slash at its end."""
    items = ""
    for name, told in EXPLORERS.items():
        picture = f'<img src="{folder}{name}.png" alt="" loading="lazy">'
        title = f"Chapter {told['chapter']}: {escape(told['title'])}"
        items += f'<li><a href="{folder}{name}.html">{picture}{title}</a></li>'
    return f'<ul class="gallery">{items}</ul>'
