"""One experiment, validated: papermill parameters, the command line and Python all become an `Experiment`."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch

from ..datasets.images import image_names
from ..errors import SettingsError
from ..estimators.logdet import Estimator, PowerSeries
from ..estimators.series import Geometric, Poisson, Roulette, Truncated
from ..home import home
from ..layers.memory import MEMORY
from ..models.flow import Flow
from ..models.image import ImageModel, image_flow

__all__ = ["Experiment", "ESTIMATORS", "PROFILES", "home"]

ESTIMATORS: dict[str, Estimator] = {
    "roulette": PowerSeries(Roulette(Geometric(0.5), n_exact=2)),
    "roulette_poisson": PowerSeries(Roulette(Poisson(2.0), n_exact=2), probe="gaussian"),
    "truncated": PowerSeries(Truncated(5)),
}

PROFILES: dict[str, dict[str, Any]] = {
    "smoke": dict(steps=10, blocks=(1, 1), width=16, n_dense=1, dense_width=16, evaluations=2),
    "laptop": dict(steps=600, blocks=(4, 4), width=64, n_dense=2, dense_width=64, evaluations=5),
}


@dataclass(frozen=True)
class Experiment:
    """What to train, on what, for how long. A value of None takes the profile's.

    dataset: a name that load_images knows.  profile: "smoke" (seconds) or "laptop" (minutes on two cores).
    blocks, width, n_dense, dense_width: of the model (ImageModel).  train_estimator: a name in ESTIMATORS or an
    estimator object.  memory: of the blocks (layers/memory.py); "store" is fastest, "recompute" smallest.
    lr: of Adam, after `warm_up` steps of linear rise; it falls to 0 over the last `cool_down` fraction of the steps.
    ema: decay of the averaged weights that are evaluated.  evaluations: passes over the test images, each with fresh
    dequantisation noise and estimator draws.

    Raises SettingsError for a wrong value, with its name.
    """

    dataset: str = "digits"
    profile: str = "laptop"
    seed: int = 0
    steps: int | None = None
    batch_size: int = 128
    lr: float = 4e-3
    warm_up: int = 50
    cool_down: float = 0.3
    ema: float = 0.99
    blocks: tuple[int, ...] | None = None
    width: int | None = None
    n_dense: int | None = None
    dense_width: int | None = None
    train_estimator: str | Estimator = "roulette"
    memory: str = "store"
    evaluations: int | None = None

    def __post_init__(self) -> None:
        if self.profile not in PROFILES:
            raise SettingsError(f"profile = {self.profile!r}: expected one of {', '.join(PROFILES)}")
        for name, value in PROFILES[self.profile].items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, value)
        if isinstance(self.blocks, list):
            object.__setattr__(self, "blocks", tuple(self.blocks))
        self._check()

    def _check(self) -> None:
        self._expect("dataset", self.dataset in image_names, f"one of {', '.join(image_names)}")
        for name in ("steps", "batch_size", "width", "dense_width", "evaluations"):
            self._expect(name, _whole(getattr(self, name), 1), "a whole number, 1 or more")
        for name in ("seed", "warm_up", "n_dense"):
            self._expect(name, _whole(getattr(self, name), 0), "a whole number, 0 or more")
        self._expect("lr", _number(self.lr) and 0 < self.lr < 1, "a number between 0 and 1, such as 1e-3")
        self._expect("ema", _number(self.ema) and 0 <= self.ema < 1, "a number from 0 to below 1")
        self._expect("cool_down", _number(self.cool_down) and 0 <= self.cool_down <= 1, "a fraction from 0 to 1")
        blocks = self.blocks
        good = isinstance(blocks, tuple) and len(blocks) > 0 and all(_whole(b, 1) for b in blocks)
        self._expect("blocks", good, "residual blocks per scale, such as [4, 4]")
        self._expect("memory", self.memory in MEMORY, f"one of {', '.join(MEMORY)}")
        known = isinstance(self.train_estimator, str) and self.train_estimator in ESTIMATORS
        own = all(callable(getattr(self.train_estimator, verb, None)) for verb in ("draw", "estimate"))
        self._expect("train_estimator", known or own, f"one of {', '.join(ESTIMATORS)}, or an estimator object")

    def _expect(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise SettingsError(f"{name} = {getattr(self, name)!r}: expected {expected}")

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> "Experiment":
        """From named values, as papermill or a command line gives them. A number written as text ("1e-3", which YAML
        reads as text) is taken as the number. Raises SettingsError for an unknown name or a wrong value."""
        names = [f.name for f in fields(cls)]
        for name in parameters:
            if name not in names:
                close = difflib.get_close_matches(name, names, 1)
                hint = f"did you mean {close[0]!r}? " if close else ""
                raise SettingsError(f"unknown parameter {name!r}: {hint}Known: {', '.join(names)}")
        numeric = {f.name for f in fields(cls) if f.type is float}
        return cls(**{k: _as_number(v) if k in numeric else v for k, v in parameters.items()})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON; an estimator object appears as its repr."""
        plain = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: v if isinstance(v, str | int | float | tuple) else repr(v) for k, v in plain.items()}

    def model(self, shape: tuple[int, int, int]) -> ImageModel:
        """The image model of this experiment for images (C, H, W)."""
        estimator = ESTIMATORS[self.train_estimator] if isinstance(self.train_estimator, str) else self.train_estimator
        chosen = dict(blocks=self.blocks, width=self.width, n_dense=self.n_dense, dense_width=self.dense_width)
        return ImageModel(shape, train_estimator=estimator, memory=self.memory, **chosen)

    def build(self, shape: tuple[int, int, int]) -> Flow:
        """The flow with its initial parameters, which depend on the seed alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            return image_flow(self.model(shape))


def _whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _as_number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value
