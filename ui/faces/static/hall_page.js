// The hall: the plan by any of the maps that are pushed, one rack close up, and the 3D twin in its place where there is one.
import { drawn, tableNow } from "./pages.js";
import { hall, KINDS, legend } from "./hall.js";
import { formatNumber, onRedraw, say, store } from "./shell.js";

const box = document.getElementById("plan");
const bar = document.getElementById("scale");
const buttons = [...document.querySelectorAll("button[data-map]")];
let mapOf = new URLSearchParams(location.search).get("map") in KINDS ? new URLSearchParams(location.search).get("map") : "temp";
let plan = null;
let chosen = null;

function draw() {
  const maps = tableNow().map;
  if (!maps || !plan || !box.clientWidth) return;
  hall(box, plan, maps, mapOf);
  legend(bar, mapOf);
  close(maps);
}

function close(maps) {
  if (!plan.ids.length) return;
  const known = maps.temp.map((value, i) => [value ?? -300, i]);
  const i = chosen !== null && plan.ids.includes(chosen) ? plan.ids.indexOf(chosen) : known.reduce((a, b) => (b[0] > a[0] ? b : a))[1];
  document.getElementById("chosen").textContent = plan.ids[i];
  const list = document.getElementById("close");
  const rows = buttons.map((button) => {
    const key = button.dataset.map;
    const value = maps[key][i];
    const kind = KINDS[key];
    const said = value === null ? say("no reading") : kind.names ? say(kind.names[value]) : `${formatNumber(value, "ratio").n.replace(/[.,]?0+$/, "")} ${kind.unit}`;
    return [say(button.dataset.t), said];
  });
  list.replaceChildren(...rows.flatMap(([name, said]) => [Object.assign(document.createElement("dt"), { textContent: name }), Object.assign(document.createElement("dd"), { textContent: said })]));
}

drawn("map", (maps, table, hello) => {
  if (hello.plan !== plan) plan = hello.plan;
  draw();
});
onRedraw(draw);

function press() {
  for (const one of buttons) one.setAttribute("aria-pressed", String(one.dataset.map === mapOf));
}
for (const button of buttons) {
  button.addEventListener("click", () => {
    mapOf = button.dataset.map;
    press();
    draw();
  });
}
press();
box.addEventListener("click", (event) => {
  const rect = event.target.closest("rect[data-asset]");
  if (!rect) return;
  chosen = rect.dataset.asset;
  draw();
});

// The 3D twin is a page of its own, shown in this one's place.
const solid = document.querySelector("button[data-solid]");
const frame = document.getElementById("solid");
function turn(on) {
  if (on && !frame.src) frame.src = `/scene?embed=1&bare=1&lang=${document.documentElement.dataset.language}`;
  frame.hidden = !on;
  box.hidden = on;
  solid.setAttribute("aria-pressed", String(on));
  store.set("hall-solid", on ? "yes" : "");
  if (!on) draw();
}
if (solid) {
  solid.addEventListener("click", () => turn(frame.hidden));
  if (store.get("hall-solid") || new URLSearchParams(location.search).has("solid")) turn(true);
}
