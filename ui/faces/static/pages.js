// The pages of the wall draw themselves from what is pushed: h. a histogram, b. bars over time, c. a chart, d. a diagram; the
// name behind the dot is the id of the place. What is more than that stands in a script of the page's own.
import { canvasIn, cellText, chart, emptyIn, histogram, remPx, svg } from "./draw.js";
import { formatNumber, formatTime, live, onRedraw, say } from "./shell.js";

let table = {};
let hello = {};
const drawers = { h: drawHistogram, b: drawBars, c: drawChart, d: drawDiagram };
const extra = new Map(); // key of the table -> what else draws it

// Draw the table's key by draw(value, table, hello) whenever it changes or the page is drawn anew.
export function drawn(key, draw) {
  extra.set(key, draw);
  if (key in table) draw(table[key], table, hello); // the push may have come before the page's own script
}
export const tableNow = () => table;

function drawKey(key) {
  const [sort, name] = [key[0], key.slice(2)];
  if (extra.has(key)) extra.get(key)(table[key], table, hello);
  else if (key[1] === "." && sort in drawers) {
    const box = document.getElementById(name);
    if (box) drawers[sort](box, table[key]);
  }
}

function drawHistogram(box, { counts, edges, unit, hot, cold }) {
  histogram(box, counts, edges, unit, { hot: hot ?? Infinity, cold: cold ?? -Infinity });
}

function drawChart(box, spec) {
  if (!spec) return void emptyIn(box, say("no reading"));
  chart(box, { now: table["t.time_s"], ...spec });
}

// Bars over time: {start, step, rows: [{name, values, fill}], unit}; a row each, all on one axis.
function drawBars(box, spec) {
  const made = canvasIn(box);
  if (!made) return;
  if (!spec || !spec.rows.length) return void emptyIn(box, say("no reading"));
  const { w, h, canvas } = made;
  const rem = remPx();
  const left = 8.5 * rem;
  const bottom = 1.7 * rem;
  const tall = (h - bottom) / spec.rows.length;
  spec.rows.forEach((row, k) => {
    const most = Math.max(...row.values, 1);
    const base = (k + 1) * tall - 0.25 * rem;
    const wide = (w - left) / row.values.length;
    const total = row.values.reduce((sum, value) => sum + value, 0);
    const said = formatNumber(total, spec.unit);
    canvas.append(svg("text", { x: 0, y: base - tall / 2 + 0.2 * rem, class: "name", "font-size": 1.02 * rem }, row.name));
    canvas.append(svg("text", { x: 0, y: base - tall / 2 + 1.5 * rem, class: "value", "font-size": 1.15 * rem }, said.n + (said.u ? `\u202f${said.u}` : "")));
    row.values.forEach((value, i) => {
      if (!value) return;
      const high = Math.max(((tall - 0.9 * rem) * value) / most, 2);
      const bar = svg("rect", { x: left + i * wide + 0.5, y: base - high, width: Math.max(wide - 1, 1.5), height: high, style: `fill:${row.fill || "var(--warn)"}` });
      bar.append(svg("title", {}, `${formatTime(spec.start + i * spec.step, "time")}: ${formatNumber(value, spec.unit).n}`));
      canvas.append(bar);
    });
    canvas.append(svg("line", { x1: left, x2: w, y1: base, y2: base, class: "rule" }));
  });
  const count = spec.rows[0].values.length;
  for (let i = 0; i <= 4; i++) {
    const anchor = i === 0 ? "start" : i === 4 ? "end" : "middle";
    canvas.append(svg("text", { x: left + ((w - left) * i) / 4, y: h - 0.35 * rem, "text-anchor": anchor, class: "name", "font-size": 0.95 * rem }, formatTime(spec.start + (spec.step * count * i) / 4)));
  }
  box.replaceChildren(canvas);
}

// A diagram on a grid of unit boxes: {cols, rows, nodes: [{id, x, y, w, h, name, cells, k}], links: [{a, b, k, flow, cell}]}.
function drawDiagram(box, spec) {
  const made = canvasIn(box);
  if (!made) return;
  if (!spec || !spec.nodes.length) return void emptyIn(box, say("no reading"));
  const { w, h, canvas } = made;
  const rem = remPx();
  const [ux, uy] = [w / spec.cols, h / spec.rows];
  const at = new Map(spec.nodes.map((node) => [node.id, { x: node.x * ux, y: node.y * uy, w: (node.w || 1) * ux, h: (node.h || 1) * uy }]));
  for (const link of spec.links) {
    const [a, b] = [at.get(link.a), at.get(link.b)];
    if (!a || !b) continue;
    const shift = (link.side || 0) * 0.55 * rem;
    const across = Math.abs(a.x + a.w / 2 - b.x - b.w / 2) > (a.w + b.w) / 2 - 1;
    let d;
    if (across) {
      const [from, to] = a.x < b.x ? [a, b] : [b, a];
      const [y0, y1] = [from.y + from.h / 2 + shift, to.y + to.h / 2 + shift];
      const middle = (from.x + from.w + to.x) / 2 + shift;
      d = `M${from.x + from.w},${y0} H${middle} V${y1} H${to.x}`;
    } else {
      const [from, to] = a.y < b.y ? [a, b] : [b, a];
      const [x0, x1] = [from.x + from.w / 2 + shift, to.x + to.w / 2 + shift];
      const middle = (from.y + from.h + to.y) / 2 + shift;
      d = `M${x0},${from.y + from.h} V${middle} H${x1} V${to.y}`;
    }
    canvas.append(svg("path", { d, class: `pipe ${link.k || ""}`, fill: "none" }));
  }
  for (const node of spec.nodes) {
    const place = at.get(node.id);
    const group = svg("g", { class: `device ${node.k || ""}` });
    group.append(svg("rect", { x: place.x + 1, y: place.y + 1, width: place.w - 2, height: place.h - 2, rx: 0.4 * rem }));
    const tall = node.cells.length + 1;
    const size = Math.min(1.15 * rem, (place.h / (tall + 0.35)) * 0.82);
    const step = place.h / (tall + 0.35);
    group.append(svg("text", { x: place.x + 0.6 * rem, y: place.y + step * 0.95, class: "name", "font-size": size }, (node.k === "warning" ? "◆ " : node.k === "critical" ? "▲ " : "") + node.name));
    node.cells.forEach(([label, cell], i) => {
      const y = place.y + step * (i + 1.95);
      group.append(svg("text", { x: place.x + 0.6 * rem, y, class: "name", "font-size": size * 0.9 }, label));
      group.append(cellText(cell, size, { x: place.x + place.w - 0.6 * rem, y, "text-anchor": "end" }));
    });
    canvas.append(group);
  }
  box.replaceChildren(canvas);
}

function drawAll() {
  for (const key of Object.keys(table)) drawKey(key);
}

live(document.documentElement.dataset.page, (changes, whole, told) => {
  [table, hello] = [whole, told];
  for (const key of Object.keys(changes)) drawKey(key);
});
onRedraw(drawAll);
