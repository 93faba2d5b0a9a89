// The 3D view: draws one world, or two side by side, picks by ray, and shows as much detail as the camera is near.
import * as T from "./vendor/three.js";
import { Camera } from "./scene-camera.js";
import { css, rgbOf } from "./scene-colours.js";
import { GPU, HALL, NODE, RACK } from "./scene-data.js";
import { asideOf, cornersOf, extentOf, mainBoxes } from "./scene-extent.js";
import { Labels } from "./scene-labels.js";
import { World, partsOf, texture } from "./scene-world.js";

const NEAR_M = { [GPU]: 14, [NODE]: 55 }; // nearer than this to what is looked at, that level is shown
const MAX_HALLS = 64; // that the server takes by number
const MAX_GPUS = 16384; // drawn and fed at once: of the nearest halls
const TWICE_MS = 350; // between the taps of a double tap
const SLOW_MS = 60; // a frame that takes longer: no animation between ticks
// Where one looks from, along x, y, z: at the site, at halls that are longer east and north, at a box, at what is in a rack.
const CORNERS = [[1, 1], [-1, 1], [1, -1], [-1, -1]]; // a hall is seen from the corner at which least stands in the way
const SITE_FROM = [-0.45, -0.8, 0.62], HALL_FROM = [[-0.4, -1, 0.6], [-1, -0.4, 0.6]], BOX_FROM = [-0.55, -0.75, 0.45], INSIDE_FROM = [-0.3, -1, 0.25];
const SWELL = 1.6; // of a box that is flown to: some of what stands around it is seen
const MOST_COVERED = 0.7; // of the picture's width and height: with less left, what is looked at lies behind panels rather
const EDGE = { left: 0.03, right: 0.03, top: 0.05, bottom: 0.05 }; // of the picture, free around what is looked at
const colourOf = (name) => new T.Color().setRGB(...rgbOf(css(name)).map((v) => v / 255), T.LinearSRGBColorSpace || undefined);

export class View {
  constructor(canvas, scene, hooks) {
    this.canvas = canvas;
    this.scene = scene;
    this.hooks = hooks; // {pick(box, event), hover(box, event), detail(level, halls), most(), still(), moved(), panels()}
    this.renderer = new T.WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: true });
    this.renderer.outputColorSpace = "srgb-linear"; // bytes stand for the very colours of the legend
    this.renderer.setPixelRatio(Math.min(devicePixelRatio, 2));
    this.renderer.info.autoReset = false;
    this.shared = { lut: texture(new Uint8Array(1024)), water: texture(new Uint8Array(1024)), ground: colourOf("--ground"), accent: colourOf("--accent"), line: colourOf("--ink-quiet"), bad: colourOf("--bad") };
    this.parts = partsOf(scene);
    this.worlds = [new World(scene, this.parts, this.shared)];
    this.beside = false;
    this.camera = new Camera(canvas, () => this.touch());
    this.labels = new Labels(document.getElementById("scene-names"), scene);
    this.level = RACK;
    this.halls = [];
    this.stats = { drawCalls: 0, drawMs: 0, frames: 0 };
    this.last = performance.now();
    this.animate = !matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.openNear();
    this.resize();
    this.home("hall", true);
    this.listen();
    new ResizeObserver(() => (this.resize(), this.settle())).observe(canvas.parentElement);
  }

  // --- colours and theme

  paint(lut, water) {
    for (const [name, table] of [["lut", lut], ["water", water]]) {
      this.shared[name].image.data.set(table);
      this.shared[name].needsUpdate = true;
    }
    for (const [name, property] of [["ground", "--ground"], ["accent", "--accent"], ["line", "--ink-quiet"], ["bad", "--bad"]]) this.shared[name].copy(colourOf(property));
    for (const world of this.worlds) world.cables.material.color.copy(this.shared.line), world.lit.material.color.copy(this.shared.accent);
    this.touch();
  }

  setBeside(on) {
    this.beside = on;
    if (on && this.worlds.length === 1) {
      this.worlds.push(new World(this.scene, this.parts, this.shared));
      this.worlds[1].openHalls(this.halls);
      this.worlds[1].detail(this.level);
    }
    this.resize();
  }

  // Racks that a scenario adds, in the scenario's own picture, or in the one that shows the difference; null: none.
  setAdded(added) {
    this.added = added?.ids.length ? added : null;
    this.worlds.forEach((world, k) => world.add(k === (this.beside ? 1 : 0) ? this.added : null));
    this.touch();
  }

  // --- detail

  reach() {
    return this.camera.walking ? 6 : this.camera.three.position.distanceTo(this.camera.controls.target);
  }

  judge() {
    const reach = this.reach(), here = this.level;
    let level = RACK;
    const most = this.hooks.most();
    for (const one of [NODE, GPU]) if (one <= most && reach < NEAR_M[one] * (here >= one ? 1.15 : 1)) level = one;
    const halls = this.nearest();
    if (String(halls) !== String(this.halls)) this.openNear(halls);
    if (level === here && this.told === String(this.halls)) return;
    this.level = level;
    this.told = String(this.halls);
    for (const world of this.worlds) world.detail(level);
    this.hooks.detail(level, this.halls);
  }

  // Halls (rows) whose GPUs are drawn: nearest first, as many as are few enough; all where that is possible.
  nearest() {
    const span = this.scene.span, count = span.length / 8;
    const sizes = Array.from({ length: count }, (_, hall) => span[2 * (GPU * count + hall) + 1] - span[2 * (GPU * count + hall)]);
    const all = sizes.map((_, hall) => hall).filter((hall) => sizes[hall]);
    if (sizes.reduce((a, b) => a + b, 0) <= MAX_GPUS) return all;
    const at = this.camera.controls.target, far = new Map(all.map((hall) => [hall, Infinity]));
    for (let i = 0; i < this.scene.n && this.scene.level[i] === HALL; i++) {
      const hall = this.scene.hall[i], c = this.scene.centre, s = this.scene.size;
      const gap = (k, v) => Math.max(Math.abs(v - c[3 * i + k]) - s[3 * i + k] / 2, 0);
      if (far.has(hall)) far.set(hall, Math.min(far.get(hall), Math.hypot(gap(0, at.x), gap(1, at.y))));
    }
    this.some = true;
    const open = [];
    let left = MAX_GPUS;
    for (const hall of all.sort((a, b) => far.get(a) - far.get(b) || a - b)) {
      if (sizes[hall] <= left && open.length < MAX_HALLS) {
        open.push(hall);
        left -= sizes[hall];
      }
    }
    return open.sort((a, b) => a - b);
  }

  openNear(halls = this.nearest()) {
    this.halls = halls;
    for (const world of this.worlds) {
      world.level = undefined;
      world.openHalls(halls);
      world.detail(this.level);
      world.show();
    }
  }

  // --- camera

  // Look at the halls ("hall") or at all there is ("site"), from where both are seen whole.
  home(name = "hall", atOnce = false) {
    const main = mainBoxes(this.scene, name), points = cornersOf(this.scene, main, this.added), [low, high] = extentOf(points);
    const across = high[0] - low[0] >= high[1] - low[1] ? HALL_FROM[0] : HALL_FROM[1], covers = this.covers();
    const ways = name === "site" ? [SITE_FROM] : CORNERS.map(([x, y]) => [x * across[0], y * across[1], across[2]]);
    const places = ways.map((from) => this.camera.fitted(points, from, covers)), aside = asideOf(this.scene, main);
    const hidden = places.map((place) => this.camera.hidden(place, aside));
    this.camera.go(places[hidden.indexOf(Math.min(...hidden))], name, atOnce);
  }

  // The same again where the picture, or what lies over it, has changed its size.
  settle() {
    if (this.camera.resting) this.home(this.camera.resting, true);
  }

  // What panels leave free: each is a strip at its side or at its end of the picture, whichever leaves more.
  covers() {
    const { width: w, height: h } = this.canvas.parentElement.getBoundingClientRect(), halves = this.beside ? 2 : 1;
    let covers = [EDGE];
    for (const { side, end, width, height } of w && h ? this.hooks.panels() : []) {
      covers = covers.flatMap((cover) => [
        { ...cover, [side]: cover[side] + Math.min((width * halves) / w, 0.45) }, { ...cover, [end]: cover[end] + Math.min(height / h, 0.6) },
      ]);
    }
    const enough = covers.filter(({ left, right, top, bottom }) => left + right < MOST_COVERED && top + bottom < MOST_COVERED);
    return enough.length ? enough : [EDGE];
  }

  flyTo(i) {
    const from = this.scene.level[i] >= NODE ? INSIDE_FROM : BOX_FROM;
    this.camera.go(this.camera.fitted(cornersOf(this.scene, [i], null, SWELL), from, this.covers()));
  }

  // --- picking: a ray against the boxes that are drawn; racks that a scenario adds have numbers after those of the site

  ray(x, y) {
    const box = this.canvas.getBoundingClientRect();
    let [u, v] = [(x - box.left) / box.width, (y - box.top) / box.height];
    const right = u > 0.5;
    if (this.beside) u = (u * 2) % 1;
    const point = new T.Vector3(u * 2 - 1, 1 - v * 2, 0.5).unproject(this.camera.three);
    return { from: this.camera.three.position, dir: point.sub(this.camera.three.position).normalize(), right };
  }

  pick(x, y) {
    const { from, dir, right } = this.ray(x, y), { centre, size, level } = this.scene;
    const o = from.toArray(), d = dir.toArray().map((v) => (Math.abs(v) < 1e-9 ? 1e-9 : v));
    let best = -1, nearest = Infinity;
    const tray = this.level >= GPU;
    const hit = (centre, size, i, cut, number) => {
      let near = 0, far = nearest;
      for (let k = 0; k < 3; k++) {
        const half = size[3 * i + k] / 2, high = centre[3 * i + k] + (k === 2 ? half - cut * size[3 * i + 2] : half);
        let [t0, t1] = [(centre[3 * i + k] - half - o[k]) / d[k], (high - o[k]) / d[k]];
        if (t0 > t1) [t0, t1] = [t1, t0];
        near = Math.max(near, t0);
        far = Math.min(far, t1);
        if (near > far) return;
      }
      [best, nearest] = [number, near];
    };
    const test = (i) => hit(centre, size, i, tray && level[i] === NODE && this.scene.kindOf(i) === "node" ? 1 - 0.16 : 0, i);
    const meshes = this.worlds[0].meshes;
    for (const name of ["rack", "unit", "round", "node", "part", "gpu"]) if (meshes[name]?.visible) meshes[name].userData.which.forEach(test);
    if (best < 0 && this.level > RACK) meshes.rack.userData.which.forEach(test); // it is drawn as a frame: what is not in it is it
    const { added } = this;
    this.half = this.beside && right ? 1 : 0; // whose values it has
    if (added && (!this.beside || right)) added.ids.forEach((_, i) => hit(added.centre, added.size, i, 0, this.scene.n + i));
    return best;
  }

  // To what is under the pointer; beside everything, back to the halls.
  flyAt(event) {
    const box = this.pick(event.clientX, event.clientY);
    if (box >= 0 && box < this.scene.n) this.flyTo(box);
    else if (box < 0) this.home();
  }

  listen() {
    let down = null, tapped = null;
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => (down = [event.clientX, event.clientY]));
    canvas.addEventListener("pointerup", (event) => {
      const still = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < (event.pointerType === "touch" ? 12 : 5);
      down = null;
      if (!still || event.button !== 0) return;
      this.hooks.pick(this.pick(event.clientX, event.clientY), event);
      if (event.pointerType !== "touch") return;
      const again = tapped && event.timeStamp - tapped.at < TWICE_MS && Math.hypot(event.clientX - tapped.x, event.clientY - tapped.y) < 30;
      if (again) this.flyAt(event);
      tapped = again ? null : { at: event.timeStamp, x: event.clientX, y: event.clientY };
    });
    canvas.addEventListener("dblclick", (event) => event.sourceCapabilities?.firesTouchEvents || this.flyAt(event));
    let waiting = 0;
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch" || down) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => this.hooks.hover(this.pick(event.clientX, event.clientY), event, this.half), 60);
    });
    canvas.addEventListener("pointerleave", () => {
      clearTimeout(waiting);
      this.hooks.hover(-1, null);
    });
  }

  // --- drawing: when something changed; between ticks only where the machine draws quickly

  resize() {
    const { clientWidth: w, clientHeight: h } = this.canvas.parentElement;
    if (!w || !h) return;
    this.renderer.setSize(w, h, false);
    this.camera.three.aspect = (this.beside ? w / 2 : w) / h;
    this.camera.three.fov = this.camera.three.aspect < 1.2 ? 64 : 50;
    this.camera.three.updateProjectionMatrix();
    this.touch();
  }

  touch() {
    if (this.waiting || this.hidden) return;
    this.waiting = true;
    requestAnimationFrame(() => {
      this.waiting = false;
      this.draw();
    });
  }

  draw() {
    const now = performance.now();
    this.camera.step((now - this.last) / 1000);
    this.last = now;
    this.judge();
    const began = performance.now(), { renderer } = this, { width: w, height: h } = renderer.getSize(new T.Vector2());
    renderer.info.reset();
    renderer.setScissorTest(true);
    const count = this.beside ? 2 : 1;
    for (let i = 0; i < count; i++) {
      const world = this.worlds[i];
      world.uniforms.time.value = this.animate ? now / 1000 : 0; // water stands still for those who asked for less motion
      if (world.pulse.visible) world.pulse.material.uniforms.opacity.value = this.animate ? 0.35 + 0.25 * Math.sin(now / 250) : 0.5;
      renderer.setViewport((w / count) * i, 0, w / count, h);
      renderer.setScissor((w / count) * i, 0, w / count, h);
      renderer.setClearColor(this.shared.ground, 1);
      renderer.render(world.three, this.camera.three);
    }
    const holder = this.canvas.parentElement;
    this.labels.place(this.camera.three, holder.clientWidth, holder.clientHeight, count);
    this.stats.drawCalls = renderer.info.render.calls;
    this.stats.drawMs = performance.now() - began;
    this.stats.frames++;
    this.hooks.moved();
    const pace = performance.now() - now;
    this.pace = this.pace === undefined ? pace : 0.7 * this.pace + 0.3 * pace;
    if (this.camera.moving || (this.animate && !this.slow())) this.touch();
  }

  slow() {
    return this.pace > SLOW_MS || this.hooks.still();
  }

  picture() {
    this.draw();
    return this.canvas;
  }
}
