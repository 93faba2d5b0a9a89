// The 3D view: draws one world, or two side by side, picks by ray, and shows as much detail as the camera is near.
import * as T from "./vendor/three.js";
import { Camera } from "./scene-camera.js";
import { css, rgbOf } from "./scene-colours.js";
import { GPU, HALL, NODE, RACK } from "./scene-data.js";
import { Labels } from "./scene-labels.js";
import { World, partsOf, texture } from "./scene-world.js";

const NEAR_M = { [GPU]: 14, [NODE]: 55 }; // nearer than this to what is looked at, that level is shown
const MAX_HALLS = 64; // that the server takes by number
const MAX_GPUS = 16384; // drawn and fed at once: of the nearest halls
const SLOW_MS = 60; // a frame that takes longer: no animation between ticks
const colourOf = (name) => new T.Color().setRGB(...rgbOf(css(name)).map((v) => v / 255), T.LinearSRGBColorSpace || undefined);

export class View {
  constructor(canvas, scene, hooks) {
    this.canvas = canvas;
    this.scene = scene;
    this.hooks = hooks; // {pick(box, event), hover(box, event), detail(level, halls), most(), still(), moved()}
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
    this.home();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(canvas.parentElement);
    this.resize();
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

  home() {
    const { low, high } = this.scene.bounds;
    const middle = low.map((v, k) => (v + high[k]) / 2), size = low.map((v, k) => high[k] - v);
    const reach = Math.max(Math.hypot(...size) * 0.8, 8);
    this.camera.place([middle[0] - 0.35 * reach, middle[1] - 0.62 * reach, 0.55 * reach, middle[0], middle[1], 0]);
  }

  boxOf(i) {
    return [0, 1, 2].map((k) => this.scene.centre[3 * i + k]);
  }

  flyTo(i) {
    const size = [0, 1, 2].map((k) => this.scene.size[3 * i + k]);
    const front = this.scene.level[i] >= NODE ? [-0.3, -1, 0.25] : undefined;
    this.camera.flyTo(this.boxOf(i), size, front);
  }

  // --- picking: a ray against the boxes that are drawn

  ray(x, y) {
    const box = this.canvas.getBoundingClientRect();
    let [u, v] = [(x - box.left) / box.width, (y - box.top) / box.height];
    if (this.beside) u = (u * 2) % 1;
    const point = new T.Vector3(u * 2 - 1, 1 - v * 2, 0.5).unproject(this.camera.three);
    return { from: this.camera.three.position, dir: point.sub(this.camera.three.position).normalize() };
  }

  pick(x, y) {
    const { from, dir } = this.ray(x, y), { centre, size, level } = this.scene;
    const o = from.toArray(), d = dir.toArray().map((v) => (Math.abs(v) < 1e-9 ? 1e-9 : v));
    let best = -1, nearest = Infinity;
    const tray = this.level >= GPU;
    const test = (i) => {
      let near = 0, far = nearest;
      for (let k = 0; k < 3; k++) {
        const half = size[3 * i + k] / 2;
        const high = tray && k === 2 && level[i] === NODE && this.scene.kindOf(i) === "node" ? centre[3 * i + k] - half * (1 - 2 * 0.16) : centre[3 * i + k] + half;
        let [t0, t1] = [(centre[3 * i + k] - half - o[k]) / d[k], (high - o[k]) / d[k]];
        if (t0 > t1) [t0, t1] = [t1, t0];
        near = Math.max(near, t0);
        far = Math.min(far, t1);
        if (near > far) return;
      }
      [best, nearest] = [i, near];
    };
    const meshes = this.worlds[0].meshes;
    for (const name of ["rack", "unit", "round", "node", "part", "gpu"]) if (meshes[name]?.visible) meshes[name].userData.which.forEach(test);
    return best;
  }

  listen() {
    let down = null;
    const canvas = this.canvas;
    canvas.addEventListener("pointerdown", (event) => (down = [event.clientX, event.clientY]));
    canvas.addEventListener("pointerup", (event) => {
      const still = down && Math.hypot(event.clientX - down[0], event.clientY - down[1]) < 5;
      if (still && event.button === 0) this.hooks.pick(this.pick(event.clientX, event.clientY), event);
      down = null;
    });
    canvas.addEventListener("dblclick", (event) => {
      const box = this.pick(event.clientX, event.clientY);
      if (box >= 0) this.flyTo(box);
    });
    let waiting = 0;
    canvas.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch" || down) return;
      clearTimeout(waiting);
      waiting = setTimeout(() => this.hooks.hover(this.pick(event.clientX, event.clientY), event), 60);
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
      world.uniforms.time.value = now / 1000;
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
