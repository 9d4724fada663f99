// Chapter 5: what a training step keeps in memory, by arithmetic. The numbers: `peaks` in memory.py.

const WAYS = {
  "series, store": ["amber", "6 4"],
  "neumann, store": ["amber", ""],
  "neumann, backward-in-forward": ["pink", ""],
  "neumann, recompute": ["green", ""],
};

function peaks(n_terms, { blocks, batch, width, side }) {
  const hidden = 4 * batch * width * side * side, vector = 4 * batch * 3 * side * side;
  const bytes = [blocks * (3 + 4 * n_terms) * hidden, blocks * (3 + 4) * hidden, (blocks * 3 + 4) * hidden, blocks * 3 * vector + (3 + 4) * hidden];
  return Object.fromEntries(Object.keys(WAYS).map((way, i) => [way, bytes[i]]));
}

const sized = (bytes) => (bytes >= 1e9 ? `${short(bytes / 1e9)} GB` : `${short(bytes / 1e6)} MB`);

const explorer = {
  controls: {
    n_terms: range("terms", 5, 1, 30),
    blocks: range("blocks", 16, 1, 64),
    batch: range("images", 64, 8, 512, 8),
    width: range("channels", 512, 16, 1024, 16),
    side: range("pixels a side", 32, 8, 64, 4),
    card: choice("the card has", ["8 GB", "16 GB", "24 GB", "40 GB", "80 GB"], "24 GB"),
  },

  compute(settings) {
    const card = 1e9 * parseInt(settings.card), here = peaks(settings.n_terms, settings);
    const fits = Object.fromEntries(Object.entries(here).map(([way, bytes]) => [way, Math.floor((card * settings.batch) / bytes)]));
    return { card, peaks: here, fits, curves: span(1, 30).map((n) => peaks(n, settings)) };
  },

  draw({ card, peaks: here, fits, curves }, { n_terms, batch }) {
    const values = [card, ...curves.flatMap(Object.values)];
    const y = [smallest(values) / 2, 3 * largest(values)].map((v) => v / 1e9);
    const left = panel({ title: "peak of a training step", labels: ["terms of the series", "GB"], x: [0, 31], y, log: "y", size: [520, 420] });
    left.line([0, 31], [card / 1e9, card / 1e9], "exact", { width: 1.5, dash: "2 4" });
    left.line([n_terms, n_terms], y, "light", { width: 2 });
    for (const [way, [colour, dash]] of Object.entries(WAYS)) {
      left.line(span(1, 30), curves.map((each) => each[way] / 1e9), colour, { width: 2.5, dash });
      left.dots([n_terms], [here[way] / 1e9], colour, 5);
    }
    left.text(0.99, 0.95, "dotted: the card", "exact", "end");

    const most = Math.max(batch, largest(Object.values(fits)), 1);
    const right = panel({ title: "the largest batch that fits", labels: ["images", ""], x: [0.8, 4 * most], y: [0, 4], log: "x", size: [460, 420] });
    Object.entries(WAYS).forEach(([way, [colour]], i) => {
      const [low, high] = [3.12 - i, 3.5 - i];
      right.area([0.8, 0.8, Math.max(fits[way], 0.8), Math.max(fits[way], 0.8)], [low, high, high, low], colour, way === "series, store" ? 0.5 : 1);
      right.text(0.02, (high + 0.1) / 4, `${way}: ${sized(here[way])}, fits ${fits[way].toLocaleString("en")}`);
    });
    const told = Object.keys(WAYS).map((way) => `${way} ${sized(here[way])}`).join("; ");
    const ratio = here["series, store"] / here["neumann, recompute"];
    return {
      panels: [left, right],
      verdict: `With ${n_terms} terms: ${told}. The series keeps ${short(ratio)} times as much as recompute.`,
      good: here["series, store"] <= card,
      words: `Peak memory of a training step with ${n_terms} terms: ${told}. The card has ${sized(card)}; the batches that fit: ${Object.values(fits).join(", ")}.`,
    };
  },
};
