"""Variance, bias and products of every estimator against exact Jacobians, in one run.

    python tests/benchmarks/estimators.py

Cases: J = r R(phi) in the plane, one 64 x 64 matrix of spread spectrum, blocks of a flow of the plane and of two image
models, which the script trains first (two to three minutes) and keeps. Everything in float64, fixed seeds. Writes
runs/benchmarks/estimators.txt and estimators.png, and prints the lines that the project asks for.
"""

import math
import statistics
import time

import matplotlib
import torch
from cases import FOLDER, POINTS, block_cases, models, rotation, spread
from measures import DRAWS, cut_by_control_variate, krylov_and_taylor, measure, pooled

import resflow_lite as rf
from resflow_lite.book.figures.style import AMBER, GREEN, GREY, PINK, ROULETTE, SKY, TRUNCATED, styled

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402

EXPLANATION = f"""\
A batch holds {POINTS} samples, with one N and Rademacher probes where nothing else is said; +2: two exact terms.
products    Jacobian products for a batch, per sample; with one N per sample the largest of them counts; the gradient
            costs one more
bias        nats per sample and its standard error, from v^T log(I + J) v with the same probes, so that the probes'
            own noise cancels
var         variance of the batch's mean times {POINTS}: the variance of one sample, where samples are independent
grad        the same for the gradient, summed over the branch's parameters (over the entries of J for a matrix)
x products  variance times products: what a given precision costs
*           infinite second moment, rho^2 >= the law's tail ratio: the sample's bias and variance mean nothing
"""


WAYS = {"one N per batch": "block", "one N per sample": "sample", "stratified": "stratified"}
CUTS = {
    "+2, one N per batch": rf.Roulette(rf.Geometric(0.5), 2),
    "+2, one N per sample": rf.Roulette(rf.Geometric(0.5), 2, draws="sample"),
    "+5, one N per batch": rf.Roulette(rf.Geometric(0.5), 5),
}


def estimators():
    """Name -> estimator; the rows of every table."""
    series, roulette = rf.PowerSeries, rf.Roulette
    found = {f"truncated {n}": series(rf.Truncated(n)) for n in (2, 5, 10, 20)}
    for p in (0.3, 0.5, 0.7):
        for n in (0, 2, 5, 10):
            found[f"geometric {p} +{n}"] = series(roulette(rf.Geometric(p), n))
    laws = {f"poisson {rate} +2": rf.Poisson(rate) for rate in (1.0, 2.0, 4.0)} | {"matched +2": rf.Matched()}
    found |= {name: series(roulette(law, 2)) for name, law in laws.items()}
    laws = {name: laws[name] for name in ("poisson 2.0 +2", "matched +2")} | {"geometric 0.5 +2": rf.Geometric(0.5)}
    for name, law in laws.items():
        found[f"{name}, one N per sample"] = series(roulette(law, 2, draws="sample"))
        found[f"{name}, stratified"] = series(roulette(law, 2, draws="stratified"))
    for name in ("truncated 5", "geometric 0.5 +2"):
        found[f"{name}, Gaussian probes"] = series(found[name].terms, "gaussian")
    for name in (
        "truncated 5",
        "geometric 0.5 +2",
        "geometric 0.5 +2, one N per sample",
        "geometric 0.5 +2, stratified",
        "geometric 0.5 +5",
        "matched +2",
    ):
        found[f"{name}, control variate"] = series(found[name].terms, control_variate=True)
    return found | {f"krylov {n}": rf.Krylov(n) for n in (5, 10, 20)}


def table(title, cases):
    """(rows by estimator, lines of text)."""
    radius, rate = (", ".join(f"{getattr(c, name):.3f}" for c in cases) for name in ("radius", "rate"))
    lines = [f"{title}   (spectral radius {radius}; measured rate {rate})"]
    lines.append(
        f"  {'':51}{'products':>9} {'bias':>10} {'+-':>8} {'var':>9} {'x products':>11} {'grad':>9} {'x products':>11}"
    )
    rows = {}
    for name, estimator in estimators().items():
        row = rows[name] = pooled(cases, estimator)
        gradient = "" if math.isnan(row.gradient) else f" {row.gradient:9.3g} {row.gradient * (row.products + 1):11.3g}"
        value = f"{row.bias:10.2e} {row.error:8.1e} {row.value:9.3g} {row.value * row.products:11.3g}"
        lines.append(f"{' ' if row.finite else '*'} {name:51}{row.products:9.2f} {value}{gradient}")
    return rows, [*lines, ""]


def control_variate_lines(groups):
    """(cuts by block, lines of text); groups: preactivation -> cases."""
    lines, cuts = ["Control variate: gradient variance without over with it, geometric 0.5"], {}
    lines.append(f"  {'':40}" + "".join(f"{draws:>22}" for draws in CUTS))
    for title, cases in groups.items():
        found = {c.name: [cut_by_control_variate(c, terms) for terms in CUTS.values()] for c in cases}
        lines += [f"  {name:40}" + "".join(f"{ratio:22.2f}" for ratio in ratios) for name, ratios in found.items()]
        cuts[title] = found
    for i, draws in enumerate(CUTS):
        without, with_leading = ([ratios[i] for ratios in found.values()] for found in cuts.values())
        lines.append(
            f"= control variate cuts gradient variance {statistics.median(without):.1f} x (blocks without "
            f"pre-activation; bar 5) and {statistics.median(with_leading):.1f} x (with; bar 2): medians, {draws}; "
            f"least {min(without):.1f} and {min(with_leading):.1f}; bar reached by {sum(r >= 5 for r in without)} of "
            f"{len(without)} and {sum(r >= 2 for r in with_leading)} of {len(with_leading)} blocks"
        )
    return cuts, [*lines, ""]


def draws_lines(cases):
    """What the three ways to draw N cost on the same blocks: variance times products, of value and gradient."""
    lines = ["Ways to draw N, geometric 0.5 +2: variance x products of the value, and of the gradient"]
    lines.append(f"  {'':30}" + "".join(f"{name:>24}" for name in WAYS))
    prices = {name: [] for name in WAYS}
    for case in cases:
        line = f"  {case.name:30}"
        for name, draws in WAYS.items():
            row = measure(case, rf.PowerSeries(rf.Roulette(rf.Geometric(0.5), 2, draws)))
            prices[name].append((row.value * row.products, row.gradient * (row.products + 1)))
            line += "{:13.3g}{:11.3g}".format(*prices[name][-1])
        lines.append(line)
    for other in list(WAYS)[:2]:
        ratios = [[a / b for a, b in zip(*pair)] for pair in zip(prices["stratified"], prices[other])]
        value, gradient = (f"{statistics.median(r):.2f} ({min(r):.2f} to {max(r):.2f})" for r in zip(*ratios))
        lines.append(
            f"= stratified takes {value} of the products of {other} for the same precision of the value, {gradient} "
            f"for the gradient's: median and range of {len(cases)} trained digits blocks, batches of {POINTS}"
        )
    return [*lines, ""]


def krylov_lines(cases, n=10):
    """Biases near 1e-14 are the rounding of the truth, and count in full."""
    lines = [
        f"Bias at {n} products, nats per sample",
        f"  {'':40} {'Taylor':>10} {'Krylov':>10} {'+-':>8} {'ratio':>9}",
    ]
    ratios, sums = [], [0.0, 0.0]
    for case in cases:
        bias, error, taylor = krylov_and_taylor(case, n)
        # two standard errors on top: no luck counts
        bound = abs(bias) + 2 * error
        ratios.append(abs(taylor) / bound)
        sums = [sums[0] + abs(taylor), sums[1] + bound]
        lines.append(f"  {case.name:40} {taylor:10.2e} {bias:10.2e} {error:8.1e} {ratios[-1]:9.2g}")
    lines.append(
        f"= Krylov at {n} products has 1/{sums[0] / sums[1]:.0f} of Taylor's bias at {n} on trained digits blocks (sum "
        f"over {len(cases)} blocks; bar 20); at least 1/{min(ratios):.0f} in every block"
    )
    return [*lines, ""]


def plane_panel(ax, plane):
    """plane: radius -> rows, at 180 degrees."""
    colours = {"truncated 5": TRUNCATED, "poisson 2.0 +2": PINK, "geometric 0.5 +2": ROULETTE, "matched +2": GREEN}
    for i, (name, colour) in enumerate(colours.items()):
        rows = [rows[name] for rows in plane.values()]
        at = [k + 0.12 * (i - 1.5) for k in range(len(rows))]
        errors = [2 * row.error for row in rows]
        ax.errorbar(at, [row.bias for row in rows], errors, fmt="osD^"[i], color=colour, label=name, capsize=3)
    ax.axhline(0, color=GREY, lw=1)
    ax.set(xticks=range(len(plane)), xticklabels=plane, xlabel="r", ylabel="mean - truth (nats)")
    ax.set_title(f"J = -r I: nominal 95 % intervals of {DRAWS} batches")
    ax.legend()


def krylov_panel(ax, tables):
    for (title, rows), style in zip(tables.items(), ("-", "--", ":", "-.")):
        for kind, colour in (("truncated", TRUNCATED), ("krylov", GREEN)):
            bias = [abs(rows[f"{kind} {n}"].bias) for n in (5, 10, 20)]
            ax.plot((5, 10, 20), bias, style, marker="o", color=colour, label=f"{kind}: {title}")
    ax.set(yscale="log", xscale="log", xticks=(5, 10, 20), xticklabels=(5, 10, 20), ylim=(1e-25, None))
    ax.minorticks_off()
    ax.set(xlabel="products", ylabel="|bias| (nats); below 1e-13: rounding", yticks=[10.0**-k for k in range(0, 17, 4)])
    ax.set_title("Bias at equal products: Taylor and Krylov")
    ax.legend(fontsize=9, loc="lower left")


def cost_panel(ax, tables):
    names = [n for n in estimators() if not n.startswith("krylov")]
    for (title, rows), colour, marker in zip(tables.items(), (GREY, AMBER, SKY, ROULETTE), "osD^"):
        cost = [rows[n].gradient * (rows[n].products + 1) for n in names]
        least = min(c for c, n in zip(cost, names) if rows[n].finite and "truncated" not in n)
        faces = [colour if rows[n].finite else "none" for n in names]
        at = [c / least for c in cost]
        ax.scatter(at, range(len(names)), 26, facecolor=faces, edgecolor=colour, marker=marker, label=title)
    ax.set(xscale="log", yticks=range(len(names)), ylim=(len(names) + 5, -1))
    ax.set_xlabel("relative to the best unbiased one; hollow: infinite variance")
    ax.set_yticklabels(names, fontsize=8)
    ax.axvline(1, color=GREY, lw=1)
    ax.set_title("Gradient variance x products")
    ax.legend(fontsize=9, loc="lower right")


def cut_panel(ax, cuts):
    names = []
    for (title, found), colour, bar in zip(cuts.items(), (GREEN, AMBER), (5, 2)):
        places = range(len(names), len(names) + len(found))
        for ratios, marker, draws in zip(zip(*found.values()), "o^s", CUTS):
            face = colour if marker == "o" else "none"
            ax.scatter(places, ratios, facecolor=face, edgecolor=colour, marker=marker, label=f"{title}; {draws}")
        ax.hlines(bar, places[0] - 0.4, places[-1] + 0.4, color=colour, lw=1)
        names += [name.replace("without pre-activation", "without") for name in found]
    ax.set(yscale="log", xticks=range(len(names)), ylabel="times (lines: the bars 5 and 2)")
    ax.set_xticklabels(names, fontsize=8, rotation=90)
    ax.set_title("Control variate: gradient variance without / with, by block")
    ax.legend(fontsize=9)


@styled
def figure(plane, tables, cuts):
    fig, axes = plt.subplots(2, 2, figsize=(15, 13))
    plane_panel(axes[0, 0], plane)
    cost_panel(axes[0, 1], tables)
    krylov_panel(axes[1, 0], tables)
    cut_panel(axes[1, 1], cuts)
    return fig


def main():
    torch.set_num_threads(1)
    started = time.process_time()
    flows = models()
    print(f"models ready after {time.process_time() - started:.0f} s of CPU")
    torch.set_default_dtype(torch.float64)
    names = ("toy", "digits", "digits without pre-activation")
    toy, digits, plain = (block_cases(name, flow, x) for name, (flow, x) in zip(names, flows))
    lines, plane = [EXPLANATION], {}
    for degrees in (180, 90):
        for r in (0.5, 0.8, 0.9, 0.98):
            rows, text = table(f"J = {r} R({degrees} degrees)", [rotation(r, degrees)])
            lines += text
            if degrees == 180:
                plane[r] = rows
    titles = {"spread, 64 x 64": [spread()], "toy, mean of 4 blocks": toy}
    titles |= {case.name: [case] for case in (digits[2], plain[3])}
    tables = {}
    for title, cases in titles.items():
        tables[title], text = table(title, cases)
        lines += text
    with_leading = [c for c in digits if c.preactivation]
    without = [c for c in toy + digits + plain if not c.preactivation]
    cuts, text = control_variate_lines({"without pre-activation": without, "with it": with_leading})
    lines += text + draws_lines(digits) + krylov_lines(digits + plain)
    (FOLDER / "estimators.txt").write_text("\n".join(lines))
    figure(plane, tables, cuts).savefig(FOLDER / "estimators.png", dpi=80)
    print("\n".join(line[2:] for line in lines if line.startswith("= ")))
    print(f"{time.process_time() - started:.0f} s of CPU; tables and figure in runs/benchmarks")


if __name__ == "__main__":
    main()
