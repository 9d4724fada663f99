// Chapter 2: x <- y - g(x) as a cobweb, and every x with x + g(x) = y. The numbers: cobwebs.py.

const BRANCHES = { "0.5 x": [0.5, false], "tanh x": [1, true], "3 x": [3, false], "−1.5 tanh x": [-1.5, true] };
const SPAN = 5;

function branchOf({ branch, strength }) {
  const [factor, bent] = BRANCHES[branch], a = strength * factor;
  return { g: bent ? (x) => a * Math.tanh(x) : (x) => a * x, name: `g(x) = ${short(a)} ${bent ? "tanh x" : "x"}` };
}

/** Every x in [-SPAN, SPAN] with x + g(x) = y, up to the resolution of a grid of 4,001 points. */
function preimages(g, y) {
  const x = spread(-SPAN, SPAN, 4001), excess = x.map((v) => v + g(v) - y), roots = [];
  for (let i = 0; i < 4000; i++) {
    if (excess[i] < 0 === excess[i + 1] < 0) continue;
    let left = x[i], right = x[i + 1];
    for (let step = 0; step < 45; step++) {
      const middle = (left + right) / 2;
      if (middle + g(middle) < y === excess[i] < 0) left = middle;
      else right = middle;
    }
    roots.push((left + right) / 2);
  }
  return roots;
}

const explorer = {
  controls: {
    branch: choice("g(x)", Object.keys(BRANCHES)),
    strength: range("strength ×", 1, 0, 2, 0.1),
    y: range("y", 0.5, -3, 3, 0.1),
    start: range("start", -2, -4.5, 4.5, 0.1),
    steps: range("steps", 12, 1, 40),
  },

  compute(settings) {
    const { g } = branchOf(settings), { y, start, steps } = settings, iterates = [start];
    while (iterates.length <= steps && Math.abs(iterates.at(-1)) < 1e6) iterates.push(y - g(iterates.at(-1)));
    return { iterates, roots: preimages(g, y), residual: Math.abs(iterates.at(-1) + g(iterates.at(-1)) - y) };
  },

  draw({ iterates, roots, residual }, settings) {
    const { g, name } = branchOf(settings), { y, start } = settings, axis = [-SPAN, SPAN], x = spread(-SPAN, SPAN, 201);
    const lost = residual > Math.max(1, Math.abs(start + g(start) - y)), one = roots.length === 1;
    const found = lost ? "diverges" : `${iterates.length - 1} steps: |f(x) − y| = ${residual.toExponential(1).replace("-", "−")}`;
    const web = panel({ title: found, colour: lost ? "truncated" : "exact", labels: ["x", "y − g(x)"], x: axis, y: axis, size: [480, 478] });
    web.line(axis, axis, "grey", { width: 1 });
    web.line(x, x.map((v) => y - g(v)), "roulette");
    const across = iterates.flatMap((v) => [v, v]).slice(0, -1), up = [-SPAN, ...iterates.slice(1).flatMap((v) => [v, v])];
    web.line(across, up, "amber", { width: 1.6 });
    web.dots(roots, roots, "exact");
    web.handle(start, -SPAN, "start,", "amber");
    const title = `f(x) = ${minus(y)} has ${roots.length} solution${one ? "" : "s"}`;
    const map = panel({ title, labels: ["x", "f(x) = x + g(x)"], x: axis, y: axis, size: [480, 478] });
    map.line(x, x.map((v) => v + g(v)), one ? "green" : "truncated");
    map.line(axis, [y, y], "exact", { width: 1.2, dash: "6 4" });
    map.lines(roots.map((v) => [[v, v], [-SPAN, y]]), "exact", { width: 1, dash: "2 3" });
    map.dots(roots, roots.map(() => y), "exact");
    map.handle(-SPAN, y, ",y", "roulette");
    const verdict = `${name}. ${lost ? "The iteration runs away" : `After ${iterates.length - 1} steps x = ${minus(iterates.at(-1).toFixed(6))}`}; ${title}${roots.length ? `: x = ${roots.map((v) => minus(v.toFixed(4))).join(", ")}` : ""}.`;
    return { panels: [web, map], verdict, good: !lost && one, words: `Cobweb from ${minus(start)}, and the graph of f. ${verdict}` };
  },
};
