"""What is expected of the values that a user gives: numbers, sizes, names and objects (tensors: incoming.py).

A Check takes the name of a value and the value. It returns the value in its plain form, or raises a SettingsError that
says what was given, what was expected and, where that can be guessed, what to do.

    n = integer(1)("n", n)                                             an argument
    settle(self, p=number("(0, 1)"), tol=number("(0, inf)") | None)  fields or attributes, in place
"""

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from .errors import SettingsError


@dataclass(frozen=True)
class Check:
    """words: what is expected.  fits: whether a value, in its plain form, is that.  names: those that may be meant."""

    words: str
    fits: Callable[[Any], bool]
    plain: Callable[[Any], Any] = lambda value: value
    names: Iterable[str] = ()

    def __call__(self, name: str, value: Any, owner: str = "") -> Any:
        plain = self.plain(value)
        if self.fits(plain):
            return plain
        given = f"{owner}({name}={shown(value)})" if owner else f"{name} = {shown(value)}"
        close = difflib.get_close_matches(value, self.names, 1) if isinstance(value, str) else []
        hint = f". Did you mean {close[0]!r}?" if close else ""
        if isinstance(value, type):
            hint = f". Did you forget the brackets, {value.__name__}()?"
        raise SettingsError(f"{given}: expected {self.words}{hint}")

    def __or__(self, none: None) -> "Check":
        return replace(self, words=f"{self.words}, or None", fits=lambda plain: plain is None or self.fits(plain))


def settle(owner: Any, **checks: Check) -> None:
    """Check these attributes of an object, also of a frozen one, and leave them in their plain form."""
    for name, check in checks.items():
        given = getattr(owner, name)
        plain = check(name, given, type(owner).__name__)
        if plain is not given:
            object.__setattr__(owner, name, plain)


def shown(value: Any) -> str:
    """A value as a sentence names it: short, on one line."""
    if isinstance(value, type):
        return f"the class {value.__name__}"
    if getattr(value, "ndim", 0) and hasattr(value, "dtype"):
        return f"{type(value).__name__} of shape {tuple(value.shape)}, {value.dtype}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


def _scalar(value: Any) -> Any:
    """numpy's and torch's scalars as Python's."""
    return value.item() if getattr(value, "ndim", None) == 0 and hasattr(value, "dtype") else value


def _each_scalar(value: Any) -> Any:
    return tuple(map(_scalar, value)) if isinstance(value, tuple | list) else value


def integer(least: int, most: int = 10**9) -> Check:
    """A whole number from `least` to `most`; True is none."""
    words = f"a whole number from {least} to {'2^63 - 1' if most == 2**63 - 1 else format(most, ',')}"
    return Check(words, lambda n: isinstance(n, int) and not isinstance(n, bool) and least <= n <= most, _scalar)


def number(interval: str) -> Check:
    """interval: written as in mathematics, "(0, 1]" with 1 and without 0."""
    low, high = map(float, interval[1:-1].split(","))

    def fits(x: Any) -> bool:
        if not isinstance(x, int | float) or isinstance(x, bool):
            return False
        return low <= x <= high and (x != low or interval[0] == "[") and (x != high or interval[-1] == "]")

    return Check(f"a number in {interval}", fits, _scalar)


def one_of(names: Iterable[str]) -> Check:
    return Check(f"one of {', '.join(names)}", lambda name: isinstance(name, str) and name in names, names=names)


def sizes(n: int | None = None, words: str = "a tuple of positive whole numbers, such as (1, 28, 28)") -> Check:
    """n whole numbers, 1 or more, as a tuple or a list; None: one or any more of them."""

    def fits(value: Any) -> bool:
        return isinstance(value, tuple) and len(value) == (n or max(1, len(value))) and all(map(integer(1).fits, value))

    return Check(words, fits, _each_scalar)


def instance(kind: type) -> Check:
    return Check(f"an object of the class {kind.__name__}", lambda value: isinstance(value, kind))


def offering(words: str, *verbs: str) -> Check:
    """An object with these methods; a class is none."""
    return Check(
        words, lambda value: not isinstance(value, type) and all(callable(getattr(value, v, None)) for v in verbs)
    )


FLAG = Check("True or False", lambda value: isinstance(value, bool))
SEED = integer(0, 2**63 - 1)


class Named(dict[str, Any]):
    """Things of one kind by name, which say what names they know."""

    def __init__(self, kind: str, things: dict[str, Any]) -> None:
        super().__init__(things)
        self.kind = kind

    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(one_of(self)(self.kind, name))
