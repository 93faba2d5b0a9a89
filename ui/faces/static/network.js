// The map of the fabric: switches in tiers, links between them; what is down is dashed and red, what is busy is bright.
import { canvasIn, emptyIn, remPx, svg } from "./draw.js";
import { drawn } from "./pages.js";
import { formatNumber, say } from "./shell.js";
import { colour } from "./scales.js";

const CLASSES = { 0: "well", 1: "warning", 2: "critical", "-1": "silent" };
const TIER = ["leaf", "spine", "core"];

drawn("net", (net, table, hello) => {
  const box = document.getElementById("fabric");
  const fabric = hello.fabric;
  if (!fabric || !net) return;
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
    canvas.append(svg("line", { x1: at[a][0], y1: at[a][1], x2: at[b][0], y2: at[b][1], class: `cable ${bad ? "bad" : ""}` }));
  }
  fabric.ids.forEach((id, i) => {
    const [x, y] = at[i];
    const size = wide(fabric.tier[i]);
    const state = net.state[i];
    const box_ = svg("rect", {
      x: x - size / 2, y: y - 0.8 * rem, width: size, height: 1.6 * rem, rx: 3, class: `switch-box ${CLASSES[state]}`,
      style: state === -1 ? "" : `fill:${colour("cividis", (net.load[i] / most) * 0.8, 0, 1)}`,
    });
    const said = formatNumber(net.load[i], "bps");
    box_.append(svg("title", {}, `${id}: ${state === -1 ? say("silent") : state === 2 ? say("down") : `${said.n} ${said.u}`}`));
    canvas.append(box_);
    if (state > 0) canvas.append(svg("text", { x, y: y + 0.4 * rem, "text-anchor": "middle", class: "mark-in", "font-size": 1.1 * rem }, state === 2 ? "▲" : "◆"));
  });
  box.replaceChildren(canvas);
});
