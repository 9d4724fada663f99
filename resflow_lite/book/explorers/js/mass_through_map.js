// Chapter 1: a map of the line through five heights, and what it does to mass. The numbers: `through_map` in mass.py.

const KNOTS = [-2, -1, 0, 1, 2], HEIGHTS = ["f0", "f1", "f2", "f3", "f4"], GAP = 0.05, LIMIT = 3;
const normal = (z) => Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI);

/** P(Z <= z) of a standard normal Z: Marsaglia's series (2004), good to the last digits where it matters here. */
function cdf(z) {
  if (Math.abs(z) > 8) return z > 0 ? 1 : 0;
  let total = z, term = z;
  for (let k = 3; Math.abs(term) > 1e-18 * Math.abs(total); k += 2) total += term *= (z * z) / k;
  return 0.5 + total * normal(z);
}

/** [f(x), f'(x)]: a cubic between knots, whose slope at each is the mean of the neighbours' or less; straight outside. */
function mapThrough(heights) {
  const rise = heights.slice(1).map((h, i) => h - heights[i]);
  const slopes = KNOTS.map((_, i) => (i === 0 ? rise[0] : i === 4 ? rise[3] : Math.min((rise[i - 1] + rise[i]) / 2, 2 * rise[i - 1], 2 * rise[i])));
  return (x) => {
    if (x < -2) return [heights[0] + (x + 2) * rise[0], rise[0]];
    if (x > 2) return [heights[4] + (x - 2) * rise[3], rise[3]];
    const i = Math.min(3, Math.floor(x + 2)), t = x - KNOTS[i], [a, b] = [slopes[i], slopes[i + 1]];
    const c2 = 3 * rise[i] - 2 * a - b, c3 = a + b - 2 * rise[i];
    return [heights[i] + t * (a + t * (c2 + t * c3)), a + t * (2 * c2 + 3 * t * c3)];
  };
}

const explorer = {
  controls: {
    f0: range("f(−2)", -2, -3.5, 3.5, 0.05),
    f1: range("f(−1)", -1.5, -3.5, 3.5, 0.05),
    f2: range("f(0)", 0, -3.5, 3.5, 0.05),
    f3: range("f(1)", 1.5, -3.5, 3.5, 0.05),
    f4: range("f(2)", 2, -3.5, 3.5, 0.05),
    left: range("marks from", 0.5, -3, 2.5, 0.1),
    width: range("length", 1, 0.1, 2, 0.1),
  },

  /** A map that falls somewhere cannot be undone: a height stops at its neighbours. */
  settle(settings, name) {
    const heights = HEIGHTS.map((h) => settings[h]), i = HEIGHTS.indexOf(name);
    if (i < 0) return {};
    const low = i ? heights[i - 1] + GAP : -Infinity, high = i < 4 ? heights[i + 1] - GAP : Infinity;
    return { [name]: Math.min(Math.max(heights[i], low), high) };
  },

  compute(settings) {
    const heights = HEIGHTS.map((name) => settings[name]);
    heights.forEach((h, i) => i && (heights[i] = Math.max(h, heights[i - 1] + GAP / 5))); // an address may say anything
    const f = mapThrough(heights), x = spread(-LIMIT, LIMIT, 241), pairs = x.map(f);
    const base = pairs.map(([z]) => normal(z)), images = [f(settings.left)[0], f(settings.left + settings.width)[0]];
    let area = cdf(f(-LIMIT)[0]) / f(-LIMIT)[1] + cdf(-f(LIMIT)[0]) / f(LIMIT)[1];
    for (let i = 1; i < x.length; i++) area += ((base[i] + base[i - 1]) / 2) * (x[i] - x[i - 1]);
    return {
      x, f: pairs.map(([z]) => z), slope: pairs.map(([, s]) => s), density: pairs.map(([, s], i) => s * base[i]), base,
      images, mass: cdf(images[1]) - cdf(images[0]), area,
    };
  },

  draw({ x, f, slope, density, base, images: [low, high], mass, area }, settings) {
    const { left, width } = settings, right = left + width, axis = [-3.5, 3.5], z = spread(...axis, 141);
    const shade = (p, along, values, from, to, turned) => {
      const inside = along.map((v, i) => [v, values[i]]).filter(([v]) => v >= from && v <= to);
      const [u, w] = [[from, ...inside.map(([v]) => v), to], [0, ...inside.map(([, v]) => v), 0]];
      turned ? p.area(w, u, "amber", 0.55) : p.area(u, w, "amber", 0.55);
    };
    const before = panel({ title: "z is normal", labels: ["density of z", "z"], x: [0, 0.5], y: axis, size: [240, 400] });
    shade(before, z, z.map(normal), low, high, true);
    before.line(z.map(normal), z, "roulette");

    const middle = panel({ title: "the map: drag its dots", labels: ["x", "z = f(x)"], x: [-LIMIT, LIMIT], y: axis, size: [460, 400] });
    middle.area([left, left, right, right], [-3.5, 3.5, 3.5, -3.5], "amber", 0.25);
    middle.area([-LIMIT, LIMIT, LIMIT, -LIMIT], [low, low, high, high], "amber", 0.25);
    middle.line(x, f, "exact", { width: 2.5 });
    HEIGHTS.forEach((name, i) => middle.handle(KNOTS[i], settings[name], `,${name}`, "roulette"));
    middle.handle(left, -3.5, "left,", "amber");

    const top = 1.3 * Math.max(largest(density), largest(base));
    const after = panel({ title: "the density of x", labels: ["x", "density"], x: [-LIMIT, LIMIT], y: [0, top], size: [460, 400] });
    shade(after, x, density, left, right, false);
    after.line(x, density, "green", { width: 2.5 });
    after.line(x, base, "amber", { dash: "6 4" });
    after.text(0.02, 0.94, "N(f(x)) f′(x)", "green");
    after.text(0.02, 0.87, `dashed: N(f(x)) alone, area ${area.toFixed(2)}`);
    const at = (values) => values[120].toFixed(3);
    const told = `Between the marks lies the mass ${mass.toFixed(3)}, in x as in z: [${minus(left.toFixed(1))}, ${minus(right.toFixed(1))}] became [${minus(low.toFixed(2))}, ${minus(high.toFixed(2))}]. At x = 0 the slope is ${at(slope)}, the density ${at(density)}.`;
    return { panels: [before, middle, after], verdict: told, words: `A rising map of the line. ${told} Without the slope the area is ${area.toFixed(2)}, with it 1.` };
  },
};
