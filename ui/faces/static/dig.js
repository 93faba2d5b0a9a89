// What the pages that dig share: asking the API, charts with plotly in the page's colours and the reader's zone, notes on charts.
import { formatNumber, languageNow, onRedraw, say, store } from "./shell.js";

export const facts = document.getElementById("facts")?.dataset || {};
const named = JSON.parse(document.getElementById("metric-names")?.textContent || "{}");
export const metricName = (name) => named[name]?.[0] || name; // as the page's language has it
export const metricSays = (name) => `${name}: ${named[name]?.[1] || ""}`;
const MAX_CHARTS = 6;
const PALETTE = ["#56b4e9", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#f0e442", "#0072b2", "#999999"]; // Okabe and Ito

export async function ask(path, values = {}, how = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) query.append(key, one);
  const answer = await fetch(`${path}${query.size ? `?${query}` : ""}`, how);
  if (answer.status === 204) return null;
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail || answer.statusText);
  return body;
}

export const send = (method, path, body) =>
  ask(path, {}, { method, headers: { "content-type": "application/json" }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });

export function make(tag, text, more = {}) {
  const { children = [], data = {}, ...rest } = more;
  const made = Object.assign(document.createElement(tag), rest);
  if (text !== undefined && text !== null) made.textContent = text;
  Object.assign(made.dataset, data);
  made.append(...children);
  return made;
}

export const assetLink = (id) => make("a", id, { href: `/asset/${id.split("/").map(encodeURIComponent).join("/")}?lang=${languageNow()}` });
export function told(what) {
  const box = document.getElementById("said");
  box.textContent = what ? String(what.message || what) : "";
  box.classList.toggle("wrong", what instanceof Error);
}
export const numberText = (value, unit) => { const { n, u } = formatNumber(value, unit); return u && u !== "%" ? `${n} ${u}` : `${n}${u}`; };
export const ageText = (seconds) => numberText(Math.max(seconds, 0) < 1 ? 0 : Math.round(seconds), "s");
export const suffixOf = (metric) => ["gco2_per_kwh", "per_mwh"].find((unit) => metric.endsWith(`_${unit}`)) || metric.split("_").pop();

// --- time ---------------------------------------------------------------------------------------------------------------

export function zone() {
  const kept = store.get("zone") || "site";
  return kept === "site" ? facts.zone || "UTC" : kept === "browser" ? Intl.DateTimeFormat().resolvedOptions().timeZone : kept;
}
const local = new Map();
// "2026-03-10 14:30:00" of seconds since 1970 in the reader's zone: what plotly draws as it stands.
export function wall(seconds) {
  if (!local.has(zone())) local.set(zone(), new Intl.DateTimeFormat("sv-SE", { timeZone: zone(), year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit" }));
  return local.get(zone()).format(new Date(seconds * 1000));
}
// The other way: a wall time of the reader's zone as seconds since 1970.
export function instant(text) {
  const guess = Date.parse(`${text.slice(0, 19).replace(" ", "T")}Z`) / 1000;
  const off = (at) => Date.parse(`${wall(at).replace(" ", "T")}Z`) / 1000 - at;
  return guess - off(guess - off(guess));
}
// "03-10 14:30" in the reader's zone and language.
export function stamp(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return "–";
  const style = { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23", timeZone: zone() };
  return new Intl.DateTimeFormat(languageNow() === "zh" ? "zh-CN" : "en-GB", style).format(new Date(seconds * 1000));
}
export const iso = (seconds) => new Date(seconds * 1000).toISOString();

// The span that is shown: kept in the address, so that a link shows the same.
export class Span {
  constructor(onChange, fallback = 86400) {
    const at = new URLSearchParams(location.search);
    this.back = Number(at.get("back")) || fallback;
    this.fixed = at.has("from") && at.has("to") ? [Date.parse(at.get("from")) / 1000, Date.parse(at.get("to")) / 1000] : null;
    this.onChange = onChange;
    document.getElementById("span").addEventListener("click", (event) => {
      const button = event.target.closest("[data-span]");
      if (!button) return;
      this.back = Number(button.dataset.span);
      this.set(null);
    });
    this.show();
  }
  get range() {
    const now = Date.now() / 1000 + (this.ahead || 0);
    return this.fixed || [now - this.back, now];
  }
  set(fixed) {
    this.fixed = fixed && fixed[1] - fixed[0] >= 2 ? fixed : null;
    remember({ from: this.fixed ? iso(this.fixed[0]) : "", to: this.fixed ? iso(this.fixed[1]) : "", back: this.fixed ? "" : this.back });
    this.show();
    this.onChange();
  }
  show() {
    for (const button of document.querySelectorAll("[data-span]"))
      button.setAttribute("aria-pressed", String(!this.fixed && Number(button.dataset.span) === this.back));
    const whole = document.getElementById("whole");
    if (whole) whole.hidden = !this.fixed;
  }
}

export function remember(values) {
  const url = new URL(location.href);
  for (const [key, value] of Object.entries(values)) {
    url.searchParams.delete(key);
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) url.searchParams.append(key, one);
  }
  history.replaceState(null, "", url);
}

// --- charts -------------------------------------------------------------------------------------------------------------

const colours = () => {
  const style = getComputedStyle(document.documentElement);
  return (name) => style.getPropertyValue(`--${name}`).trim();
};
export const palette = (i) => PALETTE[i % PALETTE.length];

const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
// What to divide by, and the unit to write, for the largest of some values.
export function scaleOf(values, unit) {
  if (unit === "frac") return [0.01, "%"];
  const top = values.reduce((most, value) => (value !== null && Math.abs(value) > most ? Math.abs(value) : most), 0);
  const symbol = formatNumber(1, unit).u;
  if (["w", "j", "bps", "bytes", "hz", "pa"].includes(unit)) {
    const [scale, prefix] = PREFIXES.find(([size]) => top >= size) || [1, ""];
    return [scale, prefix + symbol];
  }
  return [1, unit === "s" ? "s" : symbol];
}

// Of a chart that spans less than a thousandth of its values: rounding would be drawn as steps as high as the chart.
const LEAST_SPAN = 1e-3;
function heightOf(values) {
  const known = values.filter((value) => value !== null);
  const [low, high] = known.reduce(([least, most], value) => [Math.min(least, value), Math.max(most, value)], [Infinity, -Infinity]);
  const half = (LEAST_SPAN / 2) * Math.max(Math.abs(low), Math.abs(high));
  if (!known.length || high - low >= 2 * half) return { autorange: true };
  return { autorange: false, range: [(low + high) / 2 - half, (low + high) / 2 + half] };
}

// Ticks of a time axis in the reader's language: the time, and under it the date where it changes; dates alone from a day on.
function ticks() {
  const [day, month] = languageNow() === "zh" ? ["%-m月%-d日", "%Y年%-m月"] : ["%-d %b", "%b %Y"];
  const stop = (from, to, value) => ({ dtickrange: [from, to], value });
  const clock = [stop(null, 60000, `%H:%M:%S\n${day}`), stop(60000, 86400000, `%H:%M\n${day}`)];
  return [...clock, stop(86400000, "M1", `${day}\n%Y`), stop("M1", null, month)];
}

const clear = (colour, share) => (colour.startsWith("#") ? colour + Math.round(share * 255).toString(16).padStart(2, "0") : colour);

// Steps in which nothing was read are left out, so that values farther apart than a step are joined; a gap of more than three
// times their usual distance stays a gap.
function joined(x, y) {
  const at = y.flatMap((value, i) => (value === null ? [] : [i]));
  const gaps = at.slice(1).map((i, k) => x[i] - x[at[k]]).sort((a, b) => a - b);
  const most = 3 * (gaps[Math.floor(gaps.length / 2)] || 0);
  const [xs, ys] = [[], []];
  at.forEach((i, k) => {
    if (k && x[i] - x[at[k - 1]] > most) { xs.push((x[i] + x[at[k - 1]]) / 2); ys.push(null); }
    xs.push(x[i]);
    ys.push(y[i]);
  });
  return [xs, ys];
}

// lines: [{name, x: seconds, y, colour?, dash?, fill? ("next": band up to the line before), quiet?}]
export class Chart {
  constructor(box, title, unit, onZoom) {
    this.box = box;
    Object.assign(this, { title, unit, onZoom, lines: [], notes: [], range: null });
    onRedraw(() => this.draw());
  }
  set(lines, range, notes) {
    Object.assign(this, { lines, range, notes });
    this.draw();
  }
  draw() {
    if (!this.range || !this.box.isConnected) return;
    const colour = colours();
    const [scale, symbol] = scaleOf(this.lines.flatMap((line) => line.y), this.unit);
    const traces = this.lines.map((line, i) => {
      const own = line.colour ? colour(line.colour) : palette(i);
      const [x, y] = joined(line.x, line.y);
      const few = y.length < 3 && !line.quiet;
      return {
        type: "scatter", mode: few ? "markers" : "lines", name: line.name, x: x.map(wall), y: y.map((value) => (value === null ? null : value / scale)),
        marker: { color: own },
        connectgaps: false, hoverinfo: line.quiet ? "skip" : "x+y+name", showlegend: !line.unnamed,
        line: { color: own, width: line.quiet ? 0 : 1.8, dash: line.dash || "solid" },
        ...(line.fill ? { fill: "tonexty", fillcolor: clear(own, 0.18) } : {}),
      };
    });
    const shapes = this.notes.map((note) => this.shape(note, colour));
    const labels = this.notes.map((note) => ({
      x: wall(Math.max(Date.parse(note.start) / 1000, this.range[0])), y: 1, yref: "paper", xanchor: "left", yanchor: "top", showarrow: false,
      text: note.text.slice(0, 40).replace(/</g, "‹"), font: { color: colour("warn"), size: 11 },
    }));
    const axis = { gridcolor: colour("line"), linecolor: colour("line"), zeroline: false, tickfont: { color: colour("ink-quiet") } };
    Plotly.react(this.box, traces, {
      title: { text: metricName(this.title), x: 0.01, xanchor: "left", font: { size: 14, color: colour("ink") } },
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", margin: { l: 62, r: 12, t: 34, b: 44 }, hovermode: "x unified",
      hoverlabel: { bgcolor: colour("raised"), font: { color: colour("ink") } }, font: { color: colour("ink") },
      xaxis: { ...axis, type: "date", range: this.range.map(wall), tickformatstops: ticks(), hoverformat: "%Y-%m-%d %H:%M:%S" }, yaxis: { ...axis, ...heightOf(traces.flatMap((trace) => trace.y)), title: { text: symbol, font: { color: colour("ink-quiet") } } },
      legend: { orientation: "h", x: 1, xanchor: "right", y: 1.01, yanchor: "bottom", font: { color: colour("ink-quiet") } }, shapes, annotations: labels, dragmode: "zoom",
    }, { displaylogo: false, responsive: true, displayModeBar: false });
    this.none();
    if (!this.listening) {
      this.listening = true;
      this.box.on("plotly_relayout", (change) => {
        const [from, to] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
        if (from && to) this.onZoom([instant(from), instant(to)]);
        else if (change["xaxis.autorange"]) this.onZoom(null);
      });
    }
  }
  shape(note, colour) {
    const [from, to] = [Date.parse(note.start) / 1000, Date.parse(note.end || note.start) / 1000];
    const own = colour(note.sort === "incident" ? "bad" : note.sort === "maintenance" ? "info" : "warn");
    return { type: note.end ? "rect" : "line", xref: "x", yref: "paper", x0: wall(from), x1: wall(to), y0: 0, y1: 1, line: { color: own, width: 1.5, dash: "dot" }, fillcolor: clear(own, 0.12), layer: "below" };
  }
  none() {
    this.box.querySelector(".none")?.remove();
    if (!this.lines.some((line) => line.y.some((value) => value !== null))) this.box.append(make("div", say("nothing was read in this span"), { className: "none" }));
  }
}

export const chartBoxes = (host, names) => {
  host.replaceChildren(...names.slice(0, MAX_CHARTS).map((name) => make("div", null, { className: "chart", role: "img", ariaLabel: metricName(name), data: { chart: name } })));
  return [...host.children];
};

// --- notes --------------------------------------------------------------------------------------------------------------

// Lists the notes and takes new ones; asset "": on the whole site.
export class Notes {
  constructor(asset, span, onChange) {
    Object.assign(this, { asset, span, onChange, list: [] });
    const form = document.getElementById("annotate");
    this.form = form;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const value = (name) => form.elements[name].value;
      const end = value("end") ? iso(instant(value("end"))) : null;
      try {
        await send("POST", "/api/v1/annotations", { asset: this.asset(), sort: value("sort"), start: iso(instant(value("start"))), end, text: value("text") });
        form.elements.text.value = "";
        told("");
        await this.read();
        this.onChange();
      } catch (error) { told(error); }
    });
  }
  async read() {
    const [from, to] = this.span.range;
    this.list = await ask("/api/v1/annotations", { asset: this.asset() || undefined, start: iso(from), end: iso(to) });
    if (!this.form.elements.start.value) this.form.elements.start.value = wall(to).replace(" ", "T");
    this.show();
  }
  show() {
    const entries = this.list.map((note) => {
      const when = `${stamp(Date.parse(note.start) / 1000)}${note.end ? ` – ${stamp(Date.parse(note.end) / 1000)}` : ""}`;
      const parts = [make("span", when, { className: "quiet" }), make("span", say(note.sort), { className: "kind" }), make("span", note.text, { className: "text" }), make("span", `${note.by} ${note.asset}`, { className: "quiet" })];
      if (note.own) parts.push(make("button", say("remove"), { type: "button", onclick: () => this.remove(note.id) }));
      return make("div", null, { className: "entry", children: parts });
    });
    document.getElementById("annotations").replaceChildren(...(entries.length ? entries : [make("p", say("nothing yet"), { className: "quiet" })]));
  }
  async remove(id) {
    try {
      await send("DELETE", `/api/v1/annotations/${id}`);
      await this.read();
      this.onChange();
    } catch (error) { told(error); }
  }
}

// What a few letters find, for a <datalist>.
export function suggests(input, list, only) {
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    const text = input.value.split(",").pop().trim();
    if (!text) return;
    timer = setTimeout(async () => {
      try {
        const found = await ask("/api/v1/search", { q: text, limit: 20 });
        list.replaceChildren(...found.filter(only).map((one) => make("option", one.says, { value: one.name })));
      } catch (error) { told(error); }
    }, 200);
  });
}
