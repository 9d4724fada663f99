"""Triton's versions of the operations in kernels.py against the plain ones in float64, by Triton's interpreter.

Prints the largest error of each, relative to its largest entry, as JSON. test_kernels.py runs it in a process of its
own with TRITON_INTERPRET=1, which Triton reads when it is imported.
"""

import json
import warnings
from collections import defaultdict
from functools import partial

import torch
from triton.runtime.errors import OutOfResources

import resflow_lite as rf
from resflow_lite.models.branches import conv_branch
from resflow_lite.numerics import kernels, triton_kernels, triton_products
from resflow_lite.numerics.kernels import (
    MatrixConv,
    add_terms_,
    channel_sums,
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

for shape in ((5, 3), (2, 7, 1, 1), (300, 40, 2, 3)):
    compare("channel_sums", channel_sums, *draws(*shape))
    compare("channel_sums", lambda x: channel_sums(x.movedim(-1, 1)), *draws(*shape))
triton_kernels.FEW = 0  # sums of any size by the kernel
for shape in ((5, 3), (2, 7, 1, 1), (130, 200, 3, 2)):
    compare("channel_sums, many", channel_sums, *draws(*shape))

for shape, n in (((4, 5), 4), ((6, 3, 5, 7), 2), ((1500, 2), 1400)):
    u, total, before, w = draws(*shape, count=4)
    last_u, last_w = (t.to(**last) if t.dim() == 4 else t for t in (u, w))

    def summed(u, total, before, w, n=n):
        both = u.clone(), total.clone()
        add_terms_(*both, before[:n], w[:n], 0.75, -0.25)
        return both

    compare("add_terms_", summed, u, total, before, w)
    # no stretch of memory: sums in a copy would be lost
    compare("add_terms_", summed, u.mT.contiguous().mT, total, before, w)
    compare("add_terms_", summed, last_u, torch.empty_like(last_u).copy_(total), before, last_w)

torch.backends.cuda.matmul.allow_tf32 = True  # in full precision the library's product is taken
for m, k, n in ((1, 1, 1), (300, 16, 24), (7, 112, 130), (129, 45, 300)):
    rows, matrix, by = (draws(*shape)[0] for shape in ((m, k), (k, n), (m, n)))
    for name, given in (("", matrix), (", transposed", matrix.T.contiguous().T)):
        compare(f"scaled_product{name}", scaled_product, rows, given, by)
        for tiles in triton_products.TILES:
            own, exact = partial(triton_products.in_one_pass, tiles), triton_products.in_two_passes
            compare(
                f"scaled_product{name}, {tiles}",
                lambda *a, own=own, exact=exact: (own if a[0].dtype == torch.float32 else exact)(*a),
                *(rows, given, by),
            )

# the way that is fastest here, found once; one that asks for more than the card has is none
tried = []


def too_large(*_):
    raise OutOfResources(300_000, 232_448, "shared memory")


def unknown(*_):
    raise RuntimeError("no such instruction")


def slow(*inputs):
    tried.append("slow")
    return triton_products.in_two_passes(*inputs)


def fast(*inputs):
    tried.append("fast")
    return triton_products.in_two_passes(*inputs)


def timed(call, number):
    call()
    return 2.0 if tried[-1] == "slow" else 1.0


triton_products.FASTEST.clear()
triton_products.timeit = timed
ways, triton_products.WAYS = triton_products.WAYS, (too_large, unknown, slow, fast)
inputs = torch.ones(3, 3, 3, dtype=torch.float32).unbind()
with warnings.catch_warnings(record=True) as told:
    warnings.simplefilter("always")
    assert float(scaled_product(*inputs).sum()) == 27 and {"slow", "fast"} == set(tried)
assert [str(w.message).endswith("no such instruction") for w in told] == [True]
tried.clear()
scaled_product(*inputs)
assert tried == ["fast"]
triton_products.WAYS = ways

for n_in, n_out in ((1, 16), (16, 1), (3, 5), (12, 3)):
    weight, z, u = (draws(*shape)[0] for shape in ((n_out, n_in, 3, 3), (2, n_in, 5, 4), (2, n_out, 5, 4)))
    compare("MatrixConv.product", lambda w, z, b: as_matrix(w).product(z, b), weight, z, weight[:, 0, 0, 0])
    compare("MatrixConv.transpose", lambda w, u: as_matrix(w).transpose(u), weight, u)
    compare("MatrixConv.transpose, scaled", lambda w, u, z: as_matrix(w).transpose(u, z), weight, u, z)
    compare("MatrixConv.outer", lambda w, u, z: kernel_of(as_matrix(w).outer(u, z), w.shape), weight, u, z)

# a block as on a GPU, value and gradient: all of the above in float32, nothing of it in float64
kernels.MATRICES = ("cpu",)
torch.manual_seed(0)
terms = rf.Roulette(n_exact=1, draws="stratified")
block = rf.ResidualBlock(conv_branch(3, 64, "lipswish", 0.9, preactivation=True), rf.PowerSeries(terms))
(x,) = draws(8, 3, 6, 6)
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
