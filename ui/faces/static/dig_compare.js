// Assets of one kind beside each other: a chart of each metric, a line an asset, and their newest readings in a table.
import { onRedraw, say } from "./shell.js";
import { Chart, Span, ask, assetLink, chartBoxes, iso, make, metricName, numberText, remember, suggests, told } from "./dig.js";

const MOST = 8;
const query = new URLSearchParams(location.search);
const letters = "abcdefgh";
let assets = [...new Set([...letters].map((letter) => query.get(letter)).filter(Boolean))].slice(0, MOST);
let chosen = query.getAll("metric");
let cards = [];
const at = (id) => document.getElementById(id);
const span = new Span(() => draw());
const form = at("add");
suggests(form.elements.asset, at("found"), (one) => one.sort === "asset");

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const name = form.elements.asset.value.trim();
  if (name && !assets.includes(name) && assets.length < MOST) keep([...assets, name]);
  form.elements.asset.value = "";
});

function keep(list) {
  assets = list;
  remember(Object.fromEntries([...letters].map((letter, i) => [letter, assets[i] || ""])));
  read();
}

function choose(name) {
  chosen = chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name].slice(-6);
  remember({ metric: chosen });
  show();
  draw();
}

function show() {
  at("chosen").replaceChildren(...assets.map((asset) => make("span", null, { className: "chip", children: [assetLink(asset), make("button", "×", { type: "button", ariaLabel: `${say("remove")} ${asset}`, onclick: () => keep(assets.filter((one) => one !== asset)) })] })));
  const names = [...new Set(cards.flatMap((card) => card.readings.map((line) => line.name)))];
  const head = make("tr", null, { children: [make("th", ""), ...cards.map((card) => make("th", null, { children: [assetLink(card.asset)] }))] });
  const rows = names.map((name) => {
    const button = make("button", metricName(name), { title: name, type: "button", ariaPressed: String(chosen.includes(name)), onclick: () => choose(name) });
    const cells = cards.map((card) => {
      const line = card.readings.find((one) => one.name === name);
      const side = line && (line.sides.measured || line.sides.modelled);
      return make("td", side ? numberText(side.value, line.unit) : "–", { className: side && !side.fresh ? "stale" : "" });
    });
    return make("tr", null, { children: [make("td", null, { children: [button] }), ...cells] });
  });
  at("table").replaceChildren(make("thead", null, { children: [head] }), make("tbody", null, { children: rows }));
}

async function draw() {
  const kinds = [...new Set(cards.map((card) => card.kind))];
  const boxes = chartBoxes(at("charts"), kinds.length === 1 ? chosen : []);
  const [from, to] = span.range;
  await Promise.all(boxes.map(async (box) => {
    const metric = box.dataset.chart;
    const chart = new Chart(box, metric, "", (range) => span.set(range));
    try {
      const got = await ask("/api/v1/explore", { kind: kinds[0], metric, asset: assets, start: iso(from), end: iso(to) });
      chart.unit = got.units[metric];
      chart.set(got.names.map((name, i) => ({ name, x: got.time_s, y: got.metrics[metric][i] })), [from, to], []);
    } catch (error) { told(error); }
  }));
}

async function read() {
  told("");
  const got = await Promise.all(assets.map((asset) => ask(`/api/v1/assets/${asset.split("/").map(encodeURIComponent).join("/")}`).catch((error) => { told(error); return null; })));
  cards = got.filter(Boolean).map((one) => one.card);
  if (got.find(Boolean)) span.ahead = Date.parse(got.find(Boolean).time) / 1000 - Date.now() / 1000;
  const kinds = [...new Set(cards.map((card) => card.kind))];
  if (!assets.length) told(say("name assets to compare"));
  else if (kinds.length > 1) told(say("these are of different kinds: {kinds}", { kinds: kinds.join(", ") }));
  if (!chosen.length && cards.length) chosen = cards[0].readings.map((line) => line.name).filter((name) => /^(it_)?power_w$|temp_c$/.test(name)).slice(0, 2);
  show();
  await draw();
}

onRedraw(show);
await read();
