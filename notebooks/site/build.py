"""The book as a site: `make site` writes it to build/site/html, without network.

The stored notebooks are copied, with what a page needs and JupyterLab does not; Jupyter Book makes the site of the
copy, and pdoc the reference of the package.
"""

import argparse
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import nbformat
import yaml

from resflow_lite.book.explorers.pages import gallery, write_pages

SITE = Path(__file__).resolve().parent
NOTEBOOKS, ROOT = SITE.parent, SITE.parents[1]
LINK = re.compile(r"(?<!!)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")
EXPLORER = re.compile(r"\[([^]]*)\]\((explorers/\w+\.html)\)")  # a page that Jupyter Book knows nothing of
LOCAL = re.compile(r'<a href="#([^"]+)">(.*?)</a>')
# The reference is as dark as the book: pdoc has one set of colours, and knows nothing of what was chosen there.
DARK = """<style>html.dark { filter: invert(0.92) hue-rotate(180deg); background: white; }</style>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)").matches;
let chosen = null;
try { chosen = localStorage.getItem("theme"); } catch {} // a file, or cookies refused
document.documentElement.classList.toggle("dark", ["dark", "light"].includes(chosen) ? chosen === "dark" : dark);
</script>"""
BOOK = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"  # it has no __main__
PROGRESS = re.compile(r"^.*\d+%\|.*$\n?", re.MULTILINE)


def pages() -> list[str]:
    """What the table of contents names, without suffix, relative to notebooks/."""
    contents = yaml.safe_load((SITE / "_toc.yml").read_text())
    return [contents["root"], *(page["file"] for part in contents["parts"] for page in part["chapters"])]


def with_links(text: str, page: str, address: str) -> str:
    """Links to what is no page of the site lead to the repository at `address`."""

    def resolved(match: re.Match) -> str:
        target = posixpath.normpath(posixpath.join("notebooks", posixpath.dirname(page), match[1]))
        stem = posixpath.splitext(target.removeprefix("notebooks/"))[0]
        if stem in PAGES or not (ROOT / target).exists():
            return match[0]
        kind = "tree" if (ROOT / target).is_dir() else "blob"
        return f"]({address}/{kind}/main/{target}{match[2] or ''})"

    return LINK.sub(resolved, EXPLORER.sub(r'<a href="\2">\1</a>', text))


def for_the_site(notebook: nbformat.NotebookNode, page: str, address: str) -> nbformat.NotebookNode:
    """Alternative texts where the site looks for them, links that lead somewhere, no progress bar that stands still."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_links(cell.source, page, address)
            continue
        texts = [o.metadata["image/png"]["alt"] for o in cell.get("outputs", []) if "alt" in _png(o)]
        if texts:
            cell.metadata["mystnb"] = {"image": {"alt": " ".join(texts)}}
        for output in cell.get("outputs", []):
            if output.output_type == "stream":
                output.text = PROGRESS.sub("", output.text)
            elif "text/markdown" in output.get("data", {}):  # a rule at its end would leave the output, says docutils
                output.data["text/markdown"] = output.data["text/markdown"].replace("\n______", "\n" + 6 * "\\_")
    return notebook


def _png(output: nbformat.NotebookNode) -> dict:
    return output.get("metadata", {}).get("image/png", {})


def copy_to(source: Path, address: str) -> None:
    shutil.rmtree(source, ignore_errors=True)
    for page in PAGES:
        found = next(NOTEBOOKS / f"{page}{end}" for end in (".ipynb", ".md") if (NOTEBOOKS / f"{page}{end}").exists())
        copy = source / found.relative_to(NOTEBOOKS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if found.suffix == ".md":
            text = with_links(found.read_text(encoding="utf-8"), page, address)
            copy.write_text(text.replace("GALLERY\n", f"{gallery('../explorers/')}\n"), encoding="utf-8")
        else:
            nbformat.write(for_the_site(nbformat.read(found, as_version=4), page, address), copy)


def reference(folder: Path) -> None:
    """Pages of the package's faces, whose names are imported when somebody asks for them: here, for all of them."""
    import pdoc

    import resflow_lite as rf

    for part in (rf, rf.lab, rf.book):
        names = getattr(part, "__all__", None) or sorted({*dir(part)} - {*vars(part)})
        found = {name: value for name in names if not isinstance(value := getattr(part, name), ModuleType)}
        vars(part).update(found, __all__=list(found))
    pdoc.pdoc("resflow_lite", "resflow_lite.lab", "resflow_lite.book", output_directory=folder)
    for page in folder.rglob("*.html"):
        text = _without_dead_ends(page.read_text(encoding="utf-8"))
        page.write_text(text.replace("</head>", f"{DARK}</head>"), encoding="utf-8")


def _without_dead_ends(text: str) -> str:
    """A page of the reference without links to what is inherited and has no words of its own: it is not on the page."""
    there = set(re.findall(r'\bid="([^"]+)"', text))
    return LOCAL.sub(lambda match: match[0] if match[1] in there else match[2], text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "site", help="default: build/site")
    parser.add_argument("--no-reference", action="store_true", help="leave out the pages of the package")
    options = parser.parse_args()
    out = options.out.resolve()
    settings = yaml.safe_load((SITE / "_config.yml").read_text())
    copy_to(out / "source", settings["repository"]["url"])
    files = ["--config", SITE / "_config.yml", "--toc", SITE / "_toc.yml", "--path-output", out]
    book = [sys.executable, "-c", BOOK, "build", out / "source", *files]
    subprocess.run(book, check=True)
    html = out / "html"
    shutil.rmtree(html, ignore_errors=True)
    shutil.move(out / "_build" / "html", html)
    index, *_ = write_pages(html / "explorers")
    index.write_text('<meta http-equiv="refresh" content="0; url=../site/explorers.html">')
    if not options.no_reference:
        reference(html / "api")
    print(html / "index.html")


PAGES = pages()

if __name__ == "__main__":
    main()
