"""A page for marking one student's written answers: question, rubric, answer, the student's numbers and outputs."""

import html
import re
from itertools import pairwise

from build import asked, meta, rubric_of
from marks import Mark
from nbformat import NotebookNode
from submission import Submission

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
STYLE = (
    f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    "<style>body{font-family:sans-serif;max-width:55em;margin:2em auto;padding:0 1em}pre{white-space:pre-wrap}"
    ".rubric{background:#eee;padding:.5em}.answer{border-left:.3em solid #06c;padding-left:1em}img{max-width:100%}"
    "td{padding:.3em .8em;vertical-align:top;white-space:pre-wrap}</style>"
)


def document(title: str, body: str) -> str:
    """A page that loads nothing and runs nothing, whatever a student wrote into it."""
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>{STYLE}'
    return f"{head}<h1>{html.escape(title)}</h1>{body}</html>"


def text(words: str, kind: str = "") -> str:
    return f'<pre class="{kind}">{html.escape(words)}</pre>'


def page(
    assignment: str, student: str, source: NotebookNode, submission: Submission, marks: list[Mark], numbers: str
) -> str:
    """In the order of the notebook: each written question, and the outputs of the cells that are not graded."""
    given = {mark.grade_id: mark for mark in marks}
    parts = [f"<p>The numbers of this student's variant:</p>{text(numbers)}"]
    for question, cell in pairwise(source.cells):
        kind = meta(cell)
        if "not-graded" in cell.metadata.get("tags", []):
            stored = [shown(*output) for output in submission.outputs.get(kind.grade_id, [])]
            parts.append(f"<h2>Output of {kind.grade_id}</h2>{''.join(stored) or '<p>none stored</p>'}")
        elif kind.grade and cell.cell_type == "markdown":
            answer = submission.answers.get(kind.grade_id, "").strip()
            parts += [f"<h2>{kind.grade_id} ({kind.points} points)</h2>", text(asked(source, cell))]
            parts += [text(rubric_of(cell), "rubric"), text(answer or "no answer", "answer")]
            parts += [shown(*output) for output in submission.outputs.get(kind.grade_id, [])]
            if given[kind.grade_id].by_hand:
                parts.append(f"<p>Into by_hand.csv: {html.escape(student)}, {kind.grade_id}, out of {kind.points}</p>")
    return document(f"{assignment}: {student}", "".join(parts))


def shown(kind: str, content: str) -> str:
    if kind == "image/png":
        data = re.sub("[^A-Za-z0-9+/=]", "", content)
        return f'<p><img alt="a figure from the notebook" src="data:image/png;base64,{data}"></p>'
    return text(content[:20000])
