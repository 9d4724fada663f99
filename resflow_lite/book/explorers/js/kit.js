// What the explorers share: numbers in words, random numbers, panels, controls. An explorer's own file follows this one
// in the same module, and says what `explorer` is:
//   controls: {name: range(...) | choice(...) | tick(...)}
//   compute(settings, data): numbers, tested against Python's;  draw(numbers, settings): {panels, verdict, good, words}
//   idle(settings): names of controls that do nothing now;  settle(settings, name): settings that make sense together

// ---- numbers

const span = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);
const spread = (from, to, n) => Array.from({ length: n }, (_, i) => from + (i * (to - from)) / (n - 1));
const sum = (values) => values.reduce((a, b) => a + b, 0);
const largest = (values) => values.reduce((a, b) => Math.max(a, b), -Infinity);
const smallest = (values) => values.reduce((a, b) => Math.min(a, b), Infinity);
const radians = (degrees) => (degrees * Math.PI) / 180;

const minus = (text) => String(text).replace("-", "−");
const short = (x) => minus(Math.abs(x) >= 100 ? Math.round(x).toLocaleString("en") : Number(x.toPrecision(3)));
const signed = (x) => (x > 0 ? "+" : "") + short(x);
const power = (k) => "10" + [...String(k)].map((c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[c])).join("");

const mix = (x) => {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
};

/** Uniform numbers in [0, 1), one after another: a hash of the seed and a counter, as `Uniforms` in simulation.py. */
function uniforms(seed) {
  const key = mix(seed + 0x9e3779b9);
  let i = 0;
  return () => mix(mix(i++) + key) / 2 ** 32;
}

// ---- panels: axes and what is drawn in them, as one SVG

function ticks(low, high) {
  const raw = (high - low) / 5, unit = 10 ** Math.floor(Math.log10(raw));
  const step = unit * [1, 2, 5, 10].find((m) => m * unit >= raw);
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
  return span(Math.ceil(low / step - 1e-9), Math.floor(high / step + 1e-9)).map((i) => [i * step, minus((i * step + 0).toLocaleString("en", options))]);
}

/** Pixels for a panel: where they are fewer than its natural width, it is drawn narrower, or its words would shrink. */
const WIDEST = 560, NARROWEST = 440;
let room = WIDEST;

/**
 * x, y: the range of each axis; log: "x", "y", "xy" or "".  size: of the picture, in pixels at its natural size.
 * Colours are names of the palette in kit.css.
 */
function panel({ title = "", labels = ["", ""], x, y, log = "", size = [460, 380], colour = "exact" }) {
  size = size.map((s) => Math.round(s * Math.min(1, room / size[0])));
  const [x0, y0, x1, y1] = [66, title ? 30 : 12, size[0] - 14, size[1] - 48];
  const scale = (axis, [low, high], from, to) => {
    const way = log.includes(axis) ? (v) => Math.log10(Math.max(v, 1e-300)) : (v) => v;
    const [a, b] = [way(low), way(high)];
    return (v) => Math.round(10 * (from + ((way(v) - a) / (b - a)) * (to - from))) / 10;
  };
  const X = scale("x", x, x0, x1), Y = scale("y", y, y1, y0);
  const marks = (axis, [low, high]) => {
    if (!log.includes(axis)) return ticks(low, high);
    const powers = span(Math.ceil(Math.log10(low) - 1e-9), Math.floor(Math.log10(high) + 1e-9));
    const every = Math.ceil(powers.length / 8);
    return powers.filter((k) => k % every === 0).map((k) => [10 ** k, power(k)]);
  };
  const frame = [`<path d="M${x0} ${y0}V${y1}H${x1}" fill="none" stroke="currentColor"/>`];
  for (const [v, name] of marks("x", x)) frame.push(`<path d="M${X(v)} ${y1}v5" stroke="currentColor"/><text x="${X(v)}" y="${y1 + 19}" text-anchor="middle">${name}</text>`);
  if (labels[1]) for (const [v, name] of marks("y", y)) frame.push(`<path d="M${x0} ${Y(v)}h-5" stroke="currentColor"/><text x="${x0 - 8}" y="${Y(v) + 5}" text-anchor="end">${name}</text>`);
  frame.push(`<text x="${(x0 + x1) / 2}" y="${y1 + 40}" text-anchor="middle">${labels[0]}</text>`);
  frame.push(`<text transform="translate(${x0 - 52} ${(y0 + y1) / 2}) rotate(-90)" text-anchor="middle">${labels[1]}</text>`);
  frame.push(`<text class="title" x="${x0 - 44}" y="18" fill="var(--${colour})">${title}</text>`);

  const inside = [], above = [];
  const path = (xs, ys) => "M" + Array.from(xs, (v, i) => `${X(v)} ${Y(ys[i])}`).join("L");
  const stroke = (colour, { width = 2, dash = "", opacity = 1 } = {}) =>
    `fill="none" stroke="var(--${colour})" stroke-width="${width}" stroke-dasharray="${dash}" opacity="${opacity}" stroke-linejoin="round"`;
  return {
    size,
    line: (xs, ys, colour, look) => inside.push(`<path d="${path(xs, ys)}" ${stroke(colour, look)}/>`),
    lines: (pairs, colour, look) => inside.push(`<path d="${pairs.map(([xs, ys]) => path(xs, ys)).join("")}" ${stroke(colour, look)}/>`),
    area: (xs, ys, colour, opacity = 0.3) => inside.push(`<path d="${path(xs, ys)}Z" fill="var(--${colour})" opacity="${opacity}"/>`),
    dots: (xs, ys, colour, radius = 4, opacity = 1) =>
      inside.push(`<path d="${Array.from(xs, (v, i) => `M${X(v)} ${Y(ys[i])}h0`).join("")}" ${stroke(colour, { width: 2 * radius, opacity })} stroke-linecap="round"/>`),
    arrow: (tip, colour) => {
      const [a, b, c, d] = [X(0), Y(0), X(tip[0]), Y(tip[1])], turn = Math.atan2(d - b, c - a);
      const wing = (side) => `${c - 11 * Math.cos(turn + side)} ${d - 11 * Math.sin(turn + side)}`;
      inside.push(`<path d="M${a} ${b}L${c} ${d}M${wing(0.4)}L${c} ${d}L${wing(-0.4)}" ${stroke(colour, { width: 2.5 })}/>`);
    },
    /** A dot to take hold of: to = [control that its x sets or "", control that its y sets or ""]. */
    handle: (u, v, to, colour) =>
      above.push(`<circle cx="${X(u)}" cy="${Y(v)}" r="9" fill="var(--${colour})" stroke="var(--paper)" stroke-width="2"/><circle data-drag="${to}" cx="${X(u)}" cy="${Y(v)}" r="22" fill="transparent"/>`),
    /** Words at a place given in shares of the axes, from the lower left. */
    text: (u, v, words, colour = "exact", anchor = "start") =>
      above.push(`<text x="${x0 + u * (x1 - x0)}" y="${y1 + v * (y0 - y1)}" text-anchor="${anchor}" fill="var(--${colour})">${words}</text>`),
    svg: () => {
      const place = `x="${x0}" y="${y0}" width="${x1 - x0}" height="${y1 - y0}" viewBox="${x0} ${y0} ${x1 - x0} ${y1 - y0}"`;
      const where = JSON.stringify({ box: [x0, y0, x1, y1], x, y });
      return `<svg viewBox="0 0 ${size[0]} ${size[1]}" data-axes='${where}'>${frame.join("")}<svg ${place}>${inside.join("")}</svg>${above.join("")}</svg>`;
    },
  };
}

// ---- controls

const range = (label, value, min, max, step = 1) => ({ kind: "range", label, value, min, max, step });
const choice = (label, options, value = options[0]) => ({ kind: "choice", label, value, options });
const tick = (label, value) => ({ kind: "tick", label, value });

/** Names of the reader's own, such as those of blocks, as text and not as HTML. */
const escaped = (text) => text.replace(/[&<>"]/g, (c) => `&#${c.charCodeAt(0)};`);

function fieldOf(name, { kind, label, value, min, max, step, options }) {
  if (kind === "choice") return `<label>${label} <select name="${name}">${options.map((o) => `<option value="${escaped(o)}" ${o === value ? "selected" : ""}>${escaped(o)}</option>`).join("")}</select></label>`;
  if (kind === "tick") return `<label>${label} <input type="checkbox" name="${name}" ${value ? "checked" : ""}></label>`;
  return `<label>${label} <input type="range" name="${name}" min="${min}" max="${max}" step="${step}" value="${value}"><output></output></label>`;
}

const defaultsOf = (controls) => Object.fromEntries(Object.entries(controls).map(([name, control]) => [name, control.value]));

/** Draws the explorer into an element and keeps it drawn. Returns a function that sets some of the settings. */
function mount(root, data, state, changed) {
  const controls = typeof explorer.controls === "function" ? explorer.controls(data) : explorer.controls;
  const fields = Object.entries(controls).map(([name, control]) => fieldOf(name, control));
  root.classList.add("explorer");
  root.innerHTML = `<div class="bench"><form aria-label="Settings" data-lm-suppress-shortcuts="true">${fields.join("")}<button type="reset">Start again</button></form>
    <div class="panels" role="img"></div><output class="verdict" aria-live="polite"></output></div>`;
  const [form, panels, verdict] = ["form", ".panels", ".verdict"].map((part) => root.querySelector(part));
  const read = () => Object.fromEntries(Object.entries(controls).map(([name, { kind }]) => {
    const field = form.elements[name];
    return [name, kind === "tick" ? field.checked : kind === "range" ? Number(field.value) : field.value];
  }));
  const write = (settings) => {
    for (const [name, value] of Object.entries(settings)) {
      if (!(name in controls)) continue;
      const { kind, options } = controls[name], field = form.elements[name];
      if (kind === "tick") field.checked = value === true || value === "true";
      else if (kind === "range" ? Number.isFinite(Number(value)) : options.includes(value)) field.value = value;
    }
  };
  const roomNow = () => Math.min(Math.max(panels.clientWidth || WIDEST, NARROWEST), WIDEST); // 0: not in the page yet
  const show = () => {
    room = roomNow();
    const settings = read(), idle = explorer.idle?.(settings) ?? [];
    const drawn = explorer.draw(explorer.compute(settings, data), settings, data);
    for (const name of Object.keys(controls)) {
      const field = form.elements[name];
      field.disabled = idle.includes(name);
      if (field.type === "range") field.nextElementSibling.value = minus(field.value);
    }
    const item = (p) => (Array.isArray(p)
      ? `<div class="column" style="flex: ${p[0].size[0]} 1 ${0.62 * p[0].size[0]}px">${p.map((q) => q.svg()).join("")}</div>`
      : `<div style="flex: ${p.size[0]} 1 ${0.62 * p.size[0]}px; max-width: ${1.25 * p.size[0]}px">${p.svg()}</div>`);
    panels.innerHTML = drawn.panels.map(item).join("");
    panels.setAttribute("aria-label", drawn.words);
    verdict.value = drawn.verdict;
    verdict.className = `verdict ${drawn.good === undefined ? "" : drawn.good ? "good" : "bad"}`;
  };
  let waiting = false;
  const later = () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      show();
      changed(read());
    });
  };
  form.addEventListener("input", ({ target }) => {
    if (explorer.settle) write(explorer.settle(read(), target.name));
    later();
  });
  form.addEventListener("reset", () => setTimeout(later));
  form.addEventListener("keydown", (event) => event.stopPropagation()); // arrow keys are JupyterLab's shortcuts, too
  form.addEventListener("submit", (event) => event.preventDefault());
  dragging(panels, form);
  write(state);
  show();
  new ResizeObserver(() => roomNow() !== room && show()).observe(panels); // a phone is turned, a panel dragged wider
  return (settings) => {
    const wanted = { ...defaultsOf(controls), ...settings };
    if (Object.entries(read()).every(([name, value]) => wanted[name] === value)) return; // what `changed` told, come back
    write(wanted);
    show();
  };
}

/** Handles in a panel set their controls, with the mouse, a pen or a finger. */
function dragging(panels, form) {
  let held = null; // {names, index of the picture}; the picture itself is drawn anew while it is dragged
  const pictures = () => [...panels.querySelectorAll("svg[data-axes]")];
  panels.addEventListener("pointerdown", (event) => {
    const handle = event.target.closest("[data-drag]");
    if (!handle) return;
    held = { names: handle.dataset.drag.split(","), index: pictures().indexOf(handle.closest("svg[data-axes]")) };
    panels.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  panels.addEventListener("pointermove", (event) => {
    if (!held) return;
    const picture = pictures()[held.index], { box, x, y } = JSON.parse(picture.dataset.axes);
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    const values = [x[0] + ((at.x - box[0]) / (box[2] - box[0])) * (x[1] - x[0]), y[0] + ((at.y - box[3]) / (box[1] - box[3])) * (y[1] - y[0])];
    held.names.forEach((name, i) => {
      if (!name) return;
      form.elements[name].value = values[i];
      form.elements[name].dispatchEvent(new Event("input", { bubbles: true }));
    });
  });
  // without this the page scrolls as soon as the handle under the finger has been drawn anew
  panels.addEventListener("touchstart", (event) => event.target.closest("[data-drag]") && event.preventDefault(), { passive: false });
  for (const end of ["pointerup", "pointercancel"]) panels.addEventListener(end, () => (held = null));
}

// ---- the two places where an explorer lives

/** A page of its own: the settings are in the address, so that a link leads to them. */
function mountPage(root, data) {
  document.documentElement.dataset.theme ??= localeTheme();
  const controls = typeof explorer.controls === "function" ? explorer.controls(data) : explorer.controls;
  const usual = defaultsOf(controls), inAddress = () => Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
  const set = mount(root, data, inAddress(), (settings) => {
    const other = Object.entries(settings).filter(([name, value]) => value !== usual[name]);
    history.replaceState(null, "", other.length ? "#" + new URLSearchParams(other) : location.pathname + location.search);
  });
  addEventListener("hashchange", () => set(inAddress()));
  Object.assign(window, { explorer, uniforms, data });
}

/** What the reader chose on the book's site, where this page is a part of it. */
function localeTheme() {
  try {
    return localStorage.getItem("theme") ?? "";
  } catch {
    return ""; // a file, or cookies refused
  }
}

export default {
  render({ model, el }) {
    const set = mount(el, model.get("data"), model.get("state"), (settings) => {
      model.set("state", settings);
      model.save_changes();
    });
    model.on("change:state", () => set(model.get("state")));
  },
};
