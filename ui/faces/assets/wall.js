// Fills the wall's page from the push at /live (ui/faces/push.py says what comes) and turns it grey when no push comes.
// Texts are set as text, never as HTML. Drawings are in wall_draw.js.
(() => {
  "use strict";
  const LOST_AFTER_MS = 4000; // the server speaks every second; four times that is silence
  const RETRY_MS = [500, 1000, 2000, 4000, 8000];
  const FULL = 1013;

  const table = {}; // the newest table of the push, by key
  let words = {};
  let plan = null;
  let release = null;
  let language = chooseLanguage();
  let mapOf = "temp";
  let socket = null;
  let heardAt = null; // performance.now() of the last push
  let retries = 0;
  let refusal = "";

  function chooseLanguage() {
    const asked = new URLSearchParams(location.search).get("lang") || localStorage.getItem("icctwin-language");
    return asked || (navigator.language.startsWith("zh") ? "zh" : "en");
  }

  const say = (text, values = {}) =>
    Object.entries(values).reduce((said, [key, value]) => said.replace(`{${key}}`, value), words[text] || text);

  function part(name, text) {
    const made = document.createElement("span");
    made.className = name;
    made.textContent = text;
    return made;
  }

  function showNumber(element, cell) {
    const classes = ["number", cell.f];
    for (const key of ["o", "q", "s"]) if (cell[key]) classes.push(cell[key]);
    element.dataset.flags = classes.slice(1).join(" ");
    element.replaceChildren(part("v", cell.n));
    if (cell.u) element.append(part("u", cell.u));
    if (cell.a) element.append(part("age", cell.a));
    element.title = cell.a || "";
  }

  function showRows(element, rows) {
    element.replaceChildren(
      ...rows.map((row) => {
        const made = document.createElement("div");
        made.className = `row ${row.k}`;
        for (const cell of row.c) {
          if (typeof cell === "string") {
            const text = part("cell", cell);
            text.title = cell;
            made.append(text);
          } else {
            const number = part("cell number", "");
            showNumber(number, cell);
            made.append(number);
          }
        }
        return made;
      }),
    );
    element.parentElement.classList.toggle("is-empty", rows.length === 0);
  }

  // Half a row is worse than none: rows that do not fit are left out, the most important stand first.
  function trim(element) {
    const list = element.parentElement;
    const cut = getComputedStyle(list).overflow === "hidden"; // on a phone the page scrolls and all rows fit
    for (const row of element.children) row.hidden = false;
    const end = list.getBoundingClientRect().bottom + 1;
    for (const row of element.children) row.hidden = cut && row.getBoundingClientRect().bottom > end;
    const name = element.dataset.l;
    const left = [...element.children].filter((row) => row.hidden).length + (table[`m.${name}`] || 0);
    all(`[data-m="${name}"]`).forEach((more) => (more.textContent = left ? say("+{n} more", { n: left }) : ""));
  }

  const all = (selector) => document.querySelectorAll(selector);
  const draw = () => window.icctwinDraw;

  function show(changes) {
    for (const [key, value] of Object.entries(changes)) {
      table[key] = value;
      const name = key.slice(2);
      if (key.startsWith("n.")) all(`[data-n="${name}"]`).forEach((element) => showNumber(element, value));
      else if (key.startsWith("t.")) all(`[data-x="${name}"]`).forEach((element) => (element.textContent = value));
      else if (key.startsWith("l.")) all(`[data-l="${name}"]`).forEach((element) => showRows(element, value));
    }
    if (Object.keys(changes).some((key) => /^[lm]\./.test(key))) all(".list > .rows").forEach(trim);
    if ("map" in changes || "l.machines" in changes) draw().hall(plan, table.map, mapOf, say);
    if ("flow" in changes) draw().flow(table.flow, say);
    if ("t.complaints" in changes) all('[data-l="health"]').forEach((element) => (element.title = table["t.complaints"]));
  }

  function redraw() {
    all(".list > .rows").forEach(trim);
    if (!plan || !table.map) return;
    draw().hall(plan, table.map, mapOf, say);
    draw().flow(table.flow, say);
  }

  function greet(body) {
    if (release !== null && release !== body.release) location.reload(); // another icctwin answers: its page may differ
    release = body.release;
    words = body.words;
    plan = body.plan;
    document.documentElement.lang = language === "zh" ? "zh-CN" : language;
    all("[data-t]").forEach((element) => (element.textContent = say(element.dataset.t)));
    all("[data-lang]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.lang === language)));
    window.dash_clientside.set_props("language", { data: language });
  }

  function hear(event) {
    const message = JSON.parse(event.data);
    heardAt = performance.now();
    retries = 0;
    refusal = "";
    if (message.is === "hello") greet(message.body);
    else show(message.body);
    judgeSilence();
  }

  function connect() {
    const scheme = location.protocol === "https:" ? "wss" : "ws";
    const mine = new WebSocket(`${scheme}://${location.host}/live?lang=${encodeURIComponent(language)}`);
    socket = mine;
    mine.onmessage = (event) => mine === socket && hear(event);
    mine.onclose = (event) => {
      if (mine !== socket) return; // replaced on purpose
      if (event.code === FULL) refusal = event.reason;
      const wait = event.code === FULL ? 30000 : RETRY_MS[Math.min(retries++, RETRY_MS.length - 1)];
      setTimeout(() => mine === socket && connect(), wait);
    };
  }

  // The page's own clock: what it shows is current only while somebody keeps telling it so.
  function judgeSilence() {
    const wall = document.getElementById("wall");
    const banner = wall.querySelector("[data-lost]");
    const silentMs = heardAt === null ? 0 : performance.now() - heardAt;
    const lost = heardAt !== null && silentMs > LOST_AFTER_MS;
    wall.classList.toggle("waiting", heardAt === null);
    wall.classList.toggle("lost", lost);
    if (lost) banner.textContent = say("Connection lost: numbers are {n} s old", { n: Math.round(silentMs / 1000) });
    else banner.textContent = heardAt === null ? (refusal ? refusal : say("Connecting …")) : "";
  }

  function speak(code) {
    if (code === language) return;
    language = code;
    localStorage.setItem("icctwin-language", code);
    const url = new URL(location.href);
    url.searchParams.set("lang", code);
    history.replaceState(null, "", url);
    const old = socket;
    connect();
    old.close();
  }

  function listen(wall) {
    wall.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.lang) speak(button.dataset.lang);
      if (button.dataset.map) {
        mapOf = button.dataset.map;
        markMap();
        redraw();
      }
    });
    new ResizeObserver(redraw).observe(wall);
  }

  const markMap = () =>
    all("[data-map]").forEach((button) => button.setAttribute("aria-pressed", String(button.dataset.map === mapOf)));

  // Dash builds the page after this script has run.
  function start() {
    const wall = document.getElementById("wall");
    if (!wall) return void requestAnimationFrame(start);
    listen(wall);
    markMap();
    connect();
    setInterval(judgeSilence, 500);
  }
  start();
})();
