// Chapter 7: a grid of the plane, and data, after some of the blocks of a trained flow. The numbers come as data.

/** The q-quantile, with straight lines between neighbours. */
function quantile(values, q) {
  const sorted = Float64Array.from(values).sort(), at = q * (sorted.length - 1), i = Math.floor(at);
  return sorted[i] + (at - i) * ((sorted[i + 1] ?? sorted[i]) - sorted[i]);
}

const explorer = {
  controls: ({ flows }) => ({
    flow: choice("flow", Object.keys(flows)),
    depth: range("depth", 1, 0, smallest(Object.values(flows).map((stages) => stages.length)) - 1),
  }),

  compute({ flow, depth }, { flows }) {
    return [0, depth].map((d) => ({ ...flows[flow][d], limit: 1.15 * quantile(flows[flow][d].points.flat().map(Math.abs), 0.995) }));
  },

  draw(stages, { flow, depth }) {
    const panels = stages.map(({ label, lines, points, limit }, i) => {
      const axis = [-limit, limit], p = panel({ title: `depth ${i ? depth : 0}: ${label}`, labels: ["h₁", "h₂"], x: axis, y: axis, size: [480, 478] });
      const curves = lines.map((line) => [line.map(([u]) => u), line.map(([, v]) => v)]), half = curves.length / 2;
      p.lines(curves.slice(0, half), "roulette", { width: 0.8, opacity: 0.8 });
      p.lines(curves.slice(half), "green", { width: 0.8, opacity: 0.8 });
      p.dots(points.map(([u]) => u), points.map(([, v]) => v), "exact", 1.5, 0.6);
      return p;
    });
    const told = `${flow}, ${stages[1].label}: the data reach to ${short(stages[1].limit / 1.15)}, before to ${short(stages[0].limit / 1.15)}. No line crosses another of its colour.`;
    return { panels, verdict: told, words: `A grid and the data, at depth 0 and at depth ${depth}. ${told}` };
  },
};
