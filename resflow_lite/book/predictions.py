"""What the reader predicts: a field for each guess, and the answer beside the guess once the chapter has it.

    predict("peaks")                                  # before: a field
    answer("peaks", "where the map is flat")          # after: what was written, and what came out

Guesses are kept in runs/reader.json of the reader's checkout, and nowhere else. Without a kernel both are text.
"""

import json
from pathlib import Path
from typing import Any

import ipywidgets as widgets
from IPython.display import Markdown, display

from ..errors import SettingsError
from ..lab.files import json_object, write_whole
from ..lab.home import home, make_folder

LETTERS = "abcdefgh"
WIDE = widgets.Layout(width="98%")


class WithText(widgets.VBox):
    """Controls that are text, too: for a page that is read without a kernel."""

    def __init__(self, children: list[widgets.Widget], text: str) -> None:
        super().__init__(children)
        self.text = text

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = super()._repr_mimebundle_(**options) or {}
        return {**bundle, "text/markdown": self.text, "text/plain": self.text}


def predict(name: str, *parts: str) -> None:
    """Shows a field for a guess, or one for each part, as in predict("friend", "where", "whose"): (a) where, (b) whose.

    name: of the question; `answer` takes the same. Guesses of an earlier visit are there again.
    """
    written, fields = kept(name), []
    parts = tuple(f"({letter}) {part}" for letter, part in zip(LETTERS, parts))
    for i, part in enumerate(parts or ("my guess",)):
        value = written[i] if i < len(written) else ""
        field = widgets.Text(value, description=part, placeholder="write, press Enter, and go on", layout=WIDE)
        field.style.description_width, field.continuous_update = "initial", False
        fields.append(field)
    for field in fields:
        field.observe(lambda _: keep(name, [field.value for field in fields]), "value")
    lines = [f"- {part}: ______" for part in parts] or ["______"]
    display(WithText(fields, "\n".join(["*Your guess, on paper if nothing runs here:*", "", *lines])))


def answer(name: str, *answers: str) -> None:
    """Shows what the reader wrote at predict(name), and what came out: one answer for each part, in Markdown."""
    written, lines = kept(name), []
    for i, came in enumerate(answers):
        guess = written[i].strip() if i < len(written) else ""
        part = f"**({LETTERS[i]})** " if len(answers) > 1 else ""
        yours = f"Your guess: {guess}. " if guess else ""
        lines.append(f"> {part}{yours}**What came out:** {came}")
    display(Markdown("\n>\n".join(lines)))


def keep(name: str, written: list) -> None:
    """Writes down what the reader answered to the question of this name."""
    path = _path()
    everything = {**_everything(), name: written}
    make_folder(path.parent)
    write_whole(path, json.dumps(everything, indent=1, ensure_ascii=False).encode())


def kept(name: str) -> list:
    """What was written down under this name; empty if nothing was."""
    return _everything().get(name, [])


def _path() -> Path:
    return home() / "runs" / "reader.json"


def _everything() -> dict[str, list]:
    try:
        found = json_object(_path().read_text(encoding="utf-8"))
        for name, written in found.items():
            kind = int | None if name.startswith("concepts, ") else str
            if not isinstance(written, list) or not all(isinstance(each, kind) for each in written):
                raise ValueError(f"{name} = {written!r}")
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise SettingsError(f"{_path()} is no record of a reader's guesses ({error}): delete it, or mend it") from error
