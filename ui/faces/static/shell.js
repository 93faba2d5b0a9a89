// What every page has: words, numbers, times, theme, language, time zone, and the push at /live (ui/faces/push.py says what comes).
// Texts are set as text, never as HTML. When no push comes the page turns grey by itself: silence is not health.
const LOST_AFTER_MS = 4000; // the server speaks every second; four times that is silence
const RETRY_MS = [500, 1000, 2000, 4000, 8000];
const FULL = 1013;
const root = document.documentElement;
const plain = document.body.classList.contains("plain"); // made whole by the server: of the push it shows the bar alone
const all = (selector, within = document) => within.querySelectorAll(selector);
const embedded = (id) => JSON.parse(document.getElementById(id)?.textContent || "{}");

let words = embedded("words");
let symbols = embedded("symbols");
let language = root.dataset.language || "en";
let siteZone = "UTC";

export const store = {
  get(key) { try { return localStorage.getItem(`icctwin-${key}`); } catch { return null; } },
  set(key, value) { try { localStorage.setItem(`icctwin-${key}`, value); } catch { /* a browser that keeps nothing */ } },
};
export const languageNow = () => language;

// --- words, numbers, times ------------------------------------------------------------------------------------------------

// text in the language of the page, with its {places} filled.
export const say = (text, values = {}) =>
  Object.entries(values).reduce((said, [key, value]) => said.replace(`{${key}}`, value), words[text] || text);

const locale = () => (language === "zh" ? "zh-CN" : "en-GB");
const decimal = (value, digits) =>
  new Intl.NumberFormat(locale(), { minimumFractionDigits: digits, maximumFractionDigits: digits }).format(value + 0).replace("-", "−");
const digitsOf = (value) => (Math.abs(value) < 9.995 ? 2 : Math.abs(value) < 99.95 ? 1 : 0);
const PREFIXED = ["w", "j", "bps", "bytes", "hz", "pa"];
const PREFIXES = [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]];
const DIGITS = { count: 0, code: 0, flag: 0, ratio: 3, c: 1, k: 1, tco2_per_h: 2 };

// {n, u} of value in unit (a suffix as in twin/metrics.py): the same text as ui/words.py gives.
// like: a value whose prefix is taken, so that the numbers of one axis share a unit.
export function formatNumber(value, unit, like = value) {
  if (value === null || value === undefined || !Number.isFinite(value)) return { n: "–", u: "" };
  if (unit === "frac") return { n: decimal(value * 100, Math.abs(value) < 0.1 ? 1 : 0), u: "%" };
  if (unit === "s") return span(value, like);
  if (PREFIXED.includes(unit)) {
    const [scale, prefix] = PREFIXES.find(([size]) => Math.abs(like) >= size * 0.9995) || [1, ""];
    return { n: decimal(value / scale, scale === 1 ? 0 : digitsOf(like / scale)), u: prefix + symbols[unit] };
  }
  return { n: decimal(value, DIGITS[unit] ?? digitsOf(value)), u: symbols[unit] || "" };
}

function span(seconds, like) {
  if (like !== 0 && Math.abs(like) < 0.9995) return { n: decimal(seconds * 1e3, 0), u: "ms" };
  for (const [scale, unit] of [[86400, "d"], [3600, "h"], [60, "min"]]) {
    if (Math.abs(like) >= scale) return { n: decimal(seconds / scale, like / scale >= 10 ? 0 : 1), u: say(unit) };
  }
  return { n: decimal(seconds, Math.abs(like) >= 10 ? 0 : 1), u: say("s") };
}

const zoneNow = () => {
  const kept = store.get("zone") || "site";
  return kept === "site" ? siteZone : kept === "browser" ? Intl.DateTimeFormat().resolvedOptions().timeZone : kept;
};
const STYLES = {
  time: { hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  second: { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
  day: { weekday: "short", day: "numeric", month: "short" },
  stamp: { month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
  full: { year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" },
};
const formats = new Map();

// A time (seconds since 1970) in the reader's zone and language; style: time, second, day, stamp or full.
export function formatTime(t, style = "time") {
  if (t === null || t === undefined || !Number.isFinite(t)) return "–";
  const key = `${language} ${zoneNow()} ${style}`;
  if (!formats.has(key)) formats.set(key, new Intl.DateTimeFormat(locale(), { ...STYLES[style], timeZone: zoneNow() }));
  return formats.get(key).format(new Date(t * 1000));
}

// --- filling a page -------------------------------------------------------------------------------------------------------

function part(name, text) {
  const made = document.createElement("span");
  made.className = name;
  made.textContent = text;
  return made;
}

export function showNumber(element, cell) {
  const flags = [cell.f];
  for (const key of ["o", "q", "s"]) if (cell[key]) flags.push(cell[key]);
  element.dataset.flags = flags.join(" ");
  element.replaceChildren(part("v", cell.n));
  if (cell.u) element.append(part("u", cell.u));
  if (cell.a) element.append(part("age", cell.a));
  element.title = cell.a || "";
}

// A cell of a row: a text, a number {n,u,f…}, a time {t,as}, a link {x,h}, a bar {bar,n…}.
function showCell(cell) {
  if (typeof cell === "string") {
    const made = part("cell", cell);
    made.title = cell;
    return made;
  }
  if ("t" in cell) {
    const made = part("cell when", formatTime(cell.t, cell.as));
    made.dataset.time = cell.t;
    made.dataset.as = cell.as || "time";
    return made;
  }
  if ("b" in cell) {
    const made = part("cell", "");
    const button = Object.assign(document.createElement("button"), { type: "button", className: "deed", textContent: cell.b });
    Object.assign(button.dataset, { do: cell.do, id: cell.id });
    button.setAttribute("aria-label", `${cell.b} ${cell.id}`);
    made.append(button);
    return made;
  }
  if ("h" in cell) {
    const made = part("cell", "");
    const link = Object.assign(document.createElement("a"), { href: cell.h, textContent: cell.x, title: cell.w || "" });
    made.append(link);
    return made;
  }
  const made = part("cell number", "");
  showNumber(made, cell);
  if ("bar" in cell) {
    made.classList.add("barred");
    made.style.setProperty("--share", `${Math.min(Math.max(cell.bar, 0), 1) * 100}%`);
  }
  return made;
}

function showRows(element, rows) {
  element.replaceChildren(
    ...rows.map((row) => {
      const made = document.createElement("div");
      made.className = `row ${row.k}`;
      if (row.id) made.dataset.id = row.id;
      made.append(...row.c.map(showCell));
      if (element.closest("[role=table]")) {
        made.setAttribute("role", "row");
        for (const cell of made.children) cell.setAttribute("role", "cell");
      }
      return made;
    }),
  );
  const list = element.closest(".list");
  list?.classList.remove("is-unheard");
  list?.classList.toggle("is-empty", rows.length === 0);
}

function showSource(element, source) {
  element.dataset.flags = source.f;
  element.textContent = source.x;
}

// Half a row is worse than none: rows that do not fit are left out, the most important stand first.
function trim(element, table) {
  const list = element.closest(".list");
  if (!list) return;
  const cut = getComputedStyle(list).overflowY === "hidden"; // where the page scrolls all rows fit
  for (const row of element.children) row.hidden = false;
  const end = list.getBoundingClientRect().bottom + 1;
  const left = cut ? [...element.children].filter((row) => row.getBoundingClientRect().bottom > end) : [];
  for (const row of left) row.hidden = true;
  const name = element.dataset.l;
  const count = left.filter((row) => !row.classList.contains("detail")).length + (table[`m.${name}`] || 0);
  all(`[data-m="${name}"]`).forEach((more) => (more.textContent = count ? say("+{n} more", { n: count }) : ""));
}

// Put what table says into the places under within: n. numbers, t. texts, l. lists, p. origin and age of a panel.
export function fill(within, table, whole = table) {
  for (const [key, value] of Object.entries(table)) {
    const name = key.slice(2);
    if (key.startsWith("n.")) all(`[data-n="${name}"]`, within).forEach((element) => showNumber(element, value));
    else if (key.startsWith("t.")) all(`[data-x="${name}"]`, within).forEach((element) => (element.textContent = value));
    else if (key.startsWith("p.")) all(`[data-p="${name}"]`, within).forEach((element) => showSource(element, value));
    else if (key.startsWith("l.")) all(`[data-l="${name}"]`, within).forEach((element) => showRows(element, value));
  }
  if (Object.keys(table).some((key) => /^[lm]\./.test(key))) all(".list .rows", within).forEach((element) => trim(element, whole));
}

// --- language, theme, zone ------------------------------------------------------------------------------------------------

const redraws = new Set();
// Call again when the words, the theme, the zone or the size change.
export function onRedraw(draw) {
  redraws.add(draw);
}
export function redraw() {
  all("[data-time]").forEach((element) => (element.textContent = formatTime(Number(element.dataset.time), element.dataset.as)));
  for (const draw of redraws) draw();
}

function sayAll() {
  root.lang = language === "zh" ? "zh-CN" : language;
  root.dataset.language = language;
  all("[data-t]").forEach((element) => (element.textContent = say(element.dataset.t)));
  all("[data-a]").forEach((element) => element.setAttribute("aria-label", say(element.dataset.a)));
  all("[data-lang]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.lang === language)));
  fillZones();
}

// What a person chose, told to whoever keeps it beside this browser.
function tellChoice(more = {}) {
  const detail = { language, theme: root.dataset.theme, zone: store.get("zone") || "site", ...more };
  document.dispatchEvent(new CustomEvent("icctwin-choice", { detail }));
}

// Take over what the person chose elsewhere; what the address asks for counts more.
export function choose({ language: code, theme, zone }) {
  const asked = new URLSearchParams(location.search);
  if (theme && !asked.has("theme") && theme !== root.dataset.theme) paint(theme);
  if (zone && zone !== (store.get("zone") || "site")) moveTo(zone);
  if (code && !asked.has("lang") && code !== language) speak(code);
}

function paint(theme) {
  root.dataset.theme = document.getElementById("theme").value = theme;
  store.set("theme", theme);
  redraw();
}

function moveTo(zone) {
  store.set("zone", zone);
  fillZones();
  showClock();
  redraw();
}

function speak(code) {
  if (code === language) return;
  store.set("language", code);
  document.cookie = `icctwin-language=${code}; path=/; max-age=31536000; samesite=strict`;
  const url = new URL(location.href);
  url.searchParams.set("lang", code);
  if (plain) return void location.assign(url);
  language = code;
  history.replaceState(null, "", url);
  feed?.again(); // a page that does not listen yet will in this language
}

function fillZones() {
  const select = document.getElementById("zone");
  const mine = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const kept = store.get("zone") || "site";
  const options = [["site", `${say("Site time")} (${siteZone})`], ["browser", `${say("Browser time")} (${mine})`], ["UTC", "UTC"]];
  if (!options.some(([value]) => value === kept)) options.push([kept, kept]);
  select.replaceChildren(...options.map(([value, name]) => new Option(name, value, false, value === kept)));
  select.dataset.full = "";
}

function allZones(select) {
  if (select.dataset.full || !Intl.supportedValuesOf) return;
  select.dataset.full = "yes";
  const there = new Set([...select.options].map((option) => option.value));
  for (const zone of Intl.supportedValuesOf("timeZone")) if (!there.has(zone)) select.append(new Option(zone, zone));
}

function choices() {
  const [theme, zone] = [document.getElementById("theme"), document.getElementById("zone")];
  theme.value = root.dataset.theme;
  theme.addEventListener("change", () => {
    paint(theme.value);
    tellChoice();
  });
  for (const event of ["focus", "pointerdown"]) zone.addEventListener(event, () => allZones(zone));
  zone.addEventListener("change", () => {
    moveTo(zone.value);
    tellChoice();
  });
  document.getElementById("bar").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-lang]");
    if (!button) return;
    tellChoice({ language: button.dataset.lang }); // first, for a plain page is left
    speak(button.dataset.lang);
  });
  if (!new URLSearchParams(location.search).get("lang") && ["en", "zh"].includes(store.get("language")) && store.get("language") !== language)
    speak(store.get("language"));
  fillZones();
}

// --- the push -------------------------------------------------------------------------------------------------------------

let feed = null;
let clockAt = null; // the centre's time (s since 1970) of the last push

function showClock() {
  all("[data-clock]").forEach((element) => (element.textContent = clockAt === null ? "" : formatTime(clockAt, "second")));
  all("[data-day]").forEach((element) => (element.textContent = clockAt === null ? "" : formatTime(clockAt, "day")));
}

class Feed {
  constructor(name, onTable) {
    this.name = name;
    this.onTable = onTable;
    this.table = {};
    this.hello = null;
    this.heardAt = null; // performance.now() of the last push
    this.retries = 0;
    this.refusal = "";
    this.connect();
    setInterval(() => this.judgeSilence(), 500);
  }

  connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const asked = new URLSearchParams({ page: this.name, lang: language });
    const mine = new WebSocket(`${scheme}://${location.host}/live?${asked}`);
    this.socket = mine;
    mine.onmessage = (event) => mine === this.socket && this.hear(JSON.parse(event.data));
    mine.onclose = (event) => {
      if (mine !== this.socket) return; // replaced on purpose
      if (event.code === FULL) this.refusal = event.reason;
      const wait = event.code === FULL ? 30000 : RETRY_MS[Math.min(this.retries++, RETRY_MS.length - 1)];
      setTimeout(() => mine === this.socket && this.connect(), wait);
    };
  }

  again() {
    const old = this.socket;
    this.connect();
    old.close();
  }

  hear(message) {
    this.heardAt = performance.now();
    this.retries = 0;
    this.refusal = "";
    if (message.is === "hello") this.greet(message.body);
    else this.show(message.body);
    this.judgeSilence();
  }

  greet(body) {
    if (this.hello && this.hello.release !== body.release && !plain) location.reload(); // another icctwin answers: its page may differ
    this.hello = body;
    words = { ...words, ...body.words };
    symbols = body.symbols;
    siteZone = body.zone;
    sayAll();
    redraw();
  }

  show(changes) {
    Object.assign(this.table, changes);
    if ("t.time_s" in changes) clockAt = changes["t.time_s"];
    showClock();
    fill(document, changes, this.table);
    const [notice, health] = [this.table["t.complaints"], document.querySelector('[data-l="health"]')];
    if ("t.complaints" in changes && health) health.title = notice;
    this.onTable(changes, this.table, this.hello);
    document.dispatchEvent(new CustomEvent("icctwin-push", { detail: this.table })); // for whoever measures how late a wall is
  }

  judgeSilence() {
    const banner = document.querySelector("[data-lost]");
    const silentMs = this.heardAt === null ? 0 : performance.now() - this.heardAt;
    const lost = this.heardAt !== null && silentMs > LOST_AFTER_MS;
    document.body.classList.toggle("waiting", this.heardAt === null);
    document.body.classList.toggle("lost", lost);
    const said = lost ? say("Connection lost: numbers are {n} s old", { n: Math.round(silentMs / 1000) })
      : this.heardAt === null ? this.refusal || say("Connecting …") : "";
    if (banner.textContent !== said) banner.textContent = said;
  }
}

// Listen to the push of the page called name: places are filled, and onTable(changes, table, hello) draws the rest.
export function live(name, onTable = () => {}) {
  feed = new Feed(name, onTable);
  new ResizeObserver(() => {
    all(".list .rows").forEach((element) => trim(element, feed.table));
    redraw();
  }).observe(document.getElementById("page"));
  return feed;
}

// Charts of plotly are as wide as the screen; on paper they are scaled to the page.
for (const [event, scaled] of [["beforeprint", true], ["afterprint", false]])
  addEventListener(event, () => all(".main-svg").forEach((drawing) => {
    const { width, height } = drawing.getBoundingClientRect();
    if (scaled) drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    else drawing.removeAttribute("viewBox");
  }));

choices();
if (plain) feed = new Feed("bar", () => {});
