// The plan of the racks, as SVG: dark and cool is well, what asks to be seen is bright and warm. Luminance only grows, so that it
// reads without colour too; a rack of which nothing fresh is known is hatched.
import { canvasIn, emptyIn, svg } from "./draw.js";
import { say } from "./shell.js";
import { at, inkOn } from "./scales.js";

const RACK_M = [0.6, 1.2]; // a cabinet's footprint
// low..high is the scale; from hot on a rack asks to be seen. "diverging": around 0; "names": grades in place of numbers.
export const KINDS = {
  temp: { low: 25, hot: 83, high: 92, unit: "°C" },
  load: { low: 0, hot: 95, high: 110, unit: "%" },
  supply: { low: 15, hot: 45, high: 50, unit: "°C" },
  return: { low: 25, hot: 60, high: 65, unit: "°C" },
  flow: { low: 0, hot: Infinity, high: 4, unit: "kg/s" },
  residual: { low: -6, hot: Infinity, high: 6, unit: "σ", diverging: true },
  alert: { low: 0, hot: Infinity, high: 3, unit: "", names: ["well", "info", "warning", "critical"] },
};

const WARM = [[242, 184, 59], [255, 112, 67]];
const GRADES = [[58, 74, 92], [108, 180, 238], [242, 184, 59], [255, 112, 67]];

function shade(kind, value) {
  const { low, hot, high, diverging, names } = KINDS[kind];
  if (names) return GRADES[value];
  if (diverging) return at("diverging", (value - low) / (high - low));
  if (value >= hot) {
    const share = Math.min((value - hot) / (high - hot), 1);
    return WARM[0].map((v, k) => Math.round(v + (WARM[1][k] - v) * share));
  }
  const top = Number.isFinite(hot) ? hot : high;
  return at("cividis", ((value - low) / (top - low)) * (Number.isFinite(hot) ? 0.72 : 1));
}

const css = (rgb) => `rgb(${rgb.join(",")})`;

// Where the racks stand in a box of w by h pixels: a plan, not a map: stretched where that fits, turned where it makes racks larger.
export function places(plan, w, h) {
  const n = plan.ids.length;
  let x = plan.x;
  let y = plan.y;
  const [wide, deep] = RACK_M;
  const lost = x.flatMap((value, i) => (value === null || y[i] === null ? [i] : []));
  if (lost.length < n / 2 && lost.length) {
    const gone = new Set(lost);
    const known = (values) => values.filter((_, i) => !gone.has(i));
    const [left, low] = [Math.min(...known(x)), Math.min(...known(y))];
    [x, y] = [[...x], [...y]];
    lost.forEach((i, k) => ([x[i], y[i]] = [left + k * 1.2 * wide, low - 1.5 * deep])); // the rest stand in a line of their own
  } else if (lost.length) {
    const columns = Math.max(1, Math.ceil(Math.sqrt((n * w) / h / 1.6)));
    x = plan.ids.map((_, i) => (i % columns) * 0.7);
    y = plan.ids.map((_, i) => -Math.floor(i / columns) * 1.4);
  }
  const ways = [laid(x, y, wide, deep, w, h), laid(y.map((value) => -value), x, deep, wide, w, h)];
  return ways[0].size >= ways[1].size ? ways[0].boxes : ways[1].boxes;
}

const span = (values) => Math.max(...values) - Math.min(...values);

// The smallest distance between different values: the pitch of racks in a row, or of rows. No racks overlap in it.
function pitch(values, least) {
  const sorted = [...new Set(values.map((value) => Math.round(value * 100) / 100))].sort((a, b) => a - b);
  const gaps = sorted.slice(1).map((value, i) => value - sorted[i]).filter((gap) => gap >= least);
  return gaps.length ? Math.min(...gaps) : least;
}

function laid(x, y, wide, deep, w, h) {
  [wide, deep] = [Math.max(wide, 0.9 * pitch(x, wide)), Math.max(deep, 0.8 * pitch(y, deep))];
  const [left, top] = [Math.min(...x), Math.max(...y)];
  const fit = [w / (span(x) + wide), h / (span(y) + deep)];
  const scale = fit.map((value) => Math.min(value, 3.5 * Math.min(...fit), 90));
  const pad = [(w - scale[0] * (span(x) + wide)) / 2, (h - scale[1] * (span(y) + deep)) / 2];
  const boxes = x.map((_, i) => [
    pad[0] + (x[i] - left) * scale[0], pad[1] + (top - y[i]) * scale[1], wide * scale[0], deep * scale[1],
  ]);
  return { boxes, size: Math.min(wide * scale[0], deep * scale[1]) };
}

let drawn = null; // what the boxes on the screen were placed for

// The plan in box, coloured by values of kind ("temp", "load"); values: {temp, load}, null where nothing fresh is known.
export function hall(box, plan, values, kind) {
  const [w, h] = [box.clientWidth, box.clientHeight];
  if (!w || !h) return;
  if (!plan.ids.length) {
    drawn = null;
    return void emptyIn(box, say("No rack in this site"));
  }
  if (!drawn || drawn.plan !== plan || drawn.w !== w || drawn.h !== h || !box.contains(drawn.canvas)) drawn = place(box, plan, w, h);
  values[kind].forEach((value, i) => {
    const one = drawn.boxes[i];
    const said = value === null ? "–" : KINDS[kind].names ? ["", "●", "◆", "▲"][value] : String(value);
    const key = `${kind}${value}`;
    if (one.key === key) return;
    one.key = key;
    const rgb = value === null ? null : shade(kind, value);
    one.rect.setAttribute("fill", rgb ? css(rgb) : "url(#silent)");
    one.rect.setAttribute("class", value === null ? "rack silent" : "rack");
    if (one.text) {
      one.text.textContent = said;
      one.text.style.fill = rgb ? inkOn(rgb) : "var(--ink)";
    }
    one.title.textContent = `${plan.ids[i]}: ${[values.temp[i], values.load[i]].map((v, k) => (v === null ? say("silent") : `${v} ${k ? "%" : "°C"}`)).join(", ")}`;
  });
}

function place(box, plan, w, h) {
  const hatch = svg("pattern", { id: "silent", width: 7, height: 7, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" },
    svg("rect", { width: 7, height: 7, style: "fill:var(--panel)" }), svg("rect", { width: 2, height: 7, style: "fill:var(--quiet-fill)" }));
  const { canvas } = canvasIn(box);
  canvas.append(svg("defs", {}, hatch));
  const boxes = places(plan, w, h).map(([x, y, wide, deep], i) => {
    const title = svg("title");
    const rect = svg("rect", { x: x + 1, y: y + 1, width: Math.max(wide - 2, 1), height: Math.max(deep - 2, 1), rx: 2 }, title);
    rect.dataset.asset = plan.ids[i];
    canvas.append(rect);
    const size = Math.min(wide * 0.52, deep * 0.6, 22);
    const text = size >= 9 ? svg("text", { x: x + wide / 2, y: y + deep / 2, "font-size": size.toFixed(1), class: "in-rack" }) : null;
    if (text) canvas.append(text);
    return { rect, text, title, key: "" };
  });
  box.replaceChildren(canvas);
  return { plan, w, h, boxes, canvas };
}

// The legend of the plan in bar.
export function legend(bar, kind) {
  const { low, high, unit } = KINDS[kind];
  const steps = Array.from({ length: 25 }, (_, i) => css(shade(kind, KINDS[kind].names ? 0 : low + ((high - low) * i) / 24)));
  const ramp = Object.assign(document.createElement("span"), { className: "ramp" });
  ramp.style.background = `linear-gradient(to right, ${steps.join(",")})`;
  const label = (value) => Object.assign(document.createElement("span"), { textContent: value });
  const { names } = KINDS[kind];
  if (names) return void bar.replaceChildren(...names.map((name, i) => label(`${["", "● ", "◆ ", "▲ "][i]}${say(name)}`)));
  bar.replaceChildren(label(`${low}`), ramp, label(`${high} ${unit}`));
}
