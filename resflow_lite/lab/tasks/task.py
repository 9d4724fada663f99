"""What a task is: settings that are checked before anything runs, and what the one training loop asks of it.

A new task is a dataclass of settings, a class with the methods of `Task`, and a line in registry.py.
"""

import json
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import Field, InitVar, dataclass, field, fields, replace
from typing import Any, ClassVar, Self, get_args

import torch
from torch import Tensor

from ...errors import SettingsError
from ...estimators.logdet import Estimator
from ...estimators.noise import Noise
from ...expect import SEED, Check, integer, number, one_of, shown, sizes
from ...models.flow import Flow
from ..machine import World
from ..values import expect_known
from .question import Question
from .words import Unknown

PRECISIONS = ("fp32", "tf32", "bf16")


BLOCKS, WIDTH, PARAMETERS, TERMS, MOST = 1_000, 100_000, 10**10, 10_000, 2**63 - 1
"""What a model has at most: more is a slip of the keyboard, and would run without an answer."""


def option(default: Any, told: str, check: Check | None = None) -> Any:
    """A field of a dataclass of settings, with the line that `--help` prints and what is expected of its value."""
    return field(default=default, metadata={"help": told, "check": check})


def within(interval: str, words: str) -> Check:
    """A number in an interval (expect.number), in other words."""
    return replace(number(interval), words=words)


COUNT, SOME, PRECISION = integer(0, MOST), integer(1, MOST), one_of(PRECISIONS)
SMALL, DECAY = (
    within("(0, 1)", "a number between 0 and 1, such as 1e-3"),
    within("[0, 1)", "a number from 0 to below 1"),
)
SHARE, AMOUNT = within("[0, 1]", "a fraction from 0 to 1"), within("[0, inf)", "a number, 0 or more")
BETAS = Check("two such as [0.9, 0.99]", lambda b: isinstance(b, tuple) and len(b) == 2 and all(map(DECAY.fits, b)))
PER_SCALE = sizes(words="blocks per scale: [4, 4]")


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, PyTorch's default CPU generator starts from this seed; after it, it stands where it stood."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def noises(seed: int) -> tuple[Noise, Noise]:
    """Noise of the data (which, flips, dequantisation) and of the model's estimators. Apart, so that two systems with
    one seed see the same batches, whatever else they draw."""
    data, draws = Noise(), Noise()
    data.manual_seed(SEED("seed", seed))
    draws.terms = []
    draws.manual_seed(int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(seed))))
    return data, draws


class TaskSettings:
    """Base of a frozen dataclass of settings."""

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> Self:
        """From named values, as papermill or a command line gives them. A number written as text ("1e-3", which YAML
        reads as text) is taken as the number, a whole one such as 1e3 as a whole number where one is wanted. Raises
        SettingsError for an unknown name or a wrong value."""
        types = {f.name: (f.type, *get_args(f.type)) for f in fields(cls)}
        if not isinstance(parameters, Mapping):
            raise SettingsError(f"parameters = {parameters!r}: expected names and values, such as dict(steps=100)")
        expect_known(parameters, types)
        return cls(**{name: _as_number(v, types[name]) for name, v in parameters.items()})

    @classmethod
    def from_record(cls, told: Mapping[str, Any]) -> Self:
        """The settings that a file of a run tells of. A setting that is younger than the file takes its usual value; an
        object of the user's own, of which the file has the words only, becomes an `Unknown`."""
        return cls.from_parameters({f.name: _stored(f, told[f.name]) for f in fields(cls) if f.name in told})

    def as_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON: a function or class of one's own appears as its name, an object as its repr."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self)}

    def as_json(self) -> dict[str, Any]:
        """as_dict() as a JSON file gives it back: with lists in place of tuples."""
        return json.loads(json.dumps(self.as_dict()))

    def _check_each(self) -> None:
        """Each setting by itself; lists become tuples. A None that a profile fills in is not looked at."""
        mine = vars(self)  # before anybody else sees the object, which is frozen from then on
        for f in fields(self):
            value, check = mine[f.name], f.metadata.get("check")
            # in the place of a text it is shown as it was given
            value = mine[f.name] = tuple(value) if isinstance(value, list) and not isinstance(f.default, str) else value
            if check is not None and not (value is None and f.default is None):
                mine[f.name] = check(f.name, value)

    def _fill(self, values: Mapping[str, Any]) -> None:
        """Give these values to the settings that are None."""
        mine = vars(self)
        given = {f.name: values[f.name] for f in fields(self) if mine[f.name] is None and f.name in values}
        mine["filled"] = (mine.get("filled") or {}) | given
        mine.update(given)

    def _expect(self, name: str, condition: bool, expected: str) -> None:
        if not condition:
            raise SettingsError(f"{name} = {shown(getattr(self, name))}: expected {expected}")

    def _expect_scales(self, shape: tuple[int, int, int] | None, halvings: int) -> None:
        """Not too many blocks, and images that can be halved so often; None: they are not known yet."""
        self._expect("blocks", sum(self.blocks) <= BLOCKS, f"{BLOCKS:,} blocks at most")
        if shape is not None:
            good = all(size % 2**halvings == 0 for size in shape[1:])
            told = f"fewer scales: images of {shape[1]} x {shape[2]} cannot be halved {halvings} times"
            self._expect("blocks", good, told)

    def _expect_buildable(self, shape: tuple[int, ...]) -> None:
        """A model of about `parameters` parameters: built without memory. Raises SettingsError where there is none."""
        with torch.device("meta"):
            self._flow(shape)


def _stored(setting: Field, told: Any) -> Any:
    """What a file tells of a setting: its value, or where that takes objects, perhaps the name of one of the user's."""
    check, own = setting.metadata.get("check"), Unknown(setting.name, told)
    known = not isinstance(told, str) or check is None or check.fits(check.plain(told)) or not check.fits(own)
    return told if known else own


def _plain(value: Any) -> Any:
    if value is None or isinstance(value, str | int | float | tuple):
        return value
    if isinstance(value, type) or (callable(value) and hasattr(value, "__name__")):
        return value.__name__
    return re.sub(r" at 0x[0-9a-fA-F]+", "", repr(value))  # an address is another one in the next process


def _as_number(value: Any, types: tuple[Any, ...]) -> Any:
    """Text as the number that it writes, and 1000.0 as 1000, where a setting is such a number."""
    if not (float in types or int in types) or not isinstance(value, str | float):
        return value
    try:
        number = float(value)
    except ValueError:
        return value
    if int in types and number.is_integer():
        return int(number)
    return number if math.isfinite(number) else value


PROFILE_OF = ("dataset", "profile", "system")
"""The settings by which a profile fills in others."""


@dataclass(frozen=True, kw_only=True)
class Training(TaskSettings):
    """The settings of the training loop, the same for every task. A value of None takes the profile's."""

    validation = truth_images = train_on_validation = 0  # settings of tasks that hold data out
    norm_penalty = 0  # and of tasks whose models may learn orders of norms
    filled: InitVar[dict[str, Any] | None] = None
    """What a profile has filled in, and of which data: dataclasses.replace hands it on."""

    seed: int = option(0, "of the weights, the batches and all noise", COUNT)
    steps: int | None = option(None, "of the optimiser", SOME)
    batch_size: int | None = option(None, "samples per step, over all processes and passes", SOME)
    accumulation: int | None = option(None, "passes in which a process computes its share of a batch", SOME)
    lr: float | None = option(None, "learning rate of Adam, the largest of its schedule", SMALL)
    warm_up: int | None = option(None, "steps in which the learning rate rises from 0", COUNT)
    cool_down: float | None = option(None, "last fraction of the steps, in which the learning rate falls to 0", SHARE)
    betas: tuple[float, float] = option((0.9, 0.99), "of Adam: decay of its two running means", BETAS)
    weight_decay: float = option(0.0, "of Adam: this times the weights is added to the gradient", AMOUNT)
    clip: float = option(1.0, "largest norm of a step's gradient", within("(0, inf)", "a positive number"))
    norm_tolerance: float = option(1e-3, "a layer's norm is updated until it grows by less than this fraction", SMALL)
    ema: float | None = option(None, "decay of the averaged weights, which are reported; 0: the last step's", DECAY)
    precision: str = option("fp32", f"of training steps: {', '.join(PRECISIONS)} (bf16: in the branches)", PRECISION)

    def _refuse_carried(self, filled: dict[str, Any] | None) -> None:
        """Values that one profile has filled in may be none of another's. Raises SettingsError with their names."""
        kept = {name: v for name, v in (filled or {}).items() if getattr(self, name) == v}
        vars(self)["filled"] = kept | {name: getattr(self, name) for name in PROFILE_OF if hasattr(self, name)}
        new = [name for name in PROFILE_OF if filled and name in filled and name not in kept]
        if new:
            own = (f.name for f in fields(self) if f.name in PROFILE_OF or f.name not in kept)
            anew = type(self)(**{name: getattr(self, name) for name in own})
            carried = ", ".join(name for name in kept if getattr(anew, name) != kept[name])
            if carried:
                raise SettingsError(
                    f"{new[0]} = {shown(getattr(self, new[0]))}: {carried} came from the profile for "
                    f"{new[0]} = {shown(filled[new[0]])}. In place of dataclasses.replace, {type(self).__name__}"
                    f"({new[0]}=..., ...) with the settings that you have chosen"
                )

    def _check_training(self) -> None:
        parts = self.batch_size % self.accumulation
        self._expect("accumulation", not parts, f"a divisor of batch_size = {self.batch_size}")

    def rate(self, step: int) -> float:
        """The learning rate of a step, 1 for the first, as a fraction of the largest: a linear rise over warm_up steps,
        a linear fall over the last cool_down fraction."""
        rise = step / max(1, self.warm_up)
        fall = (self.steps + 1 - step) / max(1.0, self.steps * self.cool_down) if self.cool_down else 1.0
        return min(1.0, rise, fall)

    def build(self, shape: tuple[int, ...] | None = None) -> Flow:
        """The flow of events of this shape with its initial parameters, which depend on the seed alone."""
        with seeded(self.seed):
            return self._flow(shape)

    def _flow(self, shape: tuple[int, ...] | None) -> Flow:
        raise NotImplementedError


class Task(ABC):
    """Settings with their data, on a device: what is drawn, lowered and measured.

    name: of the task.  settings: the dataclass.  unit: the loss's name in the record.  words: its unit for people.
    scores: fields of a ledger entry by which runs are compared.  device: "cpu" where the protocol is about one.
    """

    name: ClassVar[str]
    settings: ClassVar[type[Training]]
    unit: ClassVar[str]
    words: ClassVar[str]
    scores: ClassVar[tuple[str, ...]]
    device: ClassVar[str | None] = None

    def __init__(self, experiment: Any, world: World) -> None:
        self.experiment, self.world = experiment, world

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of an event: without the data where that can be."""

    @abstractmethod
    def start(self, noise: Noise) -> Tensor:
        """Events whose statistics the model starts from, the same in every process."""

    @abstractmethod
    def batch(self, step: int, noise: Noise) -> Any:
        """The rows of the noise's part of the batch of a step."""

    @abstractmethod
    def loss(self, flow: Flow, batch: Any, draws: Noise) -> Tensor:
        """The mean over the rows of batch, in the task's unit; draws: of the model's estimators."""

    @abstractmethod
    def events(self, question: Question) -> Tensor:
        """Some events of those that are scored, to try the inverse at."""

    @abstractmethod
    def score(self, flow: Flow, question: Question) -> dict[str, Any]:
        """The fields of a ledger entry that are the task's own."""

    def truth(self, flow: Flow, events: Tensor) -> Estimator | None:
        """What a score evaluates with where nobody asks for more; None: the model's own estimators."""
        return None

    def compare(self, flow: Flow) -> dict[str, float]:
        """claim and truth: the loss of held-out data by the training's estimator, and by the best one; where the
        settings have `truth_images`."""
        raise NotImplementedError

    def validate(self, flow: Flow) -> float:
        """The loss of held-out data, where the settings have a `validation`; the lowest chooses the weights."""
        raise NotImplementedError

    def facts(self) -> dict[str, Any]:
        """What a file of weights tells beside the settings, so that it can be used without the data."""
        return dict(task=self.name, shape=self.shape)
