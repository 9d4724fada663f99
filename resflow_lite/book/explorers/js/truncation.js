// Chapter 3: what truncating log det(I + J) costs for J = r R(angle). The numbers: `partial_sums` in simulation.py.

const explorer = {
  controls: {
    r: range("r", 0.8, 0.3, 0.98, 0.01),
    angle: range("angle (°)", 180, 0, 180, 5),
    n_terms: range("terms", 5, 1, 30),
  },

  compute({ r, angle }) {
    const phi = radians(angle), sums = [], bound = [];
    let total = 0, rest = -Math.log1p(-r);
    for (const k of span(1, 30)) {
      total += ((k % 2 ? 1 : -1) * r ** k * Math.cos(k * phi)) / k;
      rest -= r ** k / k;
      sums.push(total);
      bound.push(rest);
    }
    return { truth: Math.log(1 + 2 * r * Math.cos(phi) + r * r) / 2, sums, bound };
  },

  draw({ truth, sums, bound }, { r, angle, n_terms }) {
    const k = span(1, 30), here = sums[n_terms - 1], bias = here - truth;
    const disc = panel({ title: "eigenvalues of J", labels: ["real part", "imaginary part"], x: [-1.15, 1.15], y: [-1.15, 1.15], size: [300, 298] });
    const turn = spread(0, 2 * Math.PI, 91), phi = radians(angle);
    disc.line(turn.map(Math.cos), turn.map(Math.sin), "grey", { width: 1 });
    disc.area(turn.map((t) => r * Math.cos(t)), turn.map((t) => r * Math.sin(t)), "light", 1);
    disc.dots([r * Math.cos(phi), r * Math.cos(phi)], [r * Math.sin(phi), -r * Math.sin(phi)], "exact", 6);

    const low = Math.min(truth, smallest(sums)), high = Math.max(truth, largest(sums)), room = 0.12 * (high - low) + 1e-9;
    const left = panel({ title: "the truncated series", labels: ["number of terms", "nats per dimension"], x: [0, 31], y: [low - room, high + room], size: [400, 340] });
    left.line([n_terms, n_terms], [truth, here], "amber", { width: 5 });
    left.line([0, 31], [truth, truth], "exact", { dash: "6 4" });
    left.line(k, sums, "truncated", { width: 1.2 });
    left.dots(k, sums, "truncated", 2.5);
    left.dots([n_terms], [here], "truncated", 6);

    const right = panel({ title: `bias with ${n_terms} terms: ${signed(bias)}`, labels: ["number of terms", "|bias|, nats per dimension"], x: [0, 31], y: [1e-6, 10], log: "y", size: [400, 340] });
    const size = sums.map((s) => Math.abs(s - truth));
    right.line(k, bound, "grey", { dash: "3 4" });
    right.line(k, size, "truncated", { width: 1.2 });
    right.dots(k, size, "truncated", 2.5);
    right.dots([n_terms], [Math.abs(bias)], "truncated", 6);
    right.text(0.97, 0.93, "dotted: worst J of this norm, −r I", "grey", "end");
    return {
      panels: [disc, left, right],
      verdict: `${n_terms} terms say ${short(here)}, the truth (dashed) is ${short(truth)}: bias ${signed(bias)} nats per dimension.`,
      words: `With ${n_terms} terms the series says ${short(here)} nats per dimension, the truth is ${short(truth)}. The bias is ${signed(bias)}; the worst matrix of norm ${r} has ${short(bound[n_terms - 1])}.`,
    };
  },
};
