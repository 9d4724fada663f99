"""Settings of an experiment that are checked before anything runs."""

import difflib
import json
import math
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, Self, get_args

from ...errors import SettingsError

__all__ = ["TaskSettings"]


class TaskSettings:
    """Base of a frozen dataclass of settings, one of which is `dataset`: a name, or a function with one."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """From named values, as papermill or a command line gives them. A number written as text ("1e-3", which YAML
        reads as text) is taken as the number. Raises SettingsError for an unknown name or a wrong value."""
        types = {f.name: (f.type, *get_args(f.type)) for f in fields(cls)}
        for name in parameters:
            if name not in types:
                close = difflib.get_close_matches(name, types, 1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise SettingsError(f"unknown parameter {name!r}: {hint}Known: {', '.join(types)}")
        return cls(**{name: _as_number(v) if float in types[name] else v for name, v in parameters.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; a data set of one's own appears as its name."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {"dataset": self.dataset_name}

    def as_json(self) -> dict[str, Any]:
        """as_dict() as a JSON file gives it back: with lists in place of tuples."""
        return json.loads(json.dumps(self.as_dict()))

    @property
    def dataset_name(self) -> str:
        return self.dataset.__name__ if callable(self.dataset) else self.dataset

    def _fill(self, values: Mapping[str, Any]) -> None:
        """Give these values to the settings that are None."""
        for name, value in values.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)

    def _expect(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise SettingsError(f"{name} = {getattr(self, name)!r}: expected {expected}")

    def _expect_whole(self, least: int, *names: str) -> None:
        for name in names:
            value = getattr(self, name)
            good = isinstance(value, int) and not isinstance(value, bool) and value >= least
            self._expect(name, good, f"a whole number, {least} or more")

    def _expect_number(self, name: str, low: float, high: float, expected: str) -> None:
        """Strictly between the two."""
        value = getattr(self, name)
        good = isinstance(value, int | float) and not isinstance(value, bool) and low < value < high
        self._expect(name, good, expected)


def _as_number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    return number if math.isfinite(number) else value
