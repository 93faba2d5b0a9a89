// The map of the fabric: switches in tiers, links between them; what is down is dashed and red, what is busy is bright. A job that
// is chosen marks the switches and links that its traffic may pass.
import { canvasIn, emptyIn, remPx, svg } from "./draw.js";
import { drawn } from "./pages.js";
import { fill, formatNumber, say } from "./shell.js";
import { colour } from "./scales.js";

const CLASSES = { 0: "well", 1: "warning", 2: "critical", "-1": "silent" };
const select = document.getElementById("job");
let last = null; // what the map was drawn from
let paths = [];
let chosen = ""; // the job that a person asked for; before that the largest is told, and the map bears no mark
let passed = new Set();

function tell() {
  const job = paths.find((one) => one.id === chosen) || paths[0];
  select.hidden = !paths.length;
  const names = paths.map((one) => one.name).join("\n");
  if (select.dataset.names !== names) {
    select.dataset.names = names;
    select.replaceChildren(...paths.map((one) => new Option(one.name, one.id)));
  }
  if (job) select.value = job.id;
  passed = new Set(job && job.id === chosen ? job.at : []);
  fill(document, { "l.path": job ? job.rows : [] });
  draw();
}

drawn("paths", (told) => {
  paths = told;
  tell();
});
select.addEventListener("change", () => {
  chosen = select.value;
  tell();
});
drawn("net", (net, table, hello) => {
  last = { net, fabric: hello.fabric };
  draw();
});

function draw() {
  const box = document.getElementById("fabric");
  if (!last?.fabric || !last.net) return;
  const { net, fabric } = last;
  if (!fabric.ids.length) return void emptyIn(box, say("No switch in this site"));
  const made = canvasIn(box);
  if (!made) return;
  const { w, h, canvas } = made;
  const rem = remPx();
  const tiers = Math.max(...fabric.tier) + 1;
  const counts = Array.from({ length: tiers }, (_, t) => fabric.tier.filter((one) => one === t).length);
  const at = fabric.ids.map((_, i) => {
    const tier = fabric.tier[i];
    const rows = tier === 0 ? Math.max(1, Math.ceil(counts[0] / 48)) : 1; // many leaves stand in several lines
    const order = Math.round(fabric.place[i] * counts[tier] - 0.5);
    const per = Math.ceil(counts[tier] / rows);
    const line = Math.floor(order / per);
    const y = h * (1 - (tier + 0.5) / tiers) + (tier === 0 ? (line - (rows - 1) / 2) * 2.2 * rem : 0);
    return [((order % per) + 0.5) * (w / per), y];
  });
  const most = Math.max(...net.load, 1);
  const wide = (tier) => Math.min(5 * rem, (w / Math.ceil(counts[tier] / Math.max(1, Math.ceil(counts[tier] / 48)))) * 0.8);
  for (const [a, b] of fabric.links) {
    const bad = net.state[a] === 2 || net.state[b] === 2 || net.state[a] === 1 || net.state[b] === 1;
    const way = passed.has(a) && passed.has(b) ? "passed" : "";
    canvas.append(svg("line", { x1: at[a][0], y1: at[a][1], x2: at[b][0], y2: at[b][1], class: `cable ${bad ? "bad" : ""} ${way}` }));
  }
  fabric.ids.forEach((id, i) => {
    const [x, y] = at[i];
    const size = wide(fabric.tier[i]);
    const state = net.state[i];
    const switch_ = svg("rect", {
      x: x - size / 2, y: y - 0.8 * rem, width: size, height: 1.6 * rem, rx: 3, class: `switch-box ${CLASSES[state]} ${passed.has(i) ? "passed" : ""}`,
      style: state === -1 ? "" : `fill:${colour("cividis", (net.load[i] / most) * 0.8, 0, 1)}`,
    });
    const said = formatNumber(net.load[i], "bps");
    switch_.append(svg("title", {}, `${id}: ${state === -1 ? say("silent") : state === 2 ? say("down") : `${said.n} ${said.u}`}`));
    canvas.append(switch_);
    if (state > 0) canvas.append(svg("text", { x, y: y + 0.4 * rem, "text-anchor": "middle", class: "mark-in", "font-size": 1.1 * rem }, state === 2 ? "▲" : "◆"));
    const letters = Math.min(0.95 * rem, (size * 1.15) / (0.56 * id.length)); // of a name that fits over its switch
    if (letters >= 0.75 * rem) canvas.append(svg("text", { x, y: y + 1.9 * rem, "text-anchor": "middle", class: "name", "font-size": letters }, id));
  });
  box.replaceChildren(canvas);
}
