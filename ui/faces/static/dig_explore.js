// Any series: the form is the question, the address is the form, a chart a metric; zooming asks again with finer steps.
import { languageNow, onRedraw, say } from "./shell.js";
import { Chart, Notes, Span, ask, chartBoxes, iso, make, metricName, numberText, remember, send, suggests, told } from "./dig.js";

const at = (id) => document.getElementById(id);
const metrics = JSON.parse(at("metrics").textContent);
const form = at("ask");
const FIELDS = ["asset", "within", "by", "across", "origin"];
let charts = [];
let names = [];

const span = new Span(() => look());
const notes = new Notes(() => form.elements.within.value || (names.length === 1 ? names[0] : ""), span, () => look());
suggests(form.elements.asset, at("found"), (one) => one.sort === "asset");
suggests(form.elements.within, at("found"), (one) => one.sort === "asset");

function fillMetrics(chosen) {
  const rows = metrics[form.elements.kind.value] || [];
  form.elements.metric.replaceChildren(...rows.map(([name, unit, doc]) => make("option", unit ? `${metricName(name)} [${unit}]` : metricName(name), { value: name, title: `${name}: ${doc}`, selected: chosen.includes(name) })));
  if (!chosen.length && rows.length) form.elements.metric.options[0].selected = true;
}

function read() {
  const query = new URLSearchParams(location.search);
  if (metrics[query.get("kind")]) form.elements.kind.value = query.get("kind");
  else form.elements.kind.value = "rack" in metrics ? "rack" : Object.keys(metrics)[0];
  for (const name of FIELDS) {
    const value = name === "asset" ? query.getAll(name).join(", ") : query.get(name);
    if (value) form.elements[name].value = value;
  }
  fillMetrics(query.getAll("metric"));
}

function question() {
  const [from, to] = span.range;
  const value = (name) => form.elements[name].value;
  const assets = value("asset").split(",").map((part) => part.trim()).filter(Boolean);
  const asked = { kind: value("kind"), metric: [...form.elements.metric.selectedOptions].map((option) => option.value), asset: assets };
  for (const name of ["within", "by", "origin"]) asked[name] = value(name);
  asked.across = asked.by ? value("across") : "";
  return { ...asked, start: iso(from), end: iso(to) };
}

async function look() {
  const asked = question();
  const { start, end, ...kept } = asked;
  remember(kept);
  if (!asked.metric.length) return void told(say("choose a metric"));
  try {
    await notes.read();
    const got = await ask("/api/v1/explore", asked);
    names = got.names;
    const boxes = chartBoxes(at("charts"), asked.metric);
    charts = boxes.map((box) => new Chart(box, box.dataset.chart, got.units[box.dataset.chart], (range) => span.set(range)));
    for (const chart of charts) {
      const lines = got.names.map((name, i) => ({ name: asked.by ? `${name} (${got.counts[i]})` : name, x: got.time_s, y: got.metrics[chart.title][i] }));
      chart.set(lines, [Date.parse(start) / 1000, Date.parse(end) / 1000], notes.list);
    }
    const parts = [say("step {step}", { step: numberText(got.step_s, "s") })];
    if (got.coarser) parts.push(say("steps are longer than asked: it would be too much"));
    told(parts.join(" · "));
  } catch (error) { told(error); }
}

async function views() {
  const found = (await ask("/api/v1/views")).filter((one) => one.page === "/explore");
  const rows = found.map((one) => {
    const query = new URLSearchParams(one.query);
    query.set("lang", languageNow());
    const parts = [make("a", one.name, { href: `/explore?${query}`, className: "text" })];
    if (!one.own) parts.push(make("span", say("shared by {who}", { who: one.by }), { className: "quiet" }));
    else parts.push(make("button", say("remove"), { type: "button", onclick: async () => { await send("DELETE", `/api/v1/views/${one.id}`).catch(told); await views(); } }));
    return make("div", null, { className: "entry", children: parts });
  });
  at("views").replaceChildren(...(rows.length ? rows : [make("p", say("nothing yet"), { className: "quiet" })]));
}

at("keep").addEventListener("submit", async (event) => {
  event.preventDefault();
  const { name, shared } = event.target.elements;
  if (!name.value.trim()) return void told(say("a view needs a name"));
  const query = new URLSearchParams(location.search);
  query.delete("lang");
  try {
    await send("POST", "/api/v1/views", { name: name.value.trim(), page: "/explore", query: query.toString(), shared: shared.checked });
    name.value = "";
    await views();
  } catch (error) { told(error); }
});

document.querySelector(".files").addEventListener("click", async (event) => {
  const file = event.target.closest("[data-file]")?.dataset.file;
  if (!file) return;
  if (file === "png") {
    for (const chart of charts) await Plotly.downloadImage(chart.box, { format: "png", width: 1600, height: 700, filename: `icctwin-${form.elements.kind.value}-${chart.title}` });
    return;
  }
  const query = new URLSearchParams({ format: file });
  for (const [key, value] of Object.entries(question())) for (const one of [value].flat()) if (one) query.append(key, one);
  const link = make("a", "", { href: `/api/v1/explore/export?${query}`, download: "" });
  document.body.append(link);
  link.click();
  link.remove();
});

at("whole").addEventListener("click", () => span.set(null));
form.elements.kind.addEventListener("change", () => { form.elements.asset.value = ""; fillMetrics([]); });
form.addEventListener("submit", (event) => { event.preventDefault(); look(); });
onRedraw(() => notes.show());
read();
const now = Date.parse((await ask("/api/v1/state", { kind: "site", limit: 1 })).time) / 1000;
span.ahead = now - Date.now() / 1000;
await look();
await views().catch(told);
