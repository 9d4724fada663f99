"""Compiles every kernel of numerics/triton_kernels.py for a GPU that need not be there: what the interpreter lets pass,
the compiler may not. test_kernels.py runs it in a process of its own."""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from resflow_lite.numerics import triton_kernels
from resflow_lite.numerics.kernels import columns


def compiled(name, dtype, capability=80, **fixed):
    """Pointers end in an underscore, sums are in float32; what is neither fixed nor a pointer is an int32."""
    kernel = getattr(triton_kernels, name)
    kinds = {p.name: "*fp32" if p.name == "sums_" else dtype if p.name.endswith("_") else "i32" for p in kernel.params}
    kinds |= {name: "constexpr" for name in fixed}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=fixed)
    return triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]


count = 0
for dtype in ("*fp32", "*bf16"):
    wanted = [("_lipswish", dict(ORDER=order)) for order in range(3)] + [
        ("_pull_back", dict(ROUNDS=8)),
    ]
    for channels, scaled in ((1, False), (12, True)):
        sizes = dict(C=channels, COLUMNS=columns(channels))
        wanted += [("_gather", sizes), ("_collect", dict(SCALED=scaled, **sizes))]
    # Triton fixes sizes of one
    wanted.append(("_collect", dict(C=3, COLUMNS=columns(3), SCALED=True, H=1, W=1)))
    for name, fixed in wanted:
        count += len(compiled(name, dtype, BLOCK=1024, **fixed)) > 0
    for k, ones in ((16, {}), (432, {}), (32, dict(M=1, N=1))):
        fixed = dict(K=k, DEPTH=min(k, 32), TF32=dtype == "*fp32", TILE=128, **ones)
        count += len(compiled("_scaled_product", dtype, **fixed)) > 0
print(count, "kernels compiled")
