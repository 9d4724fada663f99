"""Every exercise of every chapter: its stub is refused, its printed solution accepted, nonsense gets a verdict."""

import importlib
import math
import pkgutil
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch

import resflow_lite as rf
from resflow_lite.book import exercises

ROOT = Path(__file__).parents[3]
CALL = re.compile(r"exercises\.(check_\w+)\((\w+)\)")
SOLUTION = re.compile(r"<details>.*?```python\n(.*?)```.*?</details>", re.DOTALL)
CHAPTERS = [m.name for m in pkgutil.iter_modules(exercises.__path__) if m.name.startswith("chapter")]


def checks_of(chapter):
    return [
        name for name in vars(importlib.import_module(f"{exercises.__name__}.{chapter}")) if name.startswith("check_")
    ]


CHECKS = [(c, check) for c in CHAPTERS for check in checks_of(c)]


def sources(chapter, kind):
    """Of a chapter and its appendix: 04 and 04b have one file of checks."""
    number = chapter.removeprefix("chapter")
    paths = [path for name in (number, f"{number}b") for path in (ROOT / "notebooks").glob(f"{name}_*.ipynb")]
    return [cell.source for p in paths for cell in nbformat.read(p, as_version=4).cells if cell.cell_type == kind]


def stubs(chapter):
    """check -> (name of the reader's function, the cell that holds its stub)."""
    return {m[1]: (m[2], source) for source in sources(chapter, "code") for m in CALL.finditer(source)}


def solutions(chapter):
    return [code for source in sources(chapter, "markdown") for code in SOLUTION.findall(source)]


def function(name, code):
    names = dict(torch=torch, math=math, np=np, rf=rf)
    exec(CALL.sub("", code), names)
    return names[name]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_every_check_belongs_to_an_exercise_with_a_solution(chapter):
    assert set(stubs(chapter)) == {check for c, check in CHECKS if c == chapter}
    assert len(solutions(chapter)) == len(stubs(chapter))


@pytest.mark.parametrize(("chapter", "check"), CHECKS)
def test_the_stub_is_refused(chapter, check, verdict):
    name, source = stubs(chapter)[check]
    planted = "..." not in source  # a function that runs, with a bug
    refused = r"not yet: (?!\w+ raised)" if planted else r"not yet: \w+ returned None"
    assert re.match(refused, verdict(chapter, check, function(name, source)))


@pytest.mark.parametrize(("chapter", "check"), CHECKS)
def test_the_solution_is_accepted(chapter, check, verdict):
    name = stubs(chapter)[check][0]
    (code,) = [code for code in solutions(chapter) if re.search(rf"def {name}\(", code)]
    assert verdict(chapter, check, function(name, code)).startswith("correct: ")


@pytest.mark.parametrize(("chapter", "check"), CHECKS)
@pytest.mark.parametrize("returned", ["text", 3.0, [1.0], torch.zeros(3, 3)], ids=["text", "number", "list", "zeros"])
def test_an_answer_of_the_wrong_type_is_a_verdict_not_an_error(chapter, check, returned, verdict):
    sentence = verdict(chapter, check, lambda *_: returned)
    assert sentence.startswith("not yet: ") and " raised " not in sentence  # the function itself did nothing wrong


@pytest.mark.parametrize(("chapter", "check"), CHECKS)
def test_an_error_in_the_answer_is_named(chapter, check, verdict):
    def answer(*_):
        raise IndexError("too far")

    assert verdict(chapter, check, answer) == "not yet: answer raised IndexError: too far\n"
