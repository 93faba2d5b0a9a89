// Drawing as SVG: small tools, a chart over time, and numbers as text. Colours come from the theme by class or by variable.
import { formatNumber, formatTime, say } from "./shell.js";

const NS = "http://www.w3.org/2000/svg";

export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export const remPx = () => parseFloat(getComputedStyle(document.documentElement).fontSize);
export const themed = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// A canvas that fills box; null while it has no size.
export function canvasIn(box) {
  const [w, h] = [box.clientWidth, box.clientHeight];
  if (!w || !h) return null;
  return { w, h, canvas: svg("svg", { viewBox: `0 0 ${w} ${h}`, width: w, height: h, "aria-hidden": "true" }) };
}

// A number cell of the push as SVG text. Its space is a character: a dx is not counted where text is anchored at its end.
export function cellText(cell, size, attributes) {
  const text = svg("text", { ...attributes, class: `value ${cell.f} ${cell.o || ""} ${cell.s || ""}`, "font-size": size }, (cell.o ? "≈" : "") + cell.n);
  if (cell.u) text.append(svg("tspan", { class: "unit", "font-size": size * 0.6 }, "\u00a0" + cell.u));
  return text;
}

export function emptyIn(box, text) {
  box.replaceChildren(Object.assign(document.createElement("span"), { className: "empty-text", textContent: text }));
}

// --- a chart over time ----------------------------------------------------------------------------------------------------

const NICE = [1, 2, 2.5, 5, 10];
function ticks(low, high, count) {
  const raw = (high - low || 1) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = NICE.find((nice) => nice * power >= raw) * power;
  const made = [];
  for (let value = Math.ceil(low / step) * step; value <= high + step * 1e-6; value += step) made.push(value);
  return made;
}

const HOURS = [1 / 12, 0.25, 0.5, 1, 2, 3, 6, 12, 24, 48, 168];
function timeTicks(start, end, count) {
  const step = (HOURS.find((hours) => (end - start) / 3600 / hours <= count) || 168) * 3600;
  const made = [];
  for (let t = Math.ceil(start / step) * step; t <= end; t += step) made.push(t);
  return made;
}

function line(t, y, x, scaleY) {
  let d = "";
  let down = false;
  t.forEach((time, i) => {
    if (y[i] === null || y[i] === undefined) return void (down = false);
    d += `${down ? "L" : "M"}${x(time).toFixed(1)},${scaleY(y[i]).toFixed(1)}`;
    down = true;
  });
  return d;
}

function area(t, low, high, x, scaleY) {
  const up = t.map((time, i) => `${x(time).toFixed(1)},${scaleY(high[i]).toFixed(1)}`);
  const back = t.map((time, i) => `${x(time).toFixed(1)},${scaleY(low[i]).toFixed(1)}`).reverse();
  return up.length ? `M${up.join("L")}L${back.join("L")}Z` : "";
}

// spec: {unit, now, start, end, low, high, zero, lines: [{t, y, stroke, dash, name, step}], bands: [{t, low, high, fill, name}], limits: [{y, name}], marks: [{t, text, stroke}]}
export function chart(box, spec) {
  const made = canvasIn(box);
  if (!made) return;
  const { w, h, canvas } = made;
  const rem = remPx();
  const values = [
    ...spec.lines.flatMap((one) => one.y), ...(spec.bands || []).flatMap((one) => [...one.low, ...one.high]), ...(spec.limits || []).map((one) => one.y),
  ].filter((value) => value !== null && Number.isFinite(value));
  if (!values.length) return void emptyIn(box, say("no reading"));
  let low = spec.low ?? Math.min(...values);
  let high = spec.high ?? Math.max(...values);
  if (spec.zero) low = Math.min(low, 0);
  const room = (high - low || Math.abs(high) || 1) * 0.08;
  if (spec.low === undefined && !spec.zero) low -= room;
  if (spec.high === undefined) high += room;
  const times = [...spec.lines, ...(spec.bands || [])].flatMap((one) => [one.t[0], one.t[one.t.length - 1]]).filter((t) => t !== undefined);
  const start = spec.start ?? Math.min(...times);
  const end = spec.end ?? Math.max(...times, start + 1);
  const steps = ticks(low, high, Math.max(2, Math.floor(h / (3.2 * rem))));
  const farthest = steps.reduce((most, value) => (Math.abs(value) > Math.abs(most) ? value : most), 0);
  const unit = (spec.money || "") + formatNumber(farthest, spec.unit).u;
  const above = unit.length > 3; // a longer unit stands once, above the axis
  const named = namedOf(spec);
  // a row of its own for the legend: no line of the picture, nor that of now, runs through it
  const [left, right, top, bottom] = [5.2 * rem, 0.9 * rem, ((above ? 1.9 : 0.6) + (named.length ? 1.4 : 0)) * rem, 1.9 * rem];
  const x = (t) => left + ((t - start) / (end - start)) * (w - left - right);
  const y = (value) => top + (1 - (value - low) / (high - low)) * (h - top - bottom);
  if (above) canvas.append(svg("text", { x: 0, y: rem, class: "name", "font-size": rem }, unit));
  for (const value of steps) {
    const said = formatNumber(value, spec.unit, farthest);
    canvas.append(svg("line", { x1: left, x2: w - right, y1: y(value), y2: y(value), class: "rule" }));
    const text = above ? said.n : `${said.n}${said.u && said.u !== "%" ? "\u202f" : ""}${said.u}`;
    canvas.append(svg("text", { x: left - 0.5 * rem, y: y(value) + 0.35 * rem, "text-anchor": "end", class: "name", "font-size": rem }, text));
  }
  const days = end - start > 2.5 * 86400;
  for (const t of timeTicks(start, end, Math.floor((w - left) / ((days ? 8 : 5) * rem)))) {
    const anchor = x(t) > w - (days ? 3 : 1.6) * rem ? "end" : "middle"; // the last one stays on the page
    canvas.append(svg("text", { x: anchor === "end" ? w : x(t), y: h - 0.4 * rem, "text-anchor": anchor, class: "name", "font-size": 0.95 * rem }, formatTime(t, days ? "day" : "time")));
  }
  for (const one of spec.bands || []) canvas.append(svg("path", { d: area(one.t, one.low, one.high, x, y), style: `fill:${one.fill || "var(--band)"}` }));
  for (const one of spec.limits || []) {
    canvas.append(svg("line", { x1: left, x2: w - right, y1: y(one.y), y2: y(one.y), style: "stroke:var(--bad)", "stroke-dasharray": "8 4", "stroke-width": 1.5 }));
    canvas.append(svg("text", { x: w - right, y: y(one.y) - 0.35 * rem, "text-anchor": "end", class: "name", "font-size": 0.95 * rem }, one.name));
  }
  for (const one of spec.lines) {
    canvas.append(svg("path", {
      d: line(one.t, one.y, x, y), fill: "none", style: `stroke:${one.stroke || "var(--measured)"}`, "stroke-width": one.width || 2.2,
      "stroke-dasharray": one.dash || "none", "stroke-linejoin": "round", class: "curve",
    }));
  }
  if (spec.now !== undefined && spec.now < end && spec.now > start) canvas.append(svg("line", { x1: x(spec.now), x2: x(spec.now), y1: top, y2: h - bottom, class: "now", style: "stroke:var(--ink-quiet)" }));
  for (const one of spec.marks || []) {
    if (one.t < start || one.t > end) continue;
    canvas.append(svg("path", { d: `M${x(one.t)},${h - bottom} l${-0.45 * rem},${-0.8 * rem} h${0.9 * rem} Z`, style: `fill:${one.fill || "var(--warn)"}` }, svg("title", {}, one.text || "")));
  }
  legend(canvas, named, w - right, top - 1.4 * rem, rem);
  box.replaceChildren(canvas);
}

// What a legend names; one line alone needs none.
function namedOf(spec) {
  const named = [...spec.lines, ...(spec.bands || []).map((one) => ({ ...one, stroke: one.fill || "var(--band)", width: 8 }))].filter((one) => one.name);
  return named.length < 2 ? [] : named;
}

function legend(canvas, named, end, top, rem) {
  let at = end;
  for (const one of named.reverse()) {
    const text = svg("text", { x: at, y: top + 0.7 * rem, "text-anchor": "end", class: "name", "font-size": 0.98 * rem }, one.name);
    canvas.append(text);
    const width = [...one.name].reduce((sum, sign) => sum + (sign.charCodeAt(0) > 0x2e80 ? 1 : 0.56), 0) * 0.98 * rem;
    canvas.append(svg("line", { x1: at - width - 1.7 * rem, x2: at - width - 0.5 * rem, y1: top + 0.38 * rem, y2: top + 0.38 * rem, style: `stroke:${one.stroke || "var(--measured)"}`, "stroke-width": one.width || 2.4, "stroke-dasharray": one.dash || "none" }));
    at -= width + 2.6 * rem;
  }
}

// --- columns: a histogram, a strip of bars --------------------------------------------------------------------------------

// bins: counts; edges: bins + 1 values; unit of the edges; hot: from which value on a bar asks to be seen.
export function histogram(box, counts, edges, unit, { hot = Infinity, cold = -Infinity, fill = "var(--calm)" } = {}) {
  const made = canvasIn(box);
  if (!made) return;
  const { w, h, canvas } = made;
  const rem = remPx();
  const most = Math.max(...counts);
  if (!most) return void emptyIn(box, say("no reading"));
  const [top, bottom] = [1.4 * rem, 1.8 * rem];
  const wide = w / counts.length;
  counts.forEach((count, i) => {
    const tall = count ? Math.max(((h - top - bottom) * count) / most, 2) : 0;
    const asks = edges[i] >= hot || edges[i + 1] <= cold;
    canvas.append(svg("rect", { x: i * wide + 1, y: h - bottom - tall, width: Math.max(wide - 2, 1), height: tall, style: `fill:${asks && count ? "var(--warn)" : fill}` }));
    if (count && wide > 2.4 * rem) canvas.append(svg("text", { x: (i + 0.5) * wide, y: h - bottom - tall - 0.35 * rem, "text-anchor": "middle", class: "name", "font-size": 0.92 * rem }, formatNumber(count, "count").n));
  });
  canvas.append(svg("line", { x1: 0, x2: w, y1: h - bottom, y2: h - bottom, class: "rule" }));
  const every = Math.ceil((4.2 * rem) / wide);
  edges.forEach((edge, i) => {
    if (i % every) return;
    const said = formatNumber(edge, unit, edges[edges.length - 1]);
    const anchor = i === 0 ? "start" : i === edges.length - 1 ? "end" : "middle";
    canvas.append(svg("text", { x: i * wide, y: h - 0.4 * rem, "text-anchor": anchor, class: "name", "font-size": 0.95 * rem }, said.n + (i === 0 || i + every >= edges.length ? (said.u === "%" ? "%" : `\u202f${said.u}`) : "")));
  });
  box.replaceChildren(canvas);
}
