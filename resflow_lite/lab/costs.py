"""Bytes and seconds of one training step, for every way to differentiate the residual blocks."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from ..errors import SettingsError
from ..estimators.logdet import PowerSeries
from ..estimators.series import Truncated
from ..expect import instance, one_of, sizes
from ..layers.gradient import MEMORY
from ..models.flow import Flow
from ..models.image import ImageModel, image_flow
from .files import read_json, write_json
from .ledger import provenance
from .machine import World
from .runs import folder
from .scoring import residual_blocks
from .tasks.task import COUNT, SOME, TaskSettings, option, seeded

MODES = (("series", "store"), *(("neumann", memory) for memory in reversed(MEMORY)))
"""(gradient, memory): the four ways to differentiate a block, the plain one first."""
PATHS = {"own": MODES, "autograd": (("series", "store"), ("neumann", "backward_in_forward"))}
"""The package's branch with its own chain rule in all four; the same layers as a plain module, every product by
autograd, in the plain way and with the two tricks of the paper."""
FILE = "memory_and_time.json"

SHAPES = {"smoke": (1, 8, 8), "laptop": (1, 16, 16), "paper": (3, 32, 32)}
GRIDS = {
    "smoke": dict(blocks=(1, 3), batch_sizes=(8, 16), widths=(8, 16), terms=(1, 6), rounds=2),
    "laptop": dict(blocks=(1, 2, 4, 8), batch_sizes=(8, 16, 32), widths=(16, 32, 64), terms=(1, 2, 4, 8, 12), rounds=5),
    "paper": dict(blocks=(1, 4, 16), batch_sizes=(16, 64), widths=(128, 512), terms=(1, 2, 4, 8), rounds=7),
}
RISING = sizes(words="rising whole numbers, 1 or more, such as [1, 2, 4]")
RISING = replace(RISING, fits=lambda values, each=RISING: each.fits(values) and all(a < b for a, b in pairwise(values)))


@dataclass(frozen=True)
class StepCosts(TaskSettings):
    """What to measure. A value of None takes the profile's (GRIDS).

    profile: "smoke" (seconds), "laptop" (minutes), "paper" (the first scale of the paper's CIFAR-10 model, for a GPU).
    seed: of the weights, the images and the probes.  blocks, batch_sizes, widths, terms: rising; one of the four is
    varied at a time, with the largest of the others.
    rounds: repetitions behind every time.  Raises SettingsError for a wrong value, with its name.
    """

    profile: str = option("smoke", "smoke, laptop or paper", one_of(GRIDS))
    seed: int = option(0, "of the weights, the images and the probes", COUNT)
    blocks: tuple[int, ...] | None = option(None, "of the model", RISING)
    batch_sizes: tuple[int, ...] | None = option(None, "images per step", RISING)
    widths: tuple[int, ...] | None = option(None, "channels inside a block", RISING)
    terms: tuple[int, ...] | None = option(None, "of the series", RISING)
    rounds: int | None = option(None, "repetitions behind every time", SOME)

    def __post_init__(self) -> None:
        self._check_each()
        self._fill(GRIDS[self.profile])

    def build(self, blocks: int, width: int, path: str, device: torch.device) -> Flow:
        """An image model of one scale, without dense blocks, which would hide what the convolutions take."""
        with seeded(self.seed):
            flow = image_flow(ImageModel(SHAPES[self.profile], (blocks,), width, n_dense=0))
        flow.initialize_(self.images(8, torch.device("cpu")))
        for block in residual_blocks(flow) if path == "autograd" else ():
            block.branch = nn.Sequential(*block.branch.steps)
        return flow.to(device)

    def images(self, n: int, device: torch.device) -> Tensor:
        return torch.rand(n, *SHAPES[self.profile], generator=torch.Generator().manual_seed(self.seed)).to(device)


def set_modes(flow: Flow, gradient: str, memory: str, terms: int) -> None:
    """Give every block these modes and a series of so many terms: fixed, so that each mode has the same work."""
    for block in residual_blocks(flow):
        block.gradient, block.memory = gradient, memory
        block.train_estimator = PowerSeries(Truncated(terms))


def allocations(run: Callable[[], Any]) -> tuple[Any, Tensor]:
    """The result of run(), and the bytes of every allocation (+) and release (-) of PyTorch's CPU allocator, in order.

    Exact and repeatable. Work space inside a convolution routine that bypasses the allocator is not seen.
    """
    with _silent(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        result = run()
    events = [e for e in recorded.profiler.kineto_results.events() if e.name() == "[memory]"]
    return result, torch.tensor([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])


@contextmanager
def _silent() -> Iterator[None]:
    """The profiler's library writes to the process's standard error at every start and stop; not inside."""
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def step_bytes(flow: Flow, x: Tensor) -> tuple[int, int]:
    """(bytes that live at the end of the forward pass, bytes at the peak of forward and backward pass).

    Parameters and x were there before and do not count; the gradients of the parameters count towards the peak. On a
    GPU by the counters of PyTorch's allocator, torch.cuda.max_memory_allocated.
    """
    flow.zero_grad(set_to_none=True)
    if x.is_cuda:
        before = torch.cuda.memory_allocated(x.device)
        torch.cuda.reset_peak_memory_stats(x.device)
        loss = _loss(flow, x)
        kept = torch.cuda.memory_allocated(x.device) - before
        loss.backward()
        return kept, torch.cuda.max_memory_allocated(x.device) - before
    loss, forward = allocations(lambda: _loss(flow, x))
    _, backward = allocations(loss.backward)
    return int(forward.sum()), int(torch.cat([forward, backward]).cumsum(0).max())


def step_seconds(flow: Flow, x: Tensor) -> float:
    """Of one forward and backward pass: CPU time, or on a GPU the time until it is done."""

    def now() -> float:
        if x.is_cuda:
            torch.cuda.synchronize(x.device)
        return time.perf_counter() if x.is_cuda else time.process_time()

    flow.zero_grad(set_to_none=True)
    start = now()
    _loss(flow, x).backward()
    return now() - start


def _loss(flow: Flow, x: Tensor) -> Tensor:
    return -flow.log_prob(x, torch.Generator().manual_seed(0)).mean()


def measure_costs(study: StepCosts, run_dir: Path, device: torch.device) -> dict[str, Any]:
    """Everything that the study asks for on one device, as written to run_dir; a measurement that is there is read.

    bytes: rows (path, gradient, memory, blocks, batch_size, width, terms, kept, peak).
    seconds: rows (path, gradient, memory, terms, seconds) at the largest sizes, medians over rounds in which every
    mode has its turn, so that a busy moment of the machine hits all of them.
    Raises SettingsError where run_dir holds a measurement with other settings.
    """
    instance(StepCosts)("study", study)
    path = folder(run_dir) / f"{device.type}_{FILE}"
    settings = study.as_json()
    if path.exists():
        there = read_json(path)
        if there.get("settings") != settings:
            raise SettingsError(f"{path} holds a measurement with other settings: choose another folder")
        return there
    found = provenance() | dict(settings=settings, hardware=World(0, 1, device).describe())
    found["bytes"] = [row for path_ in PATHS for row in _bytes(study, path_, device)]
    found["seconds"] = _seconds(study, device)
    write_json(path, found)
    return found


def _bytes(study: StepCosts, path: str, device: torch.device) -> list[dict[str, Any]]:
    axes = dict(blocks=study.blocks, batch_size=study.batch_sizes, width=study.widths, terms=study.terms)
    largest = {name: values[-1] for name, values in axes.items()}
    cases = [largest | {name: value} for name, values in axes.items() for value in values[:-1]]
    rows = []
    for case in [*cases, largest]:
        flow = study.build(case["blocks"], case["width"], path, device)
        x = study.images(case["batch_size"], device)
        for gradient, memory in PATHS[path]:
            set_modes(flow, gradient, memory, case["terms"])
            gc.collect()  # graphs in reference cycles must not be released during the measurement
            kept, peak = step_bytes(flow, x)
            rows.append(dict(path=path, gradient=gradient, memory=memory, **case, kept=kept, peak=peak))
    return rows


def _seconds(study: StepCosts, device: torch.device) -> list[dict[str, Any]]:
    flow = study.build(study.blocks[-1], study.widths[-1], "own", device)
    x = study.images(study.batch_sizes[-1], device)
    times: dict[Any, list[float]] = {case: [] for case in product(study.terms, MODES)}
    for _ in range(study.rounds + 1):
        for (terms, modes), found in times.items():
            set_modes(flow, *modes, terms)
            found.append(step_seconds(flow, x))
    return [
        dict(path="own", gradient=gradient, memory=memory, terms=terms, seconds=statistics.median(found[1:]))
        for (terms, (gradient, memory)), found in times.items()  # the first round warms up
    ]
