// The page of one asset: its card, and a chart of each metric that is chosen (measured against modelled, with the residual band).
import { languageNow, onRedraw, say } from "./shell.js";
import { Chart, Notes, Span, ageText, ask, assetLink, chartBoxes, facts, iso, make, metricName, metricSays, numberText, remember, stamp, told } from "./dig.js";

const EVERY_MS = 5000;
const path = `/api/v1/assets/${facts.asset.split("/").map(encodeURIComponent).join("/")}`;
const at = (id) => document.getElementById(id);
let chosen = new URLSearchParams(location.search).getAll("metric");
let said = null;
let charts = [];

const span = new Span(() => { drawAll(); notes.read(); });
const notes = new Notes(() => facts.asset, span, drawAll);

const severity = (name) => (name ? [make("span", say(name), { className: name })] : []);
const side = (one, unit) => {
  const cell = make("td", one ? numberText(one.value, unit) : "–");
  if (one && !one.fresh) cell.className = "stale";
  return cell;
};

function part(id, rows) {
  const box = at(id);
  box.closest("section").hidden = rows.length === 0;
  box.replaceChildren(...rows);
}
const entry = (...parts) => make("div", null, { className: "entry", children: parts.filter(Boolean) });
const quiet = (text) => make("span", text, { className: "quiet" });
const words = (text) => make("span", text, { className: "text" });

function readingRow(line) {
  const now = line.sides.measured || line.sides.modelled || line.sides.commanded;
  const button = make("button", metricName(line.name), { type: "button", title: metricSays(line.name), ariaPressed: String(chosen.includes(line.name)), onclick: () => choose(line.name) });
  const off = make("td", line.score === null ? "" : say("off by {n} spreads", { n: line.score.toFixed(1) }));
  if (line.score !== null && Math.abs(line.score) > 4) off.className = "wrong";
  return make("tr", null, { children: [make("td", null, { children: [button] }), side(line.sides.measured, line.unit), side(line.sides.modelled || line.sides.commanded, line.unit), off, make("td", ageText(now.age_s))] });
}

function neighbour(one) {
  const how = one.side ? numberText(one.side.value, one.unit) : "";
  const cell = make("span", how, { className: one.side && !one.side.fresh ? "stale" : "" });
  return entry(quiet("·".repeat(one.level)), assetLink(one.asset), make("span", say(one.kind), { className: "kind" }), quiet(say(one.relation)), words(""), cell, ...severity(one.alert));
}

const spoken = (text) => said.said[text] || text; // in the page's language
const when = (text) => quiet(stamp(Date.parse(text) / 1000));

function show() {
  if (!said) return;
  const card = said.card;
  at("says").textContent = spoken(card.says);
  at("holders").replaceChildren(...card.holders.toReversed().flatMap((one) => [assetLink(one.asset), document.createTextNode(" › ")]));
  const firing = said.alerts.filter((one) => one.phase === "firing");
  const worst = firing.map((one) => one.severity);
  at("worst").replaceChildren(...severity(["critical", "warning", "info"].find((name) => worst.includes(name))));
  at("readings").replaceChildren(...card.readings.map(readingRow));
  if (!card.readings.length) at("readings").replaceChildren(make("tr", null, { children: [make("td", say("nothing yet"), { colSpan: 5 })] }));
  part("attributes", Object.entries(card.attributes).map(([name, value]) => entry(quiet(name), words(String(value)))));
  part("alerts", firing.map((one) => entry(...severity(one.severity), words(spoken(typeof one.summary === "string" ? one.summary : one.summary.text ?? one.summary.sentence)), assetLink(one.asset), when(one.since))));
  part("troubles", said.troubles.map((one) => entry(words(spoken(one.text)), one.since && when(one.since))));
  part("findings", said.findings.map((one) => entry(words(spoken(one.summary.text)), assetLink(one.asset), when(one.since))));
  part("upstream", card.upstream.map(neighbour));
  part("downstream", card.downstream.map(neighbour));
  const more = card.children_total - card.children.length;
  const inside = card.children.map((one) => make("span", null, { children: [assetLink(one.asset), ...severity(one.alert)] }));
  if (more > 0) inside.push(quiet(say("{n} more", { n: more })));
  part("children", inside.length ? [make("div", null, { className: "chips", children: inside })] : []);
  part("events", said.events.map((one) => entry(when(one.time), make("span", say(one.severity), { className: one.severity }), words(spoken(one.meaning)), assetLink(one.asset))));
  part("jobs", said.jobs.map((one) => entry(words(`${one.name} · ${one.user} · ${one.id}`), quiet(say("{here} of {all} GPUs", { here: one.gpus_here, all: one.gpus })), quiet(`${stamp(one.start_s)} – ${one.end_s ? stamp(one.end_s) : say("running")}`))));
}

const FIRST = ["power_w", "it_power_w", "supply_temp_c", "temp_c", "flow_kgps", "util_frac", "up_flag", "rx_bps", "used_frac", "dry_bulb_c", "price_per_mwh"];

function choose(name) {
  chosen = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name].slice(-6);
  remember({ metric: chosen });
  show();
  drawAll();
}

async function drawAll() {
  const boxes = chartBoxes(at("charts"), chosen);
  charts = boxes.map((box, i) => new Chart(box, chosen[i], "", (range) => span.set(range)));
  await Promise.all(charts.map(draw));
}

async function draw(chart) {
  const [from, to] = span.range;
  try {
    const got = await ask("/api/v1/explore/asset", { asset: facts.asset, metric: chart.title, start: iso(from), end: iso(to) });
    chart.unit = got.unit;
    const line = (name, y, more) => ({ name, x: got.time_s, y, ...more });
    const lines = [];
    if (got.band_low.length) lines.push(line("", got.band_low, { colour: "modelled", quiet: true, unnamed: true }), line(say("expected"), got.band_high, { colour: "modelled", quiet: true, fill: true }));
    if (got.low.length) lines.push(line("", got.low, { colour: "accent", quiet: true, unnamed: true }), line(say("least and most"), got.high, { colour: "accent", quiet: true, fill: true }));
    if (got.modelled.length) lines.push(line(say("modelled"), got.modelled, { colour: "modelled", dash: "dash" }));
    if (got.measured.length) lines.push(line(say("measured"), got.measured, { colour: "measured" }));
    chart.set(lines, [from, to], notes.list);
    told("");
  } catch (error) { told(error); }
}

async function read() {
  try {
    said = await ask(path, { lang: languageNow() });
    span.ahead = Date.parse(said.time) / 1000 - Date.now() / 1000;
    show();
  } catch (error) { told(error); }
}

onRedraw(() => { show(); notes.show(); });
await read();
if (said && !chosen.length) {
  const names = said.card.readings.map((line) => line.name);
  chosen = FIRST.filter((name) => names.includes(name)).slice(0, 2);
  if (!chosen.length) chosen = names.slice(0, 1);
  show();
}
await notes.read().catch(told);
await drawAll();
setInterval(read, EVERY_MS);
