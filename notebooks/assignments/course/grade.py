"""Grade one submission: the student's functions run in a sandbox, the tests run here and only see what they return.

So a wrong answer cannot reach the expected values, nor the comparison, nor the points.
"""

import ast
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import wire
from build import meta, personal
from nbformat import NotebookNode
from sandbox import Sandbox, Stopped, StudentError

SECONDS = 20.0  # of CPU time, for an answer cell, and for all calls of one test
STUBS = ("YOUR ANSWER HERE", "")


@dataclass(frozen=True)
class Mark:
    """One graded question. score None: to be graded by hand, `message` is then the student's answer."""

    grade_id: str
    points: float
    score: float | None
    message: str

    @property
    def by_hand(self) -> bool:
        return self.score is None


def grade(source: NotebookNode, submission: NotebookNode, term: str, student: str) -> list[Mark]:
    """Marks for every question of `source`, in its order, whatever the submission holds."""
    with Grading(submission) as grading:
        return [mark for cell in personal(source, term, student).cells if (mark := grading.take(cell))]


class Grading:
    """One pass over the source's cells, with the student's answers in the places of the solutions."""

    def __init__(self, submission: NotebookNode):
        self.answers: dict[str, str] = {}
        for cell in submission.cells:
            self.answers.setdefault(str(meta(cell).grade_id), cell.source)
        self.judge: dict[str, Any] = {"__name__": "__judge__"}  # what the tests see
        self.good: list[str] = []  # cells that ran in the sandbox: run again if it has to be started again
        self.failures: dict[str, str] = {}  # names that an answer cell failed to define, and why
        self.sandbox = Sandbox()
        self.left = SECONDS

    def __enter__(self) -> "Grading":
        return self

    def __exit__(self, *_: Any) -> None:
        self.sandbox.close()

    def take(self, cell: NotebookNode) -> Mark | None:
        kind = meta(cell)
        if cell.cell_type == "markdown":
            return self.written(kind) if kind.grade else None
        if kind.solution:
            self.answer(cell.source, self.answers.get(kind.grade_id))
        elif kind.grade:
            message = self.test(cell.source)
            return Mark(kind.grade_id, kind.points, 0.0 if message else float(kind.points), message)
        elif "not-graded" not in cell.metadata.get("tags", []):
            with contextlib.redirect_stdout(None):
                exec(compile(cell.source, kind.grade_id, "exec"), self.judge)
            try:
                self.run(cell.source)
            except StudentError:  # an earlier answer broke something; the questions that need this cell will say so
                pass
        return None

    def written(self, kind: NotebookNode) -> Mark:
        text = self.answers.get(kind.grade_id, "").strip()
        if text in STUBS:
            return Mark(kind.grade_id, kind.points, 0.0, "no answer")
        return Mark(kind.grade_id, kind.points, None, text)

    def answer(self, solution: str, answer: str | None) -> None:
        """Run an answer cell and put stand-ins for what it was to define before the tests."""
        problem = "the answer cell is missing: it must keep its place and its metadata" if answer is None else ""
        if answer is not None:
            try:
                self.run(answer)
            except StudentError as error:
                problem = str(error)
        for name in defined(solution):
            self.judge.pop(name, None)
            try:
                if problem:
                    raise StudentError(problem)
                value = self.sandbox.get(name, SECONDS)
                self.judge[name] = self.stand_in(name) if isinstance(value, wire.Name) else value
            except StudentError as error:
                self.failures[name] = problem or f"{name} is not defined ({error})"

    def stand_in(self, name: str) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.alive()
            spent = self.sandbox.seconds_used()
            try:
                return self.sandbox.call(name, args, kwargs, max(self.left, 0.1))
            finally:
                if self.sandbox.alive:
                    self.left -= self.sandbox.seconds_used() - spent

        call.__name__ = name
        return call

    def test(self, source: str) -> str:
        """What is wrong with the answer; empty if nothing is."""
        self.left = SECONDS
        try:
            with contextlib.redirect_stdout(None):
                exec(compile(source, "test", "exec"), dict(self.judge))
        except AssertionError as error:
            return str(error) or "a test failed"
        except StudentError as error:
            return str(error)
        except NameError as error:
            return self.failures.get(error.name, str(error))
        except Exception as error:  # what was returned has another type, or shape, than the tests can work with
            return f"the tests cannot use what your code returned ({type(error).__name__}: {error})"[:500]
        return ""

    def run(self, source: str) -> None:
        self.alive()
        self.sandbox.run(source, SECONDS)
        self.good.append(source)

    def alive(self) -> None:
        """A new sandbox in the place of one that a question ended, with all that ran before."""
        if self.sandbox.alive:
            return
        self.sandbox.close()
        self.sandbox = Sandbox()
        again, self.good = self.good, []
        for source in again:
            try:
                self.sandbox.run(source, SECONDS)
                self.good.append(source)
            except Stopped:
                break
            except StudentError:
                continue


def defined(source: str) -> list[str]:
    """The names that the top level of a cell binds."""
    names = []
    for node in ast.parse(source).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.append(node.name)
        elif isinstance(node, ast.Assign):
            names += [target.id for target in node.targets if isinstance(target, ast.Name)]
    return names
