import importlib

import pytest


@pytest.fixture
def verdict(capsys):
    """The sentence that a chapter's check prints for an answer."""

    def of(chapter, check, answer):
        module = importlib.import_module(f"resflow_lite.book.exercises.{chapter}")
        assert getattr(module, check)(answer) is None
        sentence = capsys.readouterr().out
        assert sentence.count("\n") == 1
        return sentence

    return of
