"""Words of the command line as numbers and paths; what does not fit is told in one sentence."""

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

from .. import expect
from ..errors import SettingsError
from ..expect import Check, integer
from .values import read_value


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in one sentence, as everything else here does."""

    def error(self, message: str) -> NoReturn:
        raise SettingsError(f"{message}; {self.prog} --help tells more")


def whole(least: int, most: int = 2**63 - 1) -> Callable[[str], int]:
    """The type of an argument that is a whole number in [least, most]."""
    return _read(integer(least, most))


def number(least: float, most: float) -> Callable[[str], float]:
    """The type of an argument that is a number in [least, most]."""
    return _read(replace(expect.number(f"[{least}, {most}]"), words=f"a number from {least:g} to {most:g}"))


def _read(check: Check) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        value = _scalar(text)
        if not check.fits(value):
            raise argparse.ArgumentTypeError(f"{text!r}: expected {check.words}")
        return value

    return read


def _scalar(text: str) -> Any:
    return None if text[:1] in ("[", "{") else read_value(text)


def path(text: str) -> Path:
    """The type of an argument that names a file or a folder, there or not."""
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a path")
    return Path(text)
