"""What every check of an exercise is made of: try the reader's function, print one sentence, return nothing."""

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

__all__ = ["exercise", "expect", "close"]


class _NotYet(Exception):
    """What is wrong with an answer, as a sentence for the reader."""


def expect(condition: bool, otherwise: str) -> None:
    if not condition:
        raise _NotYet(otherwise)


def exercise(check: Callable[[Callable], str]) -> Callable[[Callable], None]:
    """A check returns what the reader has shown, or raises _NotYet; an error in the reader's function is told too."""

    @wraps(check)
    def verdict(answer: Callable) -> None:
        try:
            print(f"correct: {check(answer)}")
        except _NotYet as problem:
            print(f"not yet: {problem}")
        except Exception as error:
            print(f"not yet: {getattr(answer, '__name__', 'your answer')} raised {type(error).__name__}: {error}")

    return verdict


def close(a: Any, b: Any) -> bool:
    """Equal up to rounding, to 5 digits; False where the shapes differ."""
    a, b = (torch.as_tensor(t, dtype=torch.float64) for t in (a, b))
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-5, atol=1e-9)
