"""Grade one submission: the student's functions run in a sandbox, the tests run here and only see what they return.

So a wrong answer cannot reach the expected values, nor the comparison, nor the points.
"""

import ast
import contextlib
import io
import time
from collections.abc import Callable
from typing import Any

import wire
from build import meta, personal
from checks import Checks, checks_of
from marks import Mark
from nbformat import NotebookNode
from sandbox import Limits, Sandbox, Stopped, StudentError
from submission import Submission
from tables import printable

STUBS = ("YOUR ANSWER HERE", "")
NOT_RUN = "not run: "


def grade(
    source: NotebookNode, submission: Submission, term: str, student: str, wall: str, limits: Limits, *, partial: bool
) -> tuple[list[Mark], "Grading"]:
    """Marks for every question of `source`, in its order, whatever the submission holds; and how they came about."""
    with Grading(submission, wall, limits, partial=partial) as grading:
        marks = [mark for cell in personal(source, term, student).cells if (mark := grading.take(cell))]
    return marks, grading


class Grading:
    """One pass over the source's cells, with the student's answers in the places of the solutions."""

    def __init__(self, submission: Submission, wall: str, limits: Limits, *, partial: bool):
        self.answers, self.wall, self.limits, self.partial = submission.answers, wall, limits, partial
        self.judge: dict[str, Any] = {"__name__": "__judge__"}  # what the tests see
        self.good: list[str] = []  # cells that ran in the sandbox: run again if it has to be started again
        self.failures: dict[str, str] = {}  # names that an answer cell failed to define, and why
        self.nothing: dict[str, None] = {}  # functions that returned None in the test that runs
        self.numbers = ""  # what the locked cells print: the student's constants
        self.end = time.monotonic() + limits.total
        self.left = limits.seconds
        self.spent = 0.0  # CPU time of the sandboxes that are closed
        self.sandbox = Sandbox(wall, limits, self.end)

    def __enter__(self) -> "Grading":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        self.sandbox.close()
        self.spent += self.sandbox.spent

    def take(self, cell: NotebookNode) -> Mark | None:
        kind = meta(cell)
        if cell.cell_type == "markdown":
            return self.written(kind) if kind.grade else None
        if kind.solution:
            self.answer(cell.source, self.answers.get(kind.grade_id))
        elif kind.grade:
            return self.test(cell.source, kind)
        elif "not-graded" not in cell.metadata.get("tags", []):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(compile(cell.source, kind.grade_id, "exec"), self.judge)
            self.numbers += printed.getvalue()
            with contextlib.suppress(StudentError):  # an earlier answer broke something that this cell needs:
                self.run(cell.source)  # the questions that need this cell will say so
        return None

    def written(self, kind: NotebookNode) -> Mark:
        text = printable(self.answers.get(kind.grade_id, "")).strip()
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
                value = self.sandbox.get(name, self.limits.seconds)
                self.judge[name] = self.stand_in(name) if isinstance(value, wire.Name) else value
            except StudentError as error:
                self.failures[name] = problem or f"{name} is not defined ({error})"

    def stand_in(self, name: str) -> Callable:
        def call(*args: Any, **kwargs: Any) -> Any:
            self.alive()
            spent = self.sandbox.seconds_used()
            try:
                value = self.sandbox.call(name, args, kwargs, max(self.left, 0.1))
            finally:
                if self.sandbox.alive:
                    self.left -= self.sandbox.seconds_used() - spent
            if value is None:
                self.nothing[name] = None
            return value

        call.__name__ = name
        return call

    def test(self, source: str, kind: NotebookNode) -> Mark:
        """Every check of a question, the ones in front of the student first."""
        self.left, self.nothing = self.limits.seconds, {}
        visible, hidden = checks_of(source)
        names = dict(self.judge)
        messages = [self.run_checks(part, names) for part in (visible, hidden)]
        points = float(kind.points)
        if not self.partial:
            score = 0.0 if any(any(part) for part in messages) else points
        else:  # visible checks are a third of the points, hidden ones the rest: they cannot be read off
            weights = [w * part.count("") / len(part) for w, part in zip((1, 2), messages) if part]
            score = round(points * sum(weights) / sum(w for w, part in zip((1, 2), messages) if part), 2)
        seen, unseen = (next(filter(None, part), "") for part in messages)
        return Mark(kind.grade_id, kind.points, score, seen or unseen, seen)

    def run_checks(self, checks: Checks, names: dict) -> list[str]:
        """What each check found wrong; empty where nothing is. Without a working set-up the rest cannot pass."""
        messages: list[str] = []
        for is_check, code in checks:
            problem = self.problem(code, names)
            if problem and not is_check:
                return messages + [problem] * max(1, sum(one for one, _ in checks) - len(messages))
            if is_check:
                messages.append(problem)
        return messages

    def problem(self, code: Any, names: dict) -> str:
        """The cause first (nothing returned, the wrong shape or type), the mathematics after."""
        printed = io.StringIO()
        try:
            with contextlib.redirect_stdout(printed):
                exec(code, names)
            return ""
        except AssertionError as error:
            problem = str(error) or "a test failed"
        except StudentError as error:
            return str(error)
        except NameError as error:
            return self.failures.get(error.name, str(error))
        except Exception as error:  # what was returned has another type, or shape, than the tests can work with
            problem = f"the tests cannot use what your code returned ({type(error).__name__}: {error})"[:500]
        if self.nothing:
            return f"{', '.join(self.nothing)} returned nothing (None): a function needs a return"
        cause = printed.getvalue().strip().splitlines()
        return printable(f"{cause[-1]}. {problem}" if cause else problem)

    def run(self, source: str) -> None:
        self.alive()
        self.sandbox.run(source, self.limits.seconds)
        self.good.append(source)

    def alive(self) -> None:
        """A new sandbox in the place of one that a question ended, with all that ran before."""
        if time.monotonic() > self.end:
            raise StudentError(f"{NOT_RUN}the questions before took all of the {self.limits.total:g} seconds")
        if self.sandbox.alive:
            return
        self.close()
        self.sandbox = Sandbox(self.wall, self.limits, self.end)
        again, self.good = self.good, []
        for source in again:
            try:
                self.sandbox.run(source, self.limits.seconds)
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
