// The 2D modes, as SVG: the plan of all that stands on floors, and a rack from the front and from behind. They take the place of the
// 3D view where there is no WebGL.
import { cssAt } from "./scene-colours.js";
import { GPU, HALL, NODE, RACK, SILENT } from "./scene-data.js";
import { cornersOf, extentOf, mainBoxes } from "./scene-extent.js";
import { say } from "./shell.js";

const SVG = "http://www.w3.org/2000/svg";
function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export class Plan {
  constructor(holder, scene, hooks) {
    this.holder = holder;
    this.scene = scene;
    this.hooks = hooks; // {pick(box), hover(box, event)}
    this.shown = new Map(); // box -> elements
    this.bytes = new Map(); // box -> byte as drawn
    holder.addEventListener("click", (event) => this.dragged || this.hooks.pick(this.boxAt(event)));
    holder.addEventListener("pointermove", (event) => this.hooks.hover(this.boxAt(event), event));
    holder.addEventListener("pointerleave", () => this.hooks.hover(-1, null));
    holder.addEventListener("keydown", (event) => (event.key === "Enter" || event.key === " ") && this.hooks.pick(this.boxAt(event)));
    this.dragging();
  }

  boxAt(event) {
    const element = event.target.closest?.("[data-box]");
    return element ? Number(element.dataset.box) : -1;
  }

  // --- the floor plan

  plan() {
    this.begin();
    const canvas = svg("svg", { role: "group", "aria-label": say("Floor plan"), preserveAspectRatio: "xMidYMid meet" });
    const { low, high } = this.scene.bounds, far = high[0] - low[0] > 56;
    for (let i = 0; i < this.scene.n; i++) {
      if (this.scene.level[i] === HALL) canvas.append(this.room(i, far));
      else if (this.scene.level[i] === RACK) canvas.append(this.rect(i, far));
    }
    this.scene.added?.ids.forEach((_, i) => {
      const [x, y, width, height] = this.foot(i, this.scene.added);
      const made = svg("rect", { x, y, width, height, rx: 0.05, "data-box": this.scene.n + i, class: "thing ghost" });
      this.keep(this.scene.n + i, made);
      canvas.append(made);
    });
    this.home();
    this.put(canvas);
  }

  // The halls ("hall") or all there is ("site"), beside what panels cover.
  home(name = "hall") {
    if (this.at >= 0) return;
    const [low, high] = extentOf(cornersOf(this.scene, mainBoxes(this.scene, name), this.scene.added));
    const room = this.hooks.room?.() || [0, 0]; // shares of the picture that are covered at its left, at its right
    const [wide, tall] = [high[0] - low[0] + 3, high[1] - low[1] + 3];
    const shape = this.holder.clientWidth ? (this.holder.clientWidth / this.holder.clientHeight) * (1 - room[0] - room[1]) : wide / tall;
    const width = Math.max(wide, tall * shape) / (1 - room[0] - room[1]);
    const middle = (low[0] + high[0]) / 2 - (width * (room[0] - room[1])) / 2;
    this.view = [middle - width / 2, -high[1] - 1.5, width, tall];
    this.zoom();
  }

  room(i, far) {
    const [x, y, w, h] = this.foot(i);
    const group = svg("g", {}, svg("rect", { x, y, width: w, height: h, class: this.scene.kindOf(i) === "hall" ? "room" : "lane" }));
    if (this.scene.kindOf(i) === "hall") {
      const name = this.scene.halls[this.scene.hall[i]]?.name || this.scene.id[i];
      group.append(svg("text", { x: x + 0.3, y: y - 0.4, "font-size": far ? 2.4 : 1.2, class: "room-name" }, name));
    }
    return group;
  }

  foot(i, { centre, size } = this.scene) {
    return [centre[3 * i] - size[3 * i] / 2, -centre[3 * i + 1] - size[3 * i + 1] / 2, size[3 * i], size[3 * i + 1]];
  }

  rect(i, far) {
    const [x, y, w, h] = this.foot(i);
    const round = ["tower", "pump"].includes(this.scene.kindOf(i));
    const made = svg("rect", { x, y, width: w, height: h, rx: round ? w / 2 : 0.05, "data-box": i, class: "thing" });
    if (!far && this.scene.kindOf(i) === "rack") {
      made.setAttribute("tabindex", "0");
      made.setAttribute("role", "button");
      made.setAttribute("aria-label", this.scene.id[i]);
    }
    this.keep(i, made);
    return made;
  }

  // --- a rack from both sides

  rack(box) {
    this.begin();
    this.at = box;
    const { centre, size, turned } = this.scene;
    const wide = turned[box] ? size[3 * box + 1] : size[3 * box], high = size[3 * box + 2];
    const canvas = svg("svg", { role: "group", "aria-label": `${this.scene.id[box]}: ${say("front and rear")}`, preserveAspectRatio: "xMidYMid meet" });
    this.view = [-0.25, -high - 0.35, 2 * wide + 0.9, high + 0.5];
    const inside = [];
    for (let i = 0; i < this.scene.n; i++) if (this.within(i, box)) inside.push(i);
    for (const [side, left] of [["Front", 0], ["Rear", wide + 0.4]]) {
      canvas.append(svg("rect", { x: left, y: -high, width: wide, height: high, class: "cabinet" }));
      canvas.append(svg("text", { x: left + wide / 2, y: -high - 0.1, "font-size": 0.12, "text-anchor": "middle", class: "room-name" }, `${this.scene.id[box]} · ${say(side)}`));
      const axis = turned[box] ? 1 : 0, sign = side === "Front" ? 1 : -1;
      const back = (i) => sign * (turned[box] ? centre[3 * i] - centre[3 * box] : centre[3 * i + 1] - centre[3 * box + 1]);
      for (const i of inside) {
        if (back(i) > (this.scene.level[i] === GPU ? 0.02 : 0.25)) continue; // it is seen from the other side: strips, half of the GPUs
        const w = size[3 * i + axis], h = size[3 * i + 2];
        const x = left + wide / 2 + sign * (centre[3 * i + axis] - centre[3 * box + axis]) - w / 2;
        const z = centre[3 * i + 2] - (centre[3 * box + 2] - high / 2) - h / 2;
        const made = svg("rect", { x, y: -z - h, width: w, height: h, rx: 0.006, "data-box": i, class: this.scene.level[i] === GPU ? "thing chip" : "thing" });
        this.keep(i, made);
        canvas.append(made);
        if (side === "Front" && this.scene.level[i] === NODE && w > 0.3) canvas.append(svg("text", { x: x - 0.02, y: -z - h / 2 + 0.015, "font-size": 0.042, "text-anchor": "end", class: "in-rack" }, this.short(i, box)));
      }
    }
    this.put(canvas);
  }

  // What of a name its rack's name does not say already.
  short(i, box) {
    const [id, rack] = [this.scene.id[i], this.scene.id[box]];
    const rest = id.startsWith(rack) ? id.slice(rack.length).replace(/^[^0-9a-z]+/i, "") : id;
    return rest.length > 8 ? `${rest.slice(0, 7)}…` : rest || id;
  }

  within(i, box) {
    if (this.scene.level[i] !== NODE && this.scene.level[i] !== GPU) return false;
    for (let here = this.scene.parent[i]; here >= 0; here = this.scene.parent[here]) if (here === box) return true;
    return false;
  }

  // --- both

  begin() {
    this.at = -1;
    this.shown.clear();
    this.bytes.clear();
  }

  keep(i, element) {
    if (this.shown.has(i)) this.shown.get(i).push(element);
    else this.shown.set(i, [element]);
  }

  put(canvas) {
    this.canvas = canvas;
    this.zoom();
    this.holder.replaceChildren(canvas);
  }

  // Colours by the bytes of a frame; what did not change is left alone.
  show(bytes, table) {
    const whole = this.table !== table;
    this.table = table;
    for (const [i, elements] of this.shown) {
      const byte = i < this.scene.n ? bytes.tint[i] : bytes.added[i - this.scene.n] ?? SILENT;
      if (!whole && this.bytes.get(i) === byte) continue;
      this.bytes.set(i, byte);
      for (const element of elements) element.style.fill = cssAt(table, byte);
    }
    const firing = new Set(bytes.pulses.map(([box]) => box));
    for (const [i, elements] of this.shown) for (const element of elements) element.classList.toggle("firing", firing.has(i));
  }

  light(box, paths) {
    const on = paths && (paths.power.size || paths.water.size);
    for (const [i, elements] of this.shown) {
      for (const element of elements) {
        element.classList.toggle("chosen", i === box);
        element.classList.toggle("dimmed", Boolean(on) && i !== box && !paths.power.has(i) && !paths.water.has(i) && this.at < 0);
      }
    }
  }

  zoom() {
    this.canvas?.setAttribute("viewBox", this.view.join(" "));
  }

  dragging() {
    let last = null;
    const { holder } = this;
    const scale = () => Math.max(this.view[2] / holder.clientWidth, this.view[3] / holder.clientHeight);
    holder.addEventListener("pointerdown", (event) => {
      last = [event.clientX, event.clientY];
      this.dragged = false;
    });
    addEventListener("pointerup", () => (last = null));
    holder.addEventListener("pointermove", (event) => {
      if (!last || !this.view) return;
      const [dx, dy] = [event.clientX - last[0], event.clientY - last[1]];
      if (Math.hypot(dx, dy) < 3 && !this.dragged) return;
      this.dragged = true;
      last = [event.clientX, event.clientY];
      this.view[0] -= dx * scale();
      this.view[1] -= dy * scale();
      this.zoom();
    });
    holder.addEventListener("wheel", (event) => {
      if (!this.view) return;
      event.preventDefault();
      const factor = Math.exp(event.deltaY * 0.0012), box = holder.getBoundingClientRect();
      const [u, v] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
      this.view[0] += this.view[2] * (1 - factor) * u;
      this.view[1] += this.view[3] * (1 - factor) * v;
      this.view[2] *= factor;
      this.view[3] *= factor;
      this.zoom();
    }, { passive: false });
  }
}
