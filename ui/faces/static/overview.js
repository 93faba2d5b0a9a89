// The overview: the push fills its places, this draws the plan of the hall, the way of the power and the curve of a day.
import { canvasIn, cellText, chart, remPx, svg } from "./draw.js";
import { hall, legend } from "./hall.js";
import { formatTime, live, onRedraw, say } from "./shell.js";

let mapOf = "temp";
let plan = null;
let table = {};
const box = (id) => document.getElementById(id);

function drawHall() {
  if (!plan || !table.map) return;
  hall(box("hall"), plan, table.map, mapOf);
  legend(box("scale"), mapOf);
}

function drawChart() {
  const curve = table.chart;
  if (!curve) return;
  const now = table["t.time_s"];
  const fresh = table.power_now !== null && table.power_now !== undefined;
  const lines = [{ t: fresh ? [...curve.t, now] : curve.t, y: fresh ? [...curve.y, table.power_now] : curve.y, name: say("measured") }];
  const bands = [];
  if (curve.ft && curve.ft.length) {
    lines.push({ t: curve.ft, y: curve.p50, stroke: "var(--forecast)", dash: "5 4", name: say("forecast") });
    bands.push({ t: curve.ft, low: curve.p10, high: curve.p90, name: say("80% interval") });
  }
  const first = curve.t.length ? Math.min(curve.t[0], now - 3600) : now - 3600;
  chart(box("chart"), { unit: "w", now, start: first, end: bands.length ? now + 86400 : now + 600, lines, bands });
}

// --- the way of the power -------------------------------------------------------------------------------------------------

// Measured where it is fresh, modelled where only that is, else whatever is left, grey with its age.
function chosen(stage) {
  if (stage.measured.f === "ok" || stage.modelled.f === "none") return stage.measured;
  return stage.modelled.f === "ok" || stage.measured.f === "none" ? stage.modelled : stage.measured;
}

function label(stage, name, x, y, rem, anchor) {
  const cell = chosen(stage);
  const group = svg("g", { "text-anchor": anchor });
  group.append(svg("text", { x, y: y - 1.75 * rem, class: "name", "font-size": 1.05 * rem }, say(name)));
  group.append(cellText(cell, 1.75 * rem, { x, y }));
  const both = stage.measured.f === "ok" && stage.modelled.f === "ok";
  const under = cell.a || (both ? `${say("model")} ${stage.modelled.n}${stage.modelled.u ? " " + stage.modelled.u : ""}` : cell.f === "none" ? "" : say(cell.o ? "modelled" : "measured"));
  group.append(svg("text", { x, y: y + 1.25 * rem, class: "below", "font-size": 0.95 * rem }, under));
  return group;
}

function ribbon(x0, y0, x1, y1, thick, cls) {
  const middle = (x0 + x1) / 2;
  const d = `M${x0},${y0} C${middle},${y0} ${middle},${y1} ${x1},${y1} V${y1 + thick} C${middle},${y1 + thick} ${middle},${y0 + thick} ${x0},${y0 + thick} Z`;
  return svg("path", { d, class: `ribbon ${cls}` });
}

function drawFlow() {
  const stages = table.flow;
  const made = stages && canvasIn(box("flow"));
  if (!made) return;
  const { w, h, canvas } = made;
  const rem = remPx();
  const out = [["it", "IT"], ["cooling", "Cooling"], ["loss", "Losses"]];
  const chain = [["transformer", "Transformer"], ["ups", "UPS"]].filter(([key]) => stages[key].measured.f !== "none" || stages[key].modelled.f !== "none");
  const tall = h - chain.length * 2 * rem - (chain.length ? 0.8 * rem : 0);
  const widths = out.map(([key]) => stages[key].width_w);
  const total = widths.reduce((sum, value) => sum + (value || 0), 0);
  const [x0, x1] = [8.2 * rem, w - 8.6 * rem];
  const room = tall * 0.62;
  let from = (tall - room) / 2;
  const rows = [0.24, 0.61, 0.9].map((share) => share * tall);
  out.forEach(([key, name], i) => {
    const known = total > 0 && widths[i] !== null;
    const thick = known ? Math.max((room * widths[i]) / total, 2) : 2;
    const to = Math.max(Math.min(rows[i] - 0.6 * rem - thick / 2, tall - thick), 0);
    canvas.append(ribbon(x0, from, x1, to, thick, `${key} ${chosen(stages[key]).o || ""} ${known ? "" : "unknown"}`));
    from += known ? thick : 6;
    canvas.append(label(stages[key], name, x1 + 0.8 * rem, rows[i], rem, "start"));
  });
  canvas.append(label(stages.grid, "Grid", x0 - 0.8 * rem, tall / 2 + 0.5 * rem, rem, "end"));
  chain.forEach(([key, name], i) => {
    const y = tall + 0.8 * rem + (i + 0.75) * 2 * rem;
    canvas.append(svg("line", { x1: 0, x2: w, y1: y - 1.4 * rem, y2: y - 1.4 * rem, class: "rule" }));
    canvas.append(svg("text", { x: 0, y, class: "name", "font-size": 1.05 * rem }, say(name)));
    canvas.append(cellText(chosen(stages[key]), 1.25 * rem, { x: w * 0.56, y, "text-anchor": "end" }));
    if (stages[key].loss.f !== "none") {
      canvas.append(svg("text", { x: w - 6.2 * rem, y, class: "below", "text-anchor": "end", "font-size": 0.95 * rem }, say("loss")));
      canvas.append(cellText(stages[key].loss, 1.25 * rem, { x: w - 0.15 * rem, y, "text-anchor": "end" }));
    }
  });
  box("flow").replaceChildren(canvas);
}

// --------------------------------------------------------------------------------------------------------------------------

function peakTime() {
  document.querySelector('[data-x="peak_time"]').textContent = table.peak_s ? formatTime(table.peak_s) : "";
}

function drawAll() {
  drawHall();
  drawFlow();
  drawChart();
  peakTime();
}

live("overview", (changes, whole, hello) => {
  table = whole;
  if (plan !== hello.plan) plan = hello.plan;
  if ("map" in changes || "l.machines" in changes) drawHall();
  if ("flow" in changes) drawFlow();
  if ("chart" in changes || "power_now" in changes) drawChart();
  if ("peak_s" in changes) peakTime();
});
onRedraw(drawAll);

document.getElementById("page").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-map]");
  if (!button) return;
  mapOf = button.dataset.map;
  for (const one of document.querySelectorAll("button[data-map]")) one.setAttribute("aria-pressed", String(one === button));
  drawHall();
});
