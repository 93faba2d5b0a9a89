// The 3D twin's page: what is shown stands in the address, so that a link shows the same. 3D where there is WebGL, else the plan.
import { SceneSocket, applyFrame, blank, loadScene, rackOf, GPU, NODE, RACK } from "./scene-data.js";
import { lut } from "./scene-colours.js";
import { Frames } from "./scene-frames.js";
import { Paths } from "./scene-paths.js";
import { Plan } from "./scene-plan.js";
import { by, card, cardValue, hint, legend, named, originName, panels, room, search, setWater } from "./scene-panel.js";
import { saveFile, savePicture } from "./scene-save.js";
import { Timeline, WhatIf, stamp } from "./scene-time.js";
import { live, onRedraw, say } from "./shell.js";

const LOST_MS = 4000;
const SHOWN = [["hall"], ["rack", "cdu", "ups", "pdu", "transformer", "chiller", "tower", "pump"], ["node", "switch", "rack", "cdu"], ["gpu", "node", "rack"]];
const given = new URLSearchParams(location.search);
const json = (id) => JSON.parse(by(id)?.textContent || "{}");
window.icctwinLabels = json("scene-labels");

const page = {
  colour: given.get("colour") || "power_w", origin: given.get("origin") || "best", lead: Number(given.get("lead") || 1),
  view: given.get("view") || "site", minutes: 0, picked: null, mode: "off", run: null, runHead: null, frames: new Frames(),
  level: RACK, halls: [], head: null, heard: 0, table: lut("magnitude"), stats: { tickMs: [], ticks: 0, bytes: 0, openMs: 0 },
};
window.icctwinScene = page; // for whoever measures this page

// Everything that comes from the server is asked for at once; whatever is there first waits for the rest.
async function start() {
  const [coming, parts, choices] = [loadScene(), import("./scene-view.js").catch((error) => ({ error })), askColours()];
  page.socket = new SceneSocket((buffer) => (page.plan ? heard(buffer) : (page.early = buffer)), (state) => (page.state = state));
  page.socket.ask(params());
  try {
    page.scene = await coming;
  } catch {
    return notice(say("The scene cannot be loaded; load the page again in some seconds."));
  }
  page.paths = new Paths(page.scene);
  page.bytes = blank(page.scene);
  page.other = null;
  open3d(await parts);
  page.plan = new Plan(by("scene-plan"), page.scene, { pick: (box) => pick(box < 0 ? null : box), hover, room });
  page.time = new Timeline(moved);
  page.whatIf = new WhatIf(json("scene-cases"), setRun, notice);
  search(page.scene, (box) => {
    pick(box);
    page.view3d && page.view === "site" ? page.view3d.flyTo(box) : page.view === "rack" ? show("rack") : null;
  });
  controls();
  recolour();
  if (page.early) heard(page.early);
  if (given.get("sel") && page.scene.box.has(given.get("sel"))) pick(page.scene.box.get(given.get("sel")), true);
  if (!page.scene.counts.rack && !page.scene.n) notice(say("The site has nothing that can be drawn; name racks in its tables."));
  show(page.view);
  setInterval(judgeSilence, 500);
  fillColours(await choices);
  page.ready = true;
}

function open3d({ View, error }) {
  let why = "";
  try {
    if (error) throw error;
    page.view3d = new View(by("scene-canvas"), page.scene, {
      pick: (box) => pick(box < 0 ? null : box), hover, still: () => page.minutes !== 0 || page.state === "lost",
      most, detail: (level, halls) => Object.assign(page, { level, halls }) && again(), moved: saveSoon, panels,
    });
    page.bytes = page.view3d.worlds[0].bytes;
    const cam = (given.get("cam") || "").split(",").map(Number);
    if (given.get("cam") === "site") page.view3d.home("site", true);
    else if (cam.length === 6 && cam.every(Number.isFinite)) page.view3d.camera.place(cam);
  } catch (problem) {
    why = /three|import|module|fetch/i.test(String(problem)) && !/webgl|context/i.test(String(problem))
      ? say("The 3D parts are not built (make web); this is the plan.") : say("This browser has no WebGL; this is the plan.");
  }
  if (why) {
    page.view3d = null;
    by("scene").classList.add("flat");
    for (const button of document.querySelectorAll('[data-view="site"], #scene-walk')) button.disabled = true;
    if (page.view === "site") page.view = "plan";
    notice(why);
  }
}

// The finest level that the shown colour says anything of: nearer than that, nothing would be left to see.
function most() {
  if (page.run || page.minutes > 0 || page.origin === "forecast") return RACK; // runs of the twin say nothing of single chips
  if (!page.head || page.head.colour === "alerts") return GPU;
  return page.head.scales.gpu ? GPU : page.head.scales.node ? NODE : RACK;
}

// --- what is asked for

function params() {
  const rack = page.view === "rack" && page.picked !== null;
  const levels = page.view === "plan" ? RACK : rack ? GPU : page.level;
  const halls = rack ? [page.scene.hall[page.picked]] : page.halls;
  const asked = { colour: page.colour, origin: page.origin, lead_h: page.lead, levels };
  if (levels === GPU && halls.length && (rack || page.view3d?.some)) asked.halls = halls.join(",");
  return asked;
}

let asking = 0;
function again() {
  clearTimeout(asking);
  asking = setTimeout(askNow, 120);
}

function askNow() {
  if (!page.plan) return;
  const present = page.mode !== "difference" && (page.minutes === 0 || page.mode === "beside");
  if (present) page.socket.ask(params());
  else page.socket.rest();
  if (!present && !page.run) fetchFrame({ ...params(), ...moment() }, page.bytes, true);
  if (page.run && page.mode !== "off") askRun();
}

// The time that the slider stands at, as the server takes it. Its minutes count from when it left the present, so that a picture
// of the past stays that of one moment.
function moment(minutes = page.minutes) {
  const time = stamp(page.anchor + 60 * minutes);
  return minutes > 0 ? { time, origin: "forecast" } : { time };
}
const centreNow = () => Date.now() / 1000 + (page.serverTime ? page.serverTime - page.heardWall : 0); // by the centre's own clock

function askRun() {
  const start = Date.parse(page.run.start) / 1000, end = Date.parse(page.run.end) / 1000;
  const at = Math.min(start + 60 * Math.max(page.minutes, 0), end);
  const asked = { ...params(), origin: "best", run: page.run.run, time: stamp(at) };
  if (page.mode === "difference") asked.against = true;
  fetchFrame(asked, page.mode === "difference" ? page.bytes : other(), page.mode === "difference");
}

function other() {
  if (page.view3d?.worlds[1]) return page.view3d.worlds[1].bytes;
  return (page.other ||= blank(page.scene));
}

let number = 0;
async function fetchFrame(asked, into, main) {
  const mine = ++number;
  const { body, detail } = await page.frames.get(asked, asked.run || page.minutes < 0);
  if (mine !== number) return; // the slider has moved on
  if (!body) {
    into.tint.fill(255);
    into.pulses = [];
    if (page.head) drawn(page.head, main);
    return notice(detail === null ? say("The server does not answer") : detail);
  }
  notice("");
  const head = applyFrame(body, page.scene, into);
  if (main) page.head = head;
  else page.runHead = head;
  if (main && page.minutes) page.time.tell(head.time, head.folded_s);
  page.frameTime = head.time;
  drawn(head, main);
  if (main && page.minutes < 0 && !asked.run) for (const next of page.time.around()) page.frames.get({ ...params(), ...moment(next) }, true);
}

// --- what comes

function heard(buffer) {
  const began = performance.now();
  const head = applyFrame(buffer, page.scene, page.bytes);
  if (head.stranger) return void location.reload(); // the site has changed
  page.state = "live";
  page.heard = began;
  page.heardWall = Date.now() / 1000;
  page.serverTime = head.time;
  page.head = head;
  drawn(head, true);
  if (!page.settled) settle();
  page.stats.bytes = buffer.byteLength;
  page.stats.ticks++;
  page.stats.tickMs.push(performance.now() - began);
  if (page.stats.tickMs.length > 600) page.stats.tickMs.shift();
}

// With the first values the legend is there, and one knows what of the picture it leaves; what an address names is gone to.
function settle() {
  page.settled = true;
  page.view3d?.settle();
  page.plan.home();
  requestAnimationFrame(() => (page.stats.openMs ||= performance.now()));
  const at = Date.parse(given.get("at") || "") / 1000, minutes = Number(given.get("t") || 0);
  if (given.get("case") in page.whatIf.cases) page.whatIf.start(given.get("case"), given.get("mode"));
  else if (Number.isFinite(at)) {
    page.anchor = at - 60 * Math.round((at - centreNow()) / 60);
    page.time.set(Math.round((at - page.anchor) / 60));
  } else if (minutes) page.time.set(minutes);
}

function drawn(head, main) {
  const kind = head.colour === "alerts" ? "alerts" : head.origin === "residual" || head.against ? "signed" : "magnitude";
  if (main && kind !== page.kind) {
    page.kind = kind;
    recolour();
  }
  const flat = page.view !== "site" || !page.view3d;
  if (!flat) {
    for (const world of page.view3d.worlds) world.show();
    page.view3d.touch();
  } else page.plan.show(page.mode === "beside" && page.other ? page.other : page.bytes, page.table);
  if (main) legendOf(head);
  if (main && page.picked !== null) cardValue(page.scene, page.picked, page.bytes, head);
}

let legendKey = "";
function legendOf(head) {
  const level = page.view === "plan" ? RACK : page.view === "rack" ? GPU : page.level;
  const key = JSON.stringify([head.colour, head.origin, head.scales, level, document.documentElement.lang, page.kind, document.documentElement.dataset.theme]);
  if (key === legendKey) return;
  legendKey = key;
  legend(head, page.table, SHOWN.map((kinds) => kinds.filter((kind) => page.scene.counts[kind])), level);
}

function recolour() {
  page.table = lut(page.kind || "magnitude");
  const water = lut("magnitude");
  setWater(water);
  legendKey = "";
  page.view3d?.paint(page.table, water);
  if (page.head) drawn(page.head, false), legendOf(page.head);
}

function judgeSilence() {
  const silent = page.minutes === 0 && page.mode !== "difference" && performance.now() - page.heard > LOST_MS;
  by("scene").classList.toggle("lost", silent && page.heard > 0);
  if (silent && page.heard > 0 && page.state !== "lost") page.state = "lost";
  if (silent && page.heard > 0) {
    page.bytes.tint.fill(255); // what is not heard is not known
    page.bytes.temp.fill(255);
    page.bytes.flow.fill(255);
    if (page.head) drawn(page.head, true);
  }
}

// --- what is done

function pick(box, quiet = false) {
  const asset = box !== null && box < page.scene.n ? box : null; // else it is nothing, or a rack that a scenario adds
  page.picked = asset;
  const paths = asset === null ? null : page.paths.of(asset);
  page.view3d?.worlds.forEach((world) => world.light(asset, paths));
  page.view3d?.touch();
  page.plan.light(asset, paths);
  const [bytes, head] = asset === box ? [page.bytes, page.head] : ofRun();
  card(page.scene, box, bytes, head, paths || { power: new Set(), water: new Set() });
  by("scene-away")?.addEventListener("click", () => pick(null));
  if (quiet) page.view3d?.settle(); // it came with the address: the card is there before one looks
  if (page.view === "rack" && asset !== null && !quiet) show("rack");
  saveSoon();
}

// Bytes and head of the scenario's picture.
const ofRun = () => (page.mode === "beside" ? [other(), page.runHead] : [page.bytes, page.head]);

function hover(box, event, half = page.view === "plan" && page.mode === "beside" ? 1 : 0) {
  const [bytes, head] = half ? ofRun() : [page.bytes, page.head];
  hint(page.scene, box, bytes, head, event);
  by("scene-canvas").style.cursor = box >= 0 ? "pointer" : "grab";
}

function moved(minutes) {
  const was = page.minutes;
  page.minutes = minutes;
  if (!minutes) page.anchor = null;
  else page.anchor ??= centreNow();
  by("scene").dataset.moment = minutes ? "then" : "now";
  if ((was === 0) !== (minutes === 0) || minutes !== 0) again();
  saveSoon();
}

function setRun(run, mode) {
  page.run = run;
  page.mode = run ? mode : "off";
  page.scene.added = run?.added || null;
  page.view3d?.setBeside(page.mode === "beside" && page.view === "site");
  page.view3d?.setAdded(page.scene.added);
  if (page.view === "plan") page.plan.plan();
  by("scene").dataset.mode = page.mode;
  page.time.within(run ? Math.round((Date.parse(run.end) - Date.parse(run.start)) / 60000) : null);
  notice(run?.limits?.length ? say("{n} limits are passed in this scenario, the first: {what}", { n: run.limits.length, what: `${run.limits[0].asset}: ${run.limits[0].what}` }) : "");
  page.view3d?.settle();
  again();
  saveSoon();
}

function show(view) {
  page.view = view === "site" && !page.view3d ? "plan" : view;
  if (page.view === "rack") {
    const rack = rackOf(page.scene, page.picked);
    if (rack === null) page.view = "plan";
    else {
      if (page.picked === null) pick(rack, true);
      page.plan.rack(rack);
    }
  }
  if (page.view === "plan") page.plan.plan();
  const flat = page.view !== "site";
  by("scene-plan").hidden = !flat;
  by("scene-canvas").hidden = by("scene-names").hidden = flat;
  if (page.view3d) page.view3d.hidden = flat;
  if (page.view3d && page.view3d.beside !== (page.mode === "beside" && !flat)) {
    page.view3d.setBeside(!flat && page.mode === "beside");
    page.view3d.setAdded(page.scene.added);
  }
  for (const button of document.querySelectorAll("[data-view]")) button.setAttribute("aria-pressed", String(button.dataset.view === page.view));
  if (page.head) drawn(page.head, true);
  if (page.picked !== null) page.plan.light(page.picked, page.paths.of(page.picked));
  page.view3d?.touch();
  again();
  saveSoon();
}

async function askColours() {
  const answer = await fetch("/api/v1/scene/colours").catch(() => null);
  return answer?.ok ? answer.json() : [{ name: page.colour, origins: ["best"], kinds: [], run: false }];
}

function fillColours(choices) {
  page.choices = choices;
  const select = by("scene-colour"), was = page.colour;
  const names = page.choices.map((one) => one.name);
  if (!names.includes(page.colour) && !given.get("colour") && names.length) page.colour = names.includes("power_w") ? "power_w" : names[0];
  const listed = names.includes(page.colour) ? page.choices : [...page.choices, { name: page.colour }];
  select.replaceChildren(...listed.map((one) => new Option(named(one.name), one.name, false, one.name === page.colour)));
  fillOrigins();
  if (page.colour !== was) again();
}

function fillOrigins() {
  const mine = page.choices.find((one) => one.name === page.colour);
  const origins = mine ? mine.origins : ["best"];
  if (!origins.includes(page.origin)) page.origin = origins[0] || "best";
  by("scene-origin").replaceChildren(...origins.map((one) => new Option(originName(one), one, false, one === page.origin)));
  by("scene-lead").hidden = page.origin !== "forecast";
}

function controls() {
  const on = (id, event, does) => by(id).addEventListener(event, does);
  const lead = by("scene-lead");
  lead.append(...Array.from({ length: 24 }, (_, i) => new Option(`+${i + 1} h`, i + 1, false, i + 1 === page.lead)));
  on("scene-colour", "change", () => ((page.colour = by("scene-colour").value), fillOrigins(), again(), saveSoon()));
  on("scene-origin", "change", () => ((page.origin = by("scene-origin").value), fillOrigins(), again(), saveSoon()));
  on("scene-lead", "change", () => ((page.lead = Number(lead.value)), again(), saveSoon()));
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => show(button.dataset.view));
  for (const [id, name] of [["scene-hall", "hall"], ["scene-home", "site"]]) on(id, "click", () => (page.view === "site" ? page.view3d?.home(name) : page.plan.home(name)));
  on("scene-walk", "click", () => {
    const walking = !page.view3d.camera.walking;
    page.view3d.camera.walk(walking);
    by("scene-walk").setAttribute("aria-pressed", String(walking));
    by("scene-canvas").focus();
  });
  on("scene-picture", "click", () => (page.view3d && page.view === "site" && page.head ? savePicture(page.view3d.picture(), page.scene.site, page.head) : print()));
  addEventListener("keydown", (event) => {
    if (event.target.closest("input, select, textarea")) return;
    if (event.key === "/") event.preventDefault(), by("scene-search").focus();
    else if (event.key === "Escape") pick(null);
    else if (event.key === "f" && page.view === "site") page.picked === null ? page.view3d?.home() : page.view3d?.flyTo(page.picked);
  });
  for (const form of ["glb", "usdc"]) on(`scene-${form}`, "click", async (event) => {
    event.preventDefault();
    const said = await saveFile(form, { colour: page.colour, origin: page.origin === "forecast" ? "best" : page.origin });
    notice(said === null ? say("The server does not answer") : said);
  });
}

export function notice(text) {
  const place = by("scene-notice");
  if (place.textContent !== text) place.textContent = text;
  place.hidden = !text;
}

// --- the address

let saving = 0;
function saveSoon() {
  if (saving) return;
  saving = setTimeout(() => {
    saving = 0;
    const url = new URL(location.href);
    const put = (key, value, usual) => (value === usual || value === null || value === "" ? url.searchParams.delete(key) : url.searchParams.set(key, value));
    put("colour", page.colour, "power_w");
    put("origin", page.origin, "best");
    put("lead", page.lead, 1);
    put("view", page.view, "site");
    url.searchParams.delete("t");
    put("at", page.minutes ? moment().time.replace(".000", "") : null);
    put("case", page.run ? by("scene-case").value : null);
    put("mode", page.mode, "off");
    put("sel", page.picked === null ? null : page.scene.id[page.picked]);
    if (page.view3d && page.view === "site") {
      const { resting, placed } = page.view3d.camera;
      put("cam", resting || placed.join(","), "hall");
    }
    if (String(url) !== location.href) history.replaceState(null, "", url);
  }, 700);
}

live("scene");
onRedraw(() => page.ready && (recolour(), fillColours(page.choices), page.time.tell()));
start();
