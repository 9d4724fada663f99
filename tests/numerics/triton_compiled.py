"""Compiles every kernel of numerics/triton_kernels.py for a GPU that need not be there: what the interpreter lets pass,
the compiler may not. test_kernels.py runs it in a process of its own."""

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from resflow_lite.numerics import triton_kernels, triton_products
from resflow_lite.numerics.kernels import columns

SUMS = ("sums_", "u_", "total_")


def kind(name, dtype):
    """Pointers end in an underscore, and sums are in float32."""
    if name.endswith("_"):
        return "*fp32" if name in SUMS else dtype
    return "fp32" if name.startswith("of_") else "i32"


def compiled(name, dtype, warps=4, **fixed):
    """For an Ampere and a Hopper card, whose matrix products are different instructions."""
    kernel = getattr(triton_products if name == "_scaled_product" else triton_kernels, name)
    kinds = {p.name: kind(p.name, dtype) for p in kernel.params} | {name: "constexpr" for name in fixed}
    # as at a launch: memory begins, and sizes end, at multiples of 16
    aligned = {(i,): [["tt.divisibility", 16]] for i, p in enumerate(kernel.params) if kinds[p.name][0] in "*i"}
    source = ASTSource(fn=kernel, signature=kinds, constexprs=fixed, attrs=aligned)
    options, targets = dict(num_warps=warps, enable_fp_fusion=True), [GPUTarget("cuda", card, 32) for card in (80, 90)]
    return sum(len(triton.compile(source, target=t, options=options).asm["cubin"]) > 0 for t in targets)


count = 0
for dtype in ("*fp32", "*bf16"):
    wanted = [("_lipswish", dict(ORDER=order)) for order in range(3)]
    wanted += [("_pull_back", dict(ROUNDS=8)), ("_add_terms", {})]
    for channels, scaled in ((1, False), (12, True)):
        sizes = dict(C=channels, COLUMNS=columns(channels))
        wanted += [("_gather", sizes), ("_collect", dict(SCALED=scaled, **sizes))]
    # Triton fixes sizes of one
    wanted.append(("_collect", dict(C=3, COLUMNS=columns(3), SCALED=True, H=1, W=1)))
    for name, fixed in wanted:
        count += compiled(name, dtype, BLOCK=1024, **fixed)
    count += compiled("_channel_sums", dtype, ROWS=triton_kernels.ROWS, WIDTH=triton_kernels.WIDTH)
    for high, wide, taken in triton_products.TILES:
        whole = taken // (4 if dtype == "*fp32" else 2)
        for depth, ones in ((whole, ["ALONG"]), (whole, ["DOWN"]), (16, ["ALONG"]), (16, ["ALONG", "M", "N", "K"])):
            fixed = dict(TILE_M=high, TILE_N=wide, DEPTH=depth, TF32=dtype == "*fp32", **dict.fromkeys(ones, 1))
            count += compiled("_scaled_product", dtype, warps=8, **fixed)
print(count, "kernels compiled")
