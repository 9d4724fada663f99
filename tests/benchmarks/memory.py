"""Bytes that an image model keeps between the forward and the backward pass, and the peak of both, in one run.

    python tests/benchmarks/memory.py

Blocks 4-4-4 of width 128 and four dense blocks, 64 images of 1 x 28 x 28, float32, four terms. Branches: the package's
own (fast path), or the same layers as a plain nn.Module (autograd path); each of the four ways to differentiate.

The numbers are exact: torch.profiler reports every allocation and release of PyTorch's CPU allocator. Their sum over
the forward pass is what lives at its end, whoever keeps it: saved tensors of the graph, and what a block keeps besides.
The largest running sum is the peak. Parameters and images were there before and do not count; gradients of parameters
count towards the peak. Work space inside a convolution routine that bypasses the allocator is not seen.
"""

from itertools import product

import torch

import resflow_lite as rf
from resflow_lite.lab.costs import MODES, step_bytes
from resflow_lite.lab.home import home

SHAPE, BLOCKS, WIDTH, BATCH, TERMS = (1, 28, 28), (4, 4, 4), 128, 64, 4
BASE = ("plain", "neumann", "backward_in_forward")


def model(path, gradient, memory, x):
    torch.manual_seed(0)
    estimator = rf.PowerSeries(rf.Truncated(TERMS))
    settings = rf.ImageModel(
        SHAPE, BLOCKS, WIDTH, train_estimator=estimator, eval_estimator=estimator, gradient=gradient, memory=memory
    )
    flow = rf.image_flow(settings)
    flow.initialize_(x)
    for block in flow.modules():
        if isinstance(block, rf.ResidualBlock) and path == "plain":
            block.branch = torch.nn.Sequential(*block.branch.steps)  # every product by autograd
    return flow


def measure(path, gradient, memory, x):
    """(bytes kept after the forward pass, bytes at the peak of forward and backward)."""
    return step_bytes(model(path, gradient, memory, x), x)


def main():
    torch.set_num_threads(1)
    x = torch.rand(BATCH, *SHAPE, generator=torch.Generator().manual_seed(0))
    cases = [(path, *mode) for path, mode in product(("plain", "fast"), MODES)]
    found = {case: measure(*case, x) for case in cases}
    kept, peak = found[BASE]
    lines = [
        f"{BATCH} images {SHAPE}, blocks {BLOCKS}, width {WIDTH}, {TERMS} terms; ratios to {', '.join(BASE)}",
        f"  {'':36} {'kept after forward':>19} {'ratio':>7} {'peak':>12} {'ratio':>7}",
    ]
    for case in sorted(cases, key=lambda c: -found[c][0]):
        a, b = found[case]
        lines.append(f"  {', '.join(case):36} {a / 1e6:16.1f} MB {a / kept:7.3f} {b / 1e6:9.1f} MB {b / peak:7.3f}")
    least = kept / found["fast", "neumann", "recompute"][0]
    lines.append(f"fast recompute with neumann keeps 1/{least:.0f} of the bytes of {', '.join(BASE)} (bar 10)")
    folder = home() / "runs" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.txt").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
