"""Triton's versions of the operations in kernels.py against the plain ones in float64, by Triton's interpreter.

Prints the largest error of each, relative to its largest entry, as JSON. test_kernels.py runs it in a process of its
own with TRITON_INTERPRET=1, which Triton reads when it is imported.
"""

import json
from collections import defaultdict

import torch

import resflow_lite as rf
from resflow_lite.models.branches import conv_branch
from resflow_lite.numerics import kernels
from resflow_lite.numerics.kernels import (
    MatrixConv,
    collect,
    columns,
    gather,
    kernel_matrix,
    kernel_of,
    lipswish,
    lipswish_pull_back,
    scaled_product,
)

errors = defaultdict(float)


def as_matrix(weight):
    return MatrixConv(kernel_matrix(weight), weight.shape)


def compare(name, function, *inputs):
    """float32 inputs through Triton, the same numbers in float64 through plain torch."""
    low = [t.float().clone(memory_format=torch.preserve_format) for t in inputs]
    assert kernels.fused(*low) and not kernels.fused(*inputs)
    with torch.no_grad():
        for mine, exact in zip(as_tuple(function(*low)), as_tuple(function(*inputs))):
            assert mine.dtype == torch.float32 and mine.shape == exact.shape
            errors[name] = max(errors[name], float((mine - exact).abs().max() / exact.abs().max()))


def as_tuple(found):
    return found if isinstance(found, tuple) else (found,)


def draws(*shape, count=1):
    """float64 numbers that float32 holds exactly."""
    return [torch.randn(shape, generator=generator).double() for _ in range(count)]


generator = torch.Generator().manual_seed(0)
scale = torch.tensor([0.75], dtype=torch.float64)
last = dict(memory_format=torch.channels_last)
three = [t.contiguous(**last) for t in draws(3, 5, 7, 3, count=3)]
for z, tangent, y_bar, p in (
    draws(4000, count=4),
    draws(1, count=4),
    [50 * t for t in draws(100, count=4)],  # where the gate is 0 or 1
    [t.contiguous(**last) for t in draws(3, 5, 7, 3, count=4)],
    [*draws(3, 5, 7, 3), *three],  # the same entries elsewhere in memory
    [t[:, ::2] for t in draws(6, 8, count=4)],  # with gaps
    [t[:2] for t in draws(5, 1, 4, 4, count=4)],
):
    for order in range(3):
        compare(f"lipswish, order {order}", lambda z, s, order=order: lipswish(z, s, order), z, scale)
    compare("lipswish_pull_back", lipswish_pull_back, z, tangent, y_bar, p, scale)

for shape in ((2, 1, 1, 1), (2, 5, 7, 1), (1, 4, 4, 2), (2, 6, 5, 3), (3, 3, 4, 12), (1, 1, 9, 5)):
    (x,) = draws(*shape)
    (g,) = draws(x[..., 0].numel(), columns(shape[3]))
    compare("gather", gather, x)
    compare("collect", lambda g, shape=shape: collect(g, shape), g)
    compare("collect, scaled", lambda g, x, shape=shape: collect(g, shape, x), g, x)

torch.backends.cuda.matmul.allow_tf32 = True  # in full precision the library's product is taken
for m, k, n in ((1, 1, 1), (300, 16, 24), (7, 112, 130), (129, 45, 200)):
    compare("scaled_product", scaled_product, *(draws(*shape)[0] for shape in ((m, k), (k, n), (m, n))))

for n_in, n_out in ((1, 16), (16, 1), (3, 5), (12, 3)):
    weight, z, u = (draws(*shape)[0] for shape in ((n_out, n_in, 3, 3), (2, n_in, 5, 4), (2, n_out, 5, 4)))
    compare("MatrixConv.product", lambda w, z, b: as_matrix(w).product(z, b), weight, z, weight[:, 0, 0, 0])
    compare("MatrixConv.transpose", lambda w, u: as_matrix(w).transpose(u), weight, u)
    compare("MatrixConv.transpose, scaled", lambda w, u, z: as_matrix(w).transpose(u, z), weight, u, z)
    compare("MatrixConv.outer", lambda w, u, z: kernel_of(as_matrix(w).outer(u, z), w.shape), weight, u, z)

# a block, value and gradient: its activations are fused in float32 and not in float64
torch.manual_seed(0)
block = rf.ResidualBlock(conv_branch(3, 16, "lipswish", 0.9, preactivation=True), rf.PowerSeries(rf.Truncated(3)))
(x,) = draws(4, 3, 6, 6)
block.double()(x)  # the layers learn the size of the image
found = {}
for dtype in (torch.float32, torch.float64):
    point = x.to(dtype).requires_grad_()
    y, log_det = block.to(dtype)(point, torch.Generator().manual_seed(0))
    inputs = [point, *block.parameters()]
    found[dtype] = [y, log_det, *torch.autograd.grad(y.square().sum() + log_det.sum(), inputs)]
for mine, exact in zip(found[torch.float32], found[torch.float64]):
    errors["block"] = max(errors["block"], float((mine - exact).detach().abs().max() / exact.detach().abs().max()))
print(json.dumps(errors))
