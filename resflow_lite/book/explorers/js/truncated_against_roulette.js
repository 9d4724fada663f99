// Chapter 4: truncation and roulette at equal cost. The numbers: `race` in simulation.py, draw for draw.

const RUNS = 30, DRAWS = 10000, INTERVALS = 1000, INTERVAL_DRAWS = 1000;

/** J = [[r R, s I], [0, r R]] with s = noise (1 - r^2): no trace of a power sees the corner. */
function noisyRotation({ r, angle, noise }) {
  const c = r * Math.cos(radians(angle)), s = r * Math.sin(radians(angle)), corner = noise * (1 - r * r);
  const jacobian = [[c, -s, corner, 0], [s, c, 0, corner], [0, 0, c, -s], [0, 0, s, c]];
  const probes = [[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]];
  return { jacobian, probes, rho: r, truth: Math.log(1 + 2 * c + r * r) / 2 };
}

/** Terms (-1)^(k+1)/k v^T J^k v / D, k = 1 ... n, for every probe v. */
function logSeries({ jacobian, probes }, n) {
  const size = jacobian.length;
  return probes.map((v) => {
    const terms = new Float64Array(n);
    let w = Float64Array.from(v);
    for (let k = 1; k <= n; k++) {
      const next = new Float64Array(size);
      for (let i = 0; i < size; i++) if (w[i]) for (let j = 0; j < size; j++) next[j] += w[i] * jacobian[i][j];
      w = next;
      const product = sum(w.map((x, i) => x * v[i]));
      terms[k - 1] = ((k % 2 ? 1 : -1) * product) / (k * size);
      if (Math.abs(largest(w.map(Math.abs))) < 1e-30) break;
    }
    return terms;
  });
}

/** P(N >= k). */
function survivalOf({ law, p, rate }, rho) {
  if (law === "Poisson") {
    return (k) => {
      let term = Math.exp(-rate), total = 0;
      for (let j = 1; j <= k; j++) term *= rate / j;
      for (let j = k + 1; term > 1e-17 * total; j++) {
        total += term;
        term *= rate / j;
      }
      return total;
    };
  }
  const clipped = Math.min(Math.max(rho, 0.05), 0.995);
  const q = law === "Geometric" ? 1 - p : Math.min(1.05 * clipped, (1 + clipped) / 2);
  return (k) => q ** k;
}

function limitOf(survival) {
  const ratios = survival.slice(1).map((s, i) => s / survival[i]), last = ratios.at(-1);
  return last < 0.9 * ratios[ratios.length >> 1] ? 0 : last;
}

function runningMeans(values, counts) {
  const means = [];
  for (let i = 0, total = 0; i < values.length; i++) {
    total += values[i];
    if (i + 1 === counts[means.length]) means.push(total / (i + 1));
  }
  return means;
}

/** For every probe and N = 0, 1, ...: the estimate, and the largest |weight x term| in it; one row after another. */
function tablesOf(terms, survival, n_exact) {
  const length = survival.length + 1, sums = new Float64Array(terms.length * length), most = sums.slice();
  terms.forEach((row, probe) => {
    let total = 0, top = 0;
    for (let k = 0; k < n_exact + length; k++) {
      if (k >= n_exact) [sums[probe * length + k - n_exact], most[probe * length + k - n_exact]] = [total, top];
      const weighted = k < n_exact ? row[k] : row[k] / survival[k - n_exact];
      total += weighted;
      top = Math.max(top, Math.abs(weighted));
    }
  });
  return { sums, most, length };
}

/** A function that draws a place in the tables: one uniform number chooses the probe and, with what is left, N. */
function drawing(seed, n_probes, survival) {
  const random = uniforms(seed), cdf = Float64Array.from(survival, (s) => 1 - s), length = cdf.length + 1, BINS = 4096;
  let n = 0;
  const first = Int32Array.from({ length: BINS }, (_, i) => {
    while (n < cdf.length && cdf[n] <= i / BINS) n++;
    return n;
  });
  return () => {
    const u = n_probes * random(), probe = Math.floor(u), rest = u - probe;
    let n = first[Math.floor(BINS * rest)];
    while (n < cdf.length && cdf[n] <= rest) n++;
    return probe * length + n;
  };
}

function covers(draw, sums, truth) {
  let total = 0, square = 0;
  for (let j = 0; j < INTERVAL_DRAWS; j++) {
    const error = sums[draw()] - truth;
    total += error;
    square += error * error;
  }
  const mean = total / INTERVAL_DRAWS, variance = (square - INTERVAL_DRAWS * mean * mean) / (INTERVAL_DRAWS - 1);
  return Math.abs(mean) <= 1.96 * Math.sqrt(variance / INTERVAL_DRAWS);
}

function race(settings, block) {
  const { truth, rho } = block, survival = [], chance = survivalOf(settings, rho);
  for (let k = 1, s = chance(1); s > 1e-16; s = chance(++k)) survival.push(s);
  const n_exact = settings.n_exact, products = n_exact + sum(survival);
  const n_terms = settings.equal_cost ? Math.round(products) : settings.n_terms;
  let terms = logSeries(block, Math.max(n_terms, n_exact + survival.length));
  if (settings.probe_noise === false) terms = [terms[0].map((_, k) => sum(terms.map((row) => row[k])) / terms.length)];
  const truncated = terms.map((row) => sum(row.slice(0, n_terms)));
  const { sums, most, length } = tablesOf(terms, survival, n_exact), draw = drawing(settings.seed, terms.length, survival);

  const counts = [...new Set(span(0, 119).map((i) => Math.round(DRAWS ** (i / 119))))];
  const roulette_means = [], truncated_means = [];
  let draws, largest_term = 0;
  for (let run = 0; run < RUNS; run++) {
    const values = new Float64Array(DRAWS), fixed = new Float64Array(DRAWS);
    for (let i = 0; i < DRAWS; i++) {
      const place = draw();
      values[i] = sums[place];
      fixed[i] = truncated[Math.floor(place / length)];
      if (run === 0) largest_term = Math.max(largest_term, most[place]);
    }
    draws ??= values;
    roulette_means.push(runningMeans(values, counts));
    truncated_means.push(runningMeans(fixed, counts));
  }
  const squares = runningMeans(draws.map((x) => (x - truth) ** 2), counts);
  const errors = squares.map((square, i) => Math.sqrt(Math.max(square - (roulette_means[0][i] - truth) ** 2, 0) / Math.max(counts[i] - 1, 1)));
  let covered = 0;
  for (let i = 0; i < INTERVALS; i++) covered += covers(draw, sums, truth);
  return {
    truth, truncated: sum(truncated) / truncated.length, n_terms, products, counts, roulette_means, truncated_means,
    errors, draws, largest_term, coverage: covered / INTERVALS, rho, limit: limitOf(survival),
  };
}

const median = (values) => {
  const v = [...values].sort((a, b) => a - b), m = v.length >> 1;
  return v.length % 2 ? v[m] : (v[m - 1] + v[m]) / 2;
};
const columns = (rows, f) => rows[0].map((_, i) => f(rows.map((row) => row[i])));

function errorsPanel(result) {
  const { truth, counts } = result, last = counts.at(-1), off = (means) => means.map((m) => Math.max(Math.abs(m - truth), 1e-12));
  const errors = result.roulette_means.map(off);
  const top = 10 ** Math.ceil(Math.log10(largest(errors.flat())) + 0.3); // room for the words
  const p = panel({ labels: ["draws", "|running mean − truth|, nats per dimension"], x: [1, last], y: [1e-5 * top, top], log: "xy", size: [560, 480] });
  p.lines(errors.map((run) => [counts, run]), "roulette", { width: 0.7, opacity: 0.4 });
  p.line(counts, columns(errors, median), "roulette", { width: 3 });
  p.line(counts, columns(result.truncated_means.map(off), median), "truncated", { width: 3 });
  p.text(0.99, 0.96, `truncated, ${result.n_terms} products: bias ${signed(result.truncated - truth)}`, "truncated", "end");
  p.text(0.99, 0.9, `roulette, ${short(result.products)} products on average: 30 runs, median`, "roulette", "end");
  return p;
}

function runPanel({ truth, counts, truncated, errors, roulette_means, truncated_means }) {
  const mean = roulette_means[0], reach = errors.map((e) => 2 * e), last = counts.at(-1);
  const half = 2 * Math.max(Math.abs(truncated - truth), largest(reach.filter((_, i) => counts[i] >= 100)));
  const p = panel({ title: "one run: mean ± 2 standard errors", labels: ["draws", "nats per dimension"], x: [10, last], y: [truth - half, truth + half], log: "x", size: [400, 250] });
  p.area([...counts, ...counts.toReversed()], [...mean.map((m, i) => m - reach[i]), ...mean.map((m, i) => m + reach[i]).toReversed()], "roulette");
  p.line(counts, mean, "roulette");
  p.line(counts, truncated_means[0], "truncated");
  p.line([10, last], [truth, truth], "exact", { dash: "6 4" });
  return p;
}

/** The histogram of one run; its 0.1 % on either side are ticks, and counted where they lie outside the picture. */
function drawsPanel({ draws, truth, truncated, largest_term }) {
  const sorted = Float64Array.from(draws).sort(), tail = Math.floor(sorted.length / 1000);
  const low = Math.min(sorted[tail], truth) - 1e-9, high = Math.max(sorted.at(-tail - 1), truth) + 1e-9;
  const margin = 0.25 * (high - low) + 0.01, bins = new Array(80).fill(0), edge = (i) => low + (i * (high - low)) / 80;
  for (const x of sorted) if (x >= low && x <= high) bins[Math.min(79, Math.floor((80 * (x - low)) / (high - low)))]++;
  const most = 1.05 * largest(bins), title = `${draws.length.toLocaleString("en")} draws, largest |weight × term| ${short(largest_term)}`;
  const p = panel({ title, labels: ["one estimate, nats per dimension", "draws"], x: [low - margin, high + margin], y: [0, most], size: [400, 250] });
  bins.forEach((count, i) => count && p.area([edge(i), edge(i), edge(i + 1), edge(i + 1)], [0, count, count, 0], "roulette", 1));
  p.lines([...sorted.slice(0, tail), ...sorted.slice(-tail)].map((x) => [[x, x], [0, 0.09 * most]]), "exact", { width: 1 });
  p.line([truth, truth], [0, most], "exact", { dash: "6 4" });
  p.line([truncated, truncated], [0, most], "truncated");
  const below = sorted.filter((x) => x < low - margin), above = sorted.filter((x) => x > high + margin);
  if (below.length) p.text(0.02, 0.13, `◂ ${below.length} down to ${short(below[0])}`);
  if (above.length) p.text(0.98, 0.13, `${above.length} up to ${short(above.at(-1))} ▸`, "exact", "end");
  return p;
}

const explorer = {
  controls: ({ blocks }) => ({
    ...(blocks
      ? { block: choice("block", Object.keys(blocks)), probe_noise: tick("probe noise", true) }
      : { r: range("r", 0.8, 0.3, 0.98, 0.01), angle: range("angle (°)", 180, 0, 180, 5), noise: range("probe noise", 0, 0, 1, 0.1) }),
    law: choice("law", ["Geometric", "Poisson", "Matched"]),
    p: range("p", 0.25, 0.05, 0.9, 0.05),
    rate: range("rate", 2, 0.5, 8, 0.5),
    n_exact: range("exact terms", 2, 0, 10),
    seed: range("seed", 0, 0, 50),
    equal_cost: tick("equal cost", true),
    n_terms: range("truncated at", 5, 1, 60),
  }),

  idle: ({ law, equal_cost }) => [law !== "Geometric" && "p", law !== "Poisson" && "rate", equal_cost && "n_terms"].filter(Boolean),

  compute: (settings, { blocks } = {}) => race(settings, blocks ? blocks[settings.block] : noisyRotation(settings)),

  draw(result) {
    const good = result.rho ** 2 < result.limit, covered = `${Math.round(100 * result.coverage)}% of the roulette's nominal 95% intervals contain the truth`;
    const variance = `variance ${good ? "finite" : "INFINITE"}: ρ² = ${Number((result.rho ** 2).toPrecision(2))} ${good ? "<" : "≥"} ${Number(result.limit.toPrecision(2))}`;
    return {
      panels: [errorsPanel(result), [runPanel(result), drawsPanel(result)]],
      verdict: `${covered}; ${variance}`,
      good,
      words: `Truncated after ${result.n_terms} terms: bias ${signed(result.truncated - result.truth)} nats per dimension. Roulette: the mean of the first run is off by ${signed(result.roulette_means[0].at(-1) - result.truth)} after ${DRAWS} draws. ${covered}; ${variance}.`,
    };
  },
};
