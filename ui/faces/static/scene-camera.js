// How the scene is moved through: orbit (mouse, touch), walk (WASD, arrows), fly to a box; all without surprise for those who asked
// their system for less motion.
import * as T from "./vendor/three.js";

const EYE_M = 1.7, WALK_MPS = 4, RUN = 3, FLY_MS = 700;
const still = matchMedia("(prefers-reduced-motion: reduce)");
const KEYS = {
  KeyW: [1, 0, 0], ArrowUp: [1, 0, 0], KeyS: [-1, 0, 0], ArrowDown: [-1, 0, 0],
  KeyA: [0, -1, 0], ArrowLeft: [0, -1, 0], KeyD: [0, 1, 0], ArrowRight: [0, 1, 0], KeyE: [0, 0, 1], KeyQ: [0, 0, -1],
};

export class Camera {
  constructor(canvas, changed) {
    this.three = new T.PerspectiveCamera(50, 1, 0.05, 4000);
    this.three.up.set(0, 0, 1);
    this.controls = new T.OrbitControls(this.three, canvas);
    this.controls.maxPolarAngle = Math.PI * 0.495;
    this.controls.minDistance = 0.4;
    this.controls.maxDistance = 1500;
    this.controls.zoomToCursor = true;
    this.controls.addEventListener("change", changed);
    this.changed = changed;
    this.held = new Set();
    this.walking = false;
    this.flight = null;
    canvas.addEventListener("keydown", (event) => this.key(event, true));
    canvas.addEventListener("keyup", (event) => this.key(event, false));
    canvas.addEventListener("blur", () => this.held.clear());
  }

  key(event, down) {
    if (!KEYS[event.code] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    if (down) this.held.add(event.code);
    else this.held.delete(event.code);
    this.fast = event.shiftKey;
    this.changed();
  }

  get moving() {
    return this.held.size > 0 || this.flight !== null;
  }

  // Move for what is held and what flies; dt in s.
  step(dt) {
    if (this.flight) this.fly(performance.now());
    if (!this.held.size) return;
    const ahead = new T.Vector3().subVectors(this.controls.target, this.three.position).setZ(0);
    if (ahead.lengthSq() < 1e-6) ahead.set(0, 1, 0);
    ahead.normalize();
    const right = new T.Vector3(ahead.y, -ahead.x, 0), move = new T.Vector3();
    for (const code of this.held) {
      const [forward, side, up] = KEYS[code];
      move.addScaledVector(ahead, forward).addScaledVector(right, side).add(new T.Vector3(0, 0, this.walking ? 0 : up));
    }
    const reach = this.walking ? 1 : Math.max(1, this.three.position.distanceTo(this.controls.target) / 8);
    move.multiplyScalar(WALK_MPS * (this.fast ? RUN : 1) * reach * Math.min(dt, 0.1));
    this.three.position.add(move);
    this.controls.target.add(move);
    this.controls.update();
  }

  walk(on) {
    this.walking = on;
    const { target } = this.controls;
    const ahead = new T.Vector3().subVectors(target, this.three.position).normalize();
    if (on) {
      this.three.position.z = EYE_M;
      ahead.setZ(0).normalize();
      target.copy(this.three.position).addScaledVector(ahead, 0.5);
    } else target.copy(this.three.position).addScaledVector(ahead, 12);
    this.controls.rotateSpeed = on ? -0.35 : 1;
    this.controls.maxPolarAngle = on ? Math.PI * 0.85 : Math.PI * 0.495;
    this.controls.enableZoom = this.controls.enablePan = !on;
    this.controls.minDistance = on ? 0.5 : 0.4;
    this.controls.update();
    this.changed();
  }

  // Look at a box (centre and size in m) from the side and above, far enough to see it whole.
  flyTo(centre, size, from = [-0.55, -0.75, 0.45]) {
    if (this.walking) this.walk(false);
    const reach = Math.max(Math.hypot(...size), 0.5) * 1.5;
    const to = new T.Vector3(...centre);
    this.flight = {
      from: [this.three.position.clone(), this.controls.target.clone()], start: performance.now(),
      to: [to.clone().addScaledVector(new T.Vector3(...from).normalize(), reach), to],
    };
    if (still.matches) this.flight.start = -Infinity;
    this.changed();
  }

  fly(now) {
    const { from, to, start } = this.flight;
    const t = Math.min((now - start) / FLY_MS, 1), ease = 1 - (1 - t) ** 3;
    this.three.position.lerpVectors(from[0], to[0], ease);
    this.controls.target.lerpVectors(from[1], to[1], ease);
    this.controls.update();
    if (t === 1) this.flight = null;
  }

  place(numbers) {
    this.flight = null;
    this.three.position.set(...numbers.slice(0, 3));
    this.controls.target.set(...numbers.slice(3, 6));
    this.controls.update();
  }

  get placed() {
    return [...this.three.position.toArray(), ...this.controls.target.toArray()].map((v) => Math.round(v * 100) / 100);
  }
}
