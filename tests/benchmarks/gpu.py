"""What a GPU makes of a training step: right first, then fast. One table in under four minutes.

    python tests/benchmarks/gpu.py          (PYTHONPATH=. before it where the package is not installed)

Correctness: a small flow and convolutions as matrix products, on this device in every precision, against float64 on
the CPU. Every operation that has a kernel of ours: its time in plain torch and by Triton. Then the paper's CIFAR-10 and
MNIST models at batch 64, by precision, memory mode and the roulette's draws: milliseconds of a whole step of `fit`
(batch, forward, backward, clip, Adam, norms, average), kernels and launches in it, GiB at the peak. Without a GPU:
correctness and a small model, so that the script is known to run. Ends with status 1 where a number is wrong.
"""

import argparse
import copy
import gc
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight

import resflow_lite as rf
from resflow_lite.numerics import kernels
from resflow_lite.numerics.kernels import MatrixConv, fused, kernel_matrix, kernel_of
from resflow_lite.numerics.tensor_float import tensor_float

BUDGET = 230.0
"""Seconds after which no new measurement starts; one that would not fit is left out and named."""
PRECISIONS = {"fp64": 1e-11, "fp32": 1e-4, "tf32": 1e-2, "bf16": 5e-2}
"""Largest error of the gradient against float64 on the CPU, relative to its norm."""
CASES = list(itertools.product(("recompute",), ("cifar10", "mnist"), ("bf16", "tf32", "fp32"), ("stratified",)))
CASES += itertools.product(("store",), ("cifar10", "mnist"), ("bf16", "tf32", "fp32"), ("stratified",))
CASES += [("recompute", "cifar10", "bf16", "block"), ("recompute", "cifar10", "tf32", "block")]  # a minute each
"""Stratified draws run as graphs, one for each length of the tail; those of the paper, one for each block, cannot."""
BATCH, WARM_UP, TIMED, TOGETHER = 64, 6, 7, 5
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


# The step of fit: what to change when it moves ------------------------------------------------------------------------


@contextmanager
def training_step(experiment: rf.Experiment):
    """A function without arguments that does one step of `fit`."""
    from resflow_lite.lab.machine import connect
    from resflow_lite.lab.stages import begin
    from resflow_lite.lab.step import Step
    from resflow_lite.lab.tasks.registry import task_of

    task = task_of(experiment, connect())
    with tensor_float(experiment.precision == "tf32"):
        yield Step(task, begin(task), lambda told: print(f"    {told}"))


# Correctness ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SameProbes(rf.PowerSeries):
    """Draws in float64 on the CPU: every device and every precision gets the same probes."""

    def draw(self, x, generator=None):
        found = super().draw(x.detach().double().cpu(), generator)
        return replace(found, probes=found.probes.to(x.device, x.dtype))


def small_flow(memory="recompute", terms=3) -> tuple[rf.Flow, torch.Tensor]:
    """Two scales, a dense block, in float64 on the CPU, and events for it."""
    torch.manual_seed(0)
    estimator = SameProbes(rf.Truncated(terms), probe="gaussian")
    model = rf.ImageModel((3, 8, 8), (2, 2), 32, 1, 16, alpha=0.05, train_estimator=estimator, memory=memory)
    flow, x = rf.image_flow(model).double(), torch.rand(16, 3, 8, 8, dtype=torch.float64)
    flow.initialize_(x)
    return flow, x


def value_and_gradient(flow, x, device, precision) -> tuple[torch.Tensor, torch.Tensor]:
    """log_prob and the gradient of its mean, computed on a device in a precision, as float64 on the CPU."""
    dtype = torch.float64 if precision == "fp64" else torch.float32
    flow, x = copy.deepcopy(flow).to(device, dtype), x.to(device, dtype)
    with tensor_float(precision == "tf32"):
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            log_prob = flow.log_prob(x, torch.Generator().manual_seed(1))
        log_prob.mean().backward()
    gradient = torch.cat([p.grad.flatten() for p in flow.parameters()])
    return log_prob.detach().cpu().double(), gradient.cpu().double()


def flow_errors(device, precision, memory="recompute") -> tuple[float, float]:
    """Of log_prob in nats, the largest; of the gradient, relative to its norm: against float64 on the CPU."""
    flow, x = small_flow(memory)
    exact, exact_gradient = value_and_gradient(flow, x, torch.device("cpu"), "fp64")
    found, gradient = value_and_gradient(flow, x, device, precision)
    return float((found - exact).abs().max()), float((gradient - exact_gradient).norm() / exact_gradient.norm())


def convolution_error(device, precision) -> float:
    """The largest of MatrixConv's products, relative to their largest entry."""
    dtype = {"fp64": torch.float64, "bf16": torch.bfloat16}.get(precision, torch.float32)
    worst = 0.0
    for n_in, n_out in ((3, 64), (64, 12)):
        torch.manual_seed(0)
        weight, z, u = torch.randn(n_out, n_in, 3, 3), torch.randn(4, n_in, 9, 8), torch.randn(4, n_out, 9, 8)
        w, a, b = (t.to(dtype) for t in (weight, z, u))  # the same rounded numbers on both sides
        w, a, b = w.double(), a.double(), b.double()
        exact = conv2d(a, w, padding=1), conv2d_input(a.shape, w, b, padding=1), conv2d_weight(a, w.shape, b, padding=1)
        with tensor_float(precision == "tf32"), torch.no_grad():
            conv, a, b = (
                MatrixConv(kernel_matrix(w.to(device, dtype)), w.shape),
                a.to(device, dtype),
                b.to(device, dtype),
            )
            found = conv.product(a), conv.transpose(b), kernel_of(conv.outer(b, a), w.shape)
        worst = max(worst, *(float((f.cpu() - e).abs().max() / e.abs().max()) for f, e in zip(found, exact)))
    return worst


@torch.no_grad()
def by_triton() -> bool:
    return fused(torch.ones(1, device=DEVICE))


def correctness() -> bool:
    print(f"\nagainst float64 on the CPU; elementwise and 3x3 kernels by {'Triton' if by_triton() else 'plain torch'}")
    print(f"{'precision':12}{'log_prob, nats':>16}{'gradient':>12}{'MatrixConv':>12}{'allowed':>12}")
    good = True
    for precision, allowed in PRECISIONS.items():
        if precision == "tf32" and DEVICE.type == "cpu":
            continue
        value, gradient = flow_errors(DEVICE, precision)
        convolution = convolution_error(DEVICE, precision)
        right = gradient < allowed and convolution < allowed
        good &= right
        mark = "" if right else "  WRONG"
        print(f"{precision:12}{value:16.1e}{gradient:12.1e}{convolution:12.1e}{allowed:12.0e}{mark}", flush=True)
    return good


# Time -----------------------------------------------------------------------------------------------------------------

PRODUCTS = [(1, 32, 512), (4, 112, 512), (16, 432, 512), (1, 512, 512)]
"""Of the CIFAR-10 model: its pixels at a scale are one in so many, channels gathered from few, channels made."""


@torch.no_grad()
def operations() -> None:
    """Each operation of kernels.py at the sizes of the CIFAR-10 model: in plain torch, and by Triton."""
    from resflow_lite.numerics import triton_products

    batch, side = (BATCH, 32) if DEVICE.type == "cuda" else (1, 4)

    def draws(*shape: int, count: int = 1) -> list[torch.Tensor]:
        return [torch.randn(shape, device=DEVICE).bfloat16() for _ in range(count)]

    scale, wide = torch.ones(1, device=DEVICE), draws(batch * side**2, 512, count=4)
    (pixels,), few = draws(batch, side, side, 3), draws(batch, 3, side, side, count=2)
    (rows,), sums = draws(batch * side**2, kernels.columns(3)), [x.float() for x in few]
    cases = [("lipswish", (wide[0], scale, 1)), ("lipswish_pull_back", (*wide, scale)), ("channel_sums", wide[:1])]
    cases += [("gather", (pixels,)), ("collect", (rows, pixels.shape, pixels)), ("add_terms_", (*sums, *few, 0.5, 0.5))]
    print("\noperation, bf16, ms: plain torch, and Triton")
    for name, inputs in cases:
        operation = getattr(kernels, name)
        times = (triton_products.milliseconds(way, *inputs) for way in (operation.__wrapped__, operation))
        print(f"{name:24}" + "".join(f"{ms:9.3f}" for ms in times), flush=True)
    print("scaled_product: the library's product and a pass; one pass of ours, by tiles (the fastest is taken)")
    for share, k, n in PRODUCTS:
        m = -(-batch * side**2 // share)
        inputs = [draws(*shape)[0] for shape in ((m, k), (k, n), (m, n))]
        times = (triton_products.milliseconds(way, *inputs) for way in triton_products.WAYS)
        print(f"{m:6} x {k:3} x {n:3}      " + "".join(f"{ms:9.3f}" for ms in times), flush=True)


def noise(shape: tuple[int, int, int]) -> Callable[[str], rf.Images]:
    """A data set of random images: a step costs the same whatever they show, and nothing need be downloaded."""

    def images(split):
        levels = torch.randint(256, (2000, *shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
        return rf.Images(levels, torch.full((2000,), -1), 256)

    return images


def paper_experiment(memory: str, data: str, precision: str, draws: str) -> rf.Experiment:
    model, recipe = rf.presets[f"paper/{data}"], rf.recipes[f"paper/{data}"]
    names = ("blocks", "width", "n_dense", "dense_width", "train_estimator")
    settings = {name: getattr(model, name) for name in names}
    estimator = model.train_estimator
    settings["train_estimator"] = replace(estimator, terms=replace(estimator.terms, draws=draws))
    settings |= dict(steps=1000, lr=recipe.lr, ema=recipe.ema, flip=recipe.flip, validation=0)
    return rf.Experiment(noise(model.shape), batch_size=BATCH, precision=precision, memory=memory, **settings)


def small_experiment(precision: str, memory: str) -> rf.Experiment:
    settings = dict(blocks=(1, 1), width=32, n_dense=1, dense_width=16, validation=0, train_estimator="stratified")
    return rf.Experiment(noise((3, 16, 16)), batch_size=8, precision=precision, memory=memory, **settings)


def synchronize() -> None:
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


def measured(experiment: rf.Experiment) -> dict[str, float]:
    """The columns of the table; GiB: at the peak, from the making of the model on."""
    gc.collect()  # graphs in reference cycles
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with training_step(experiment) as step:
        started = time.perf_counter()
        step()
        synchronize()
        first = time.perf_counter() - started
        for _ in range(WARM_UP - 1):
            step()
        times = []
        for _ in range(TIMED):
            synchronize()
            started = time.perf_counter()
            for _ in range(TOGETHER):  # as in fit, which does not wait for the device between two steps
                step()
            synchronize()
            times.append(1e3 * (time.perf_counter() - started) / TOGETHER)
        row = dict(ms=statistics.median(times), least=min(times), most=max(times), first=first)
        if DEVICE.type == "cuda":
            row |= counted(step) | dict(GiB=torch.cuda.max_memory_allocated() / 2**30)
    return row


def counted(step: Callable[[], object]) -> dict[str, float]:
    """Kernels that a step runs on the GPU, calls with which the processor starts them, and the kernels' time in ms."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        step()
        synchronize()
    events = recorded.events()
    kernels = [e for e in events if e.device_type == torch.autograd.DeviceType.CUDA]
    launches = [e for e in events if "LaunchKernel" in e.name or "GraphLaunch" in e.name]
    busy = sum(e.time_range.elapsed_us() for e in kernels) / 1e3
    return dict(kernels=len(kernels), launches=len(launches), busy=busy)


COLUMNS = {"ms": 1, "least": 1, "most": 1, "kernels": 0, "launches": 0, "busy": 1, "GiB": 1, "first": 1}
"""Digits after the point."""


def line(row: dict[str, float]) -> str:
    return "".join(f"{row[name]:9.{digits}f}" if name in row else f"{'-':>9}" for name, digits in COLUMNS.items())


def table(cases: dict[str, rf.Experiment], until: float) -> bool:
    """One row per case while there is time; whether all that were tried ran."""
    print(
        f"\na step of fit, ms: median, least and most of {TIMED} times {TOGETHER} after {WARM_UP}; busy: ms in "
        "kernels; first: seconds"
    )
    print(f"{'model, precision, memory':36}" + "".join(f"{name:>9}" for name in COLUMNS))
    good, longest = True, 0.0
    for name, experiment in cases.items():
        if time.monotonic() + longest > until:
            print(f"{name:36}  left out: no time")
            continue
        started = time.monotonic()
        try:
            print(f"{name:36}{line(measured(experiment))}", flush=True)
        except (RuntimeError, rf.ResflowError) as error:
            print(f"{name:36}  FAILED: {str(error).splitlines()[0]}", flush=True)
            good = False
        longest = max(longest, time.monotonic() - started)
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=BUDGET, help="after which no measurement starts")
    until = time.monotonic() + parser.parse_args().seconds
    if DEVICE.type == "cuda":
        print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, CUDA {torch.version.cuda}")
        cases = {", ".join(case[1:3] + case[:1] + case[3:]): paper_experiment(*case) for case in CASES}
    else:
        print(f"no GPU: correctness and a small model only (torch {torch.__version__})")
        cases = {f"small, {p}, {m}": small_experiment(p, m) for p in ("fp32", "bf16") for m in ("recompute", "store")}
    right = correctness()
    if by_triton():
        operations()
    return 0 if table(cases, until) and right else 1


if __name__ == "__main__":
    sys.exit(main())
