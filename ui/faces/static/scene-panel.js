// What stands around the picture: legend, search, the card of the picked asset, the hint under the pointer, the last hour's trend.
import { cssAt } from "./scene-colours.js";
import { GPU, HALL, HIDDEN, NO_METRIC, SILENT, TOP, valueOf } from "./scene-data.js";
import { formatNumber, formatTime, say } from "./shell.js";

const by = (id) => document.getElementById(id);
const FOUND = 12, TREND_S = 3600, KEPT_MS = 30000;
const make = (name, className, text = "") => Object.assign(document.createElement(name), { className, textContent: text });
const number = (value, unit) => {
  const { n, u } = formatNumber(value, unit);
  return u && u !== "%" ? `${n}\u202f${u}` : `${n}${u}`;
};
// A metric or a kind as people say it: the table of labels that the page brings, else its own name.
export const named = (name) => say((window.icctwinLabels || {})[name] || name);

// Whose values are shown, as people say it.
const ORIGINS = { best: "measured or modelled", residual: "measured less modelled" };
export const originName = (name) => say(ORIGINS[name] || name);

// --- legend

let largest = { width: 0, height: 0 }; // of the legend, over all levels of detail

// The lines of one level's kinds, after all others have been measured: how near the view stands decides which level it is, so
// the room that it leaves must not depend on that.
export function legend(head, table, levels, level) {
  const holder = by("scene-legend"), sizes = [];
  for (const kinds of [...levels, levels[level]]) {
    holder.replaceChildren(...linesOf(head, table, kinds));
    sizes.push(holder.getBoundingClientRect());
  }
  largest = { width: Math.max(...sizes.map(({ width }) => width)), height: Math.max(...sizes.map(({ height }) => height)) };
}

function linesOf(head, table, shown) {
  const rows = [];
  if (head.colour === "alerts") {
    for (const [byte, text] of [[0, "no alert"], [84, "info"], [167, "warning"], [TOP, "critical"]]) rows.push(swatch(table, byte, say(text)));
  } else {
    const ramp = make("span", "ramp");
    ramp.style.background = `linear-gradient(to right, ${Array.from({ length: 26 }, (_, i) => cssAt(table, i * 10)).join(",")})`;
    const groups = new Map(); // kinds that share a scale share a line
    for (const kind of shown) if (head.scales[kind]) {
      const key = head.scales[kind].join();
      groups.set(key, [...(groups.get(key) || []), kind]);
    }
    for (const [key, kinds] of [...groups].slice(0, 5)) {
      const [low, high] = key.split(",").map(Number);
      const line = make("div", "scale");
      line.append(make("span", "kinds", kinds.map(named).join(", ")), make("span", "low", number(low, head.unit)), ramp.cloneNode(), make("span", "high", `${number(high, head.unit)}`));
      line.title = say("Values beyond an end have the end's colour");
      rows.push(line);
    }
    if (!rows.length) rows.push(make("div", "none", say("Nothing shown here has this metric")));
  }
  rows.push(swatch(table, SILENT, say("silent or never read")));
  const [low, high] = head.water_c;
  const water = make("div", "scale water");
  const ramp = make("span", "ramp water");
  water.append(make("span", "kinds", say("pipes")), make("span", "low", number(low, "c")), ramp, make("span", "high", number(high, "c")));
  ramp.style.background = `linear-gradient(to right, ${waterStops().join(",")})`;
  return [make("div", "title", `${named(head.colour)} · ${originName(head.origin)}${head.lead_h ? ` +${head.lead_h} h` : ""}`), ...rows, water];
}

let waterTable = null;
export const setWater = (table) => (waterTable = table);
const waterStops = () => (waterTable ? Array.from({ length: 26 }, (_, i) => cssAt(waterTable, i * 10)) : ["#888"]);

function swatch(table, byte, text) {
  const line = make("div", "swatch");
  const box = make("i", "");
  box.style.background = cssAt(table, byte);
  line.append(box, make("span", "", text));
  return line;
}

// --- search

export function search(scene, chosen) {
  const input = by("scene-search"), list = by("scene-found");
  input.placeholder = say("Search an asset");
  let hits = [], at = 0;
  const show = () => {
    const text = input.value.trim().toLowerCase();
    const starts = [], inside = [];
    for (let i = 0; text && i < scene.n && starts.length < FOUND; i++) {
      const place = scene.level[i] === HIDDEN ? -1 : scene.id[i].toLowerCase().indexOf(text);
      if (place === 0) starts.push(i);
      else if (place > 0 && inside.length < FOUND) inside.push(i);
    }
    hits = [...starts, ...inside].slice(0, FOUND);
    at = 0;
    list.replaceChildren(...hits.map((box, k) => {
      const line = make("li", "", `${scene.id[box]} `);
      line.append(make("small", "", named(scene.kindOf(box))));
      Object.assign(line, { role: "option", id: `scene-hit-${k}` });
      line.addEventListener("pointerdown", (event) => (event.preventDefault(), take(k)));
      return line;
    }));
    if (text && !hits.length) list.append(make("li", "none", say("No asset of this name")));
    mark();
  };
  const mark = () => {
    [...list.children].forEach((line, k) => line.setAttribute("aria-selected", String(k === at)));
    input.setAttribute("aria-expanded", String(Boolean(list.children.length)));
    if (hits.length) input.setAttribute("aria-activedescendant", `scene-hit-${at}`);
    else input.removeAttribute("aria-activedescendant");
  };
  const take = (k) => {
    if (hits[k] === undefined) return;
    input.value = scene.id[hits[k]];
    const box = hits[k];
    list.replaceChildren();
    hits = [];
    mark();
    chosen(box);
  };
  input.addEventListener("input", show);
  input.addEventListener("blur", () => setTimeout(() => list.replaceChildren(), 100));
  input.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      event.preventDefault();
      at = Math.max(0, Math.min(hits.length - 1, at + (event.key === "ArrowDown" ? 1 : -1)));
      mark();
    } else if (event.key === "Enter") take(at);
    else if (event.key === "Escape") (input.value = ""), show();
    event.stopPropagation();
  });
}

// --- the trend of the last hour

const kept = new Map(); // asset and metric -> {at, points}
async function trendOf(kind, metric, asset) {
  const key = `${asset} ${metric}`, known = kept.get(key);
  if (known && performance.now() - known.at < KEPT_MS) return known.points;
  const asked = new URLSearchParams({ kind, metric, asset, step_s: 60 });
  const answer = await fetch(`/api/v1/series?${asked}`);
  if (!answer.ok) return null;
  const body = await answer.json();
  const points = (body.metrics[metric] || [[]])[0] || [];
  kept.set(key, { at: performance.now(), points });
  if (kept.size > 200) kept.delete(kept.keys().next().value);
  return points;
}

function sparkline(points) {
  const known = points.filter((v) => v !== null);
  if (known.length < 2) return null;
  const [low, high] = [Math.min(...known), Math.max(...known)], span = high - low || 1;
  let d = "", pen = "M";
  points.forEach((v, i) => {
    if (v === null) return void (pen = "M");
    d += `${pen}${((i / (points.length - 1)) * 120).toFixed(1)} ${(28 - ((v - low) / span) * 26).toFixed(1)}`;
    pen = "L";
  });
  const made = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  made.setAttribute("viewBox", "0 0 120 30");
  made.setAttribute("class", "spark");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", d);
  made.append(path);
  return { svg: made, low, high, last: known[known.length - 1] };
}

// Number and trend of what a box is coloured by, put into holder when they are there.
async function trend(holder, scene, box, head) {
  const kind = scene.kindOf(box), metric = head.colour;
  if (metric === "alerts" || scene.level[box] === HALL) return;
  const points = await trendOf(kind, metric, scene.id[box]).catch(() => null);
  if (holder.dataset.box !== String(box)) return; // the pointer has moved on
  const drawn = points && sparkline(points);
  if (drawn) holder.append(drawn.svg, make("small", "", `${say("last hour")}: ${number(drawn.low, head.unit)} – ${number(drawn.high, head.unit)}`));
  else holder.append(make("small", "", say("no trend of the last hour")));
}

// A rack that a scenario adds has a number after those of the site, and its byte apart.
const added = (scene, box) => box >= scene.n;
const nameOf = (scene, box) => (added(scene, box) ? scene.added.ids[box - scene.n] : scene.id[box]);
const kindName = (scene, box) => (added(scene, box) ? say("rack that the scenario adds") : named(scene.kindOf(box)));

function reads(scene, box, bytes, head) {
  const more = added(scene, box), kind = more ? "rack" : scene.kindOf(box), byte = more ? bytes.added[box - scene.n] : bytes.tint[box];
  if (more && head.against) return "";
  if (head.colour === "alerts") {
    const firing = bytes.pulses.find(([one]) => one === box);
    return firing ? say(["", "info", "warning", "critical"][firing[1]]) : "";
  }
  if (byte === NO_METRIC) return say("has no such metric");
  const value = valueOf(byte, head.scales[kind]);
  if (value === null) return say("silent or never read");
  return `${byte === 0 ? "≤ " : byte === TOP ? "≥ " : "≈ "}${number(value, head.unit)}`;
}

export function hint(scene, box, bytes, head, event) {
  const holder = by("scene-hint");
  holder.hidden = box < 0 || !head;
  if (holder.hidden) return void (holder.dataset.box = holder.dataset.key = "");
  const stage = holder.parentElement.getBoundingClientRect();
  holder.style.left = `${Math.min(event.clientX - stage.left + 14, stage.width - 190)}px`;
  holder.style.top = `${Math.min(event.clientY - stage.top + 14, stage.height - 110)}px`;
  const key = `${box} ${head.colour} ${head.run}`;
  if (holder.dataset.key === key) return;
  Object.assign(holder.dataset, { box, key });
  holder.replaceChildren(make("b", "", nameOf(scene, box)), make("span", "", [kindName(scene, box), reads(scene, box, bytes, head)].filter(Boolean).join(" · ")));
  if (!added(scene, box) && !head.run) trend(holder, scene, box, head);
}

export function card(scene, box, bytes, head, paths) {
  const holder = by("scene-card");
  holder.hidden = box === null;
  if (box === null) return;
  holder.dataset.box = box;
  const title = make("div", "title");
  title.append(make("b", "", nameOf(scene, box)), make("small", "", kindName(scene, box)));
  const value = make("div", "value", head ? `${named(head.colour)}: ${reads(scene, box, bytes, head)}` : "");
  const away = Object.assign(make("button", "away", "×"), { type: "button", ariaLabel: say("Let go of the picked asset"), id: "scene-away" });
  if (added(scene, box)) return void holder.replaceChildren(away, title, value);
  const link = Object.assign(make("a", "", say("Open its page")), { href: `/asset/${encodeURIComponent(scene.id[box])}`, target: window.top === window ? "" : "_top" });
  const ways = make("div", "ways");
  const names = (which) => {
    const found = [...which].filter((i) => i !== box && (scene.level[i] < GPU || scene.level[i] === HIDDEN)).map((i) => scene.id[i]);
    return found.slice(0, 12).join(" · ") + (found.length > 12 ? ` ${say("+{n} more", { n: found.length - 12 })}` : "");
  };
  if (paths.power.size) ways.append(make("div", "power", `${say("Power path")}: ${names(paths.power)}`));
  if (paths.water.size) ways.append(make("div", "water", `${say("Cooling path")}: ${names(paths.water)}`));
  holder.replaceChildren(away, title, value, ways, link);
  if (head) trend(holder, scene, box, head);
}

export function cardValue(scene, box, bytes, head) {
  const value = by("scene-card").querySelector(".value");
  const said = `${named(head.colour)}: ${reads(scene, box, bytes, head)}`;
  if (value && value.textContent !== said) value.textContent = said;
}

// What lies over the picture: {side, end, width, height} of each panel, the edges that it stands at.
export function panels() {
  return [["scene-legend", "left", "bottom"], ["scene-card", "right", "top"]].flatMap(([id, side, end]) => {
    const box = by(id).getBoundingClientRect(), { width, height } = side === "left" ? largest : box;
    return box.width ? [{ side, end, width: width + 12, height: height + 12 }] : [];
  });
}

// Shares of the plan's width that panels cover at its left and at its right.
export function room() {
  const wide = by("scene-plan").clientWidth || 1, at = { left: 0, right: 0 };
  for (const { side, width } of panels()) at[side] = Math.min(width / wide, 0.4);
  return [at.left, at.right];
}

export const timeText = (t) => formatTime(t, "full");
export { by, make };
