"""A hand-in, read without trusting its form: answers, stored outputs, and the name that the student typed."""

import ast
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from find import read_bytes
from tables import printable


class Unreadable(ValueError):
    """The file is no notebook that can be graded; says why."""


@dataclass
class Submission:
    answers: dict[str, str] = field(default_factory=dict)  # by grade_id: the source of the cell
    outputs: dict[str, list[tuple[str, str]]] = field(default_factory=dict)  # by grade_id: (MIME type, content)
    notes: list[str] = field(default_factory=list)


def read_submission(path: Path) -> Submission:
    try:
        notebook = json.loads(read_bytes(path))
    except (RecursionError, MemoryError):
        raise Unreadable("not a notebook: nested too deeply, or too large") from None
    except OSError as error:
        raise Unreadable(f"the file cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise Unreadable(f"not a notebook: no JSON ({printable(error)[:80]})") from None
    cells = notebook.get("cells") if isinstance(notebook, dict) else None
    if not isinstance(cells, list):
        raise Unreadable("not a notebook of format 4: it has no list of cells")
    result = Submission()
    for cell in cells:
        grade_id = _grade_id(cell)
        if not grade_id:
            continue
        if grade_id in result.answers:
            result.notes.append(f"two cells are called {grade_id}: the first counts")
            continue
        result.answers[grade_id] = _text(cell.get("source"))
        result.outputs[grade_id] = list(_outputs(cell))
    if not result.answers:
        raise Unreadable("the notebook has none of the cells of the assignment: was it saved by another program?")
    return result


def typed_name(submission: Submission) -> str | None:
    """The user name in the first cell."""
    try:
        for node in ast.parse(submission.answers.get("variant", "")).body:
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "student":
                return str(ast.literal_eval(node.value))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        pass
    return None


def _grade_id(cell: Any) -> str:
    for key in ("metadata", "nbgrader", "grade_id"):
        cell = cell.get(key) if isinstance(cell, dict) else None
    return cell if isinstance(cell, str) else ""


def _text(source: Any) -> str:
    """A cell's source, or an output's text: one string or a list of lines."""
    lines = source if isinstance(source, list) else [source]
    return "".join(line for line in lines if isinstance(line, str))


def _outputs(cell: dict) -> Any:
    """Text and PNG images only: nothing that a browser would run."""
    outputs = cell.get("outputs")
    attached = cell.get("attachments")
    bundles = [{"data": data} for data in attached.values()] if isinstance(attached, dict) else []
    for output in [*(outputs if isinstance(outputs, list) else []), *bundles]:
        data = output.get("data") if isinstance(output, dict) else None
        if isinstance(data, dict) and isinstance(data.get("image/png"), (str, list)):
            yield "image/png", _text(data["image/png"])
        elif isinstance(data, dict):
            yield "text/plain", printable(_text(data.get("text/plain")))
        elif isinstance(output, dict):
            text = _text(output.get("text")) or f"{output.get('ename')}: {output.get('evalue')}"
            yield "text/plain", printable(text)
