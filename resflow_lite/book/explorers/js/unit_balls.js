// Chapter 6: the unit ball of |.|_p, its image under a matrix, and the induced norm from p to q. The numbers: balls.py.

const ORDERS = ["1", "1.25", "1.5", "2", "3", "5", "∞"];
const orderOf = (name) => (name === "∞" ? Infinity : Number(name));

function length([a, b], p) {
  const [u, v] = [Math.abs(a), Math.abs(b)];
  return p === Infinity ? Math.max(u, v) : (u ** p + v ** p) ** (1 / p);
}

/** R(turn) R(angle) diag(stretch, 1/2) R(-angle), in degrees. */
function stretch(factor, angle, turn) {
  const [c, s] = [Math.cos(radians(turn + angle)), Math.sin(radians(turn + angle))];
  const [d, t] = [Math.cos(radians(angle)), Math.sin(radians(angle))];
  return [[c * factor * d + s * 0.5 * t, c * factor * t - s * 0.5 * d], [s * factor * d - c * 0.5 * t, s * factor * t + c * 0.5 * d]];
}

const image = ([[a, b], [c, d]], [u, v]) => [a * u + b * v, c * u + d * v];

function onBall(p, angle) {
  const v = [Math.cos(angle), Math.sin(angle)], norm = length(v, p);
  return [v[0] / norm, v[1] / norm];
}

/** max |A v|_q over |v|_p = 1, and a v that attains it: a grid that hits the corners, made finer around its best. */
function largestImage(matrix, p, q) {
  let middle = Math.PI / 2, reach = Math.PI / 2;
  while (reach > 1e-12) {
    let best = -1, at = middle;
    for (let i = 0; i < 2881; i++) {
      const angle = middle + reach * (i / 1440 - 1), size = length(image(matrix, onBall(p, angle)), q);
      if (size > best) [best, at] = [size, angle];
    }
    [middle, reach] = [at, reach / 1000];
  }
  const v = onBall(p, middle);
  return { norm: length(image(matrix, v), q), v };
}

const explorer = {
  controls: {
    p: choice("p, before", ORDERS, "2"),
    q: choice("q, after", ORDERS, "2"),
    factor: range("stretch", 1.6, 0.5, 3, 0.1),
    angle: range("along (°)", 30, 0, 180, 5),
    turn: range("then turn (°)", 0, 0, 180, 5),
  },

  compute({ p, q, factor, angle, turn }) {
    const matrix = stretch(factor, angle, turn);
    return { matrix, ...largestImage(matrix, orderOf(p), orderOf(q)) };
  },

  draw({ matrix, norm, v }, { p, q }) {
    const turn = spread(0, 2 * Math.PI, 361), ball = turn.map((t) => onBall(orderOf(p), t));
    const images = ball.map((u) => image(matrix, u)), around = turn.map((t) => onBall(orderOf(q), t).map((x) => norm * x));
    const curve = (points) => [points.map(([x]) => x), points.map(([, y]) => y)];
    const frame = (title, reach) => {
      const axis = [-1.12 * reach, 1.12 * reach];
      const drawn = panel({ title, labels: ["first entry", "second entry"], x: axis, y: axis, size: [480, 478] });
      drawn.lines([[axis, [0, 0]], [[0, 0], axis]], "light", { width: 1 });
      return drawn;
    };
    const before = frame(`all v with |v| ≤ 1 in the ${p}-norm`, 1);
    for (const order of [1, 2, Infinity]) before.line(...curve(turn.map((t) => onBall(order, t))), "grey", { width: 0.8, dash: "2 3" });
    before.area(...curve(ball), "sky", 0.35);
    before.line(...curve(ball), "roulette");
    before.arrow(v, "exact");
    const after = frame(`their images A v: norm ${p} → ${q} is ${norm.toFixed(3)}`, Math.max(1, norm, largest(images.flat().map(Math.abs))));
    after.line(...curve(around), "truncated");
    after.area(...curve(images), "sky", 0.35);
    after.line(...curve(images), "roulette");
    after.arrow(image(matrix, v), "exact");
    const told = `A = [[${matrix.map((row) => row.map((x) => minus(x.toFixed(2))).join(", ")).join("], [")}]]: the longest image has length ${norm.toFixed(3)} in the ${q}-norm, that of v = (${v.map((x) => minus(x.toFixed(2))).join(", ")}).`;
    return { panels: [before, after], verdict: told, words: `The unit ball of the ${p}-norm, and its image in the smallest ball of the ${q}-norm that holds it. ${told}` };
  },
};
