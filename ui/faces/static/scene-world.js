// One world of the scene: instanced boxes by level, pipes, cables, marks. Two of them stand side by side for a what-if; they share
// all geometry and differ in their bytes. Colours are looked up in the shader: a tick copies bytes and computes nothing.
import * as T from "./vendor/three.js";
import { Ghosts } from "./scene-ghosts.js";
import { FLOOR, GPU, HALL, HIDDEN, NODE, RACK, TRAY, blank } from "./scene-data.js";

const ROUND = new Set(["tower", "pump"]);
const BOX_VERTEX = `
  attribute vec3 centre; attribute vec3 extent; attribute float tint; attribute float mark;
  uniform float flat_; uniform float swell; varying vec3 vColour; varying float vMark;
  uniform sampler2D lut;
  void main() {
    vec3 size = extent * swell; vec3 middle = centre;
    middle.z -= extent.z * (1.0 - flat_) * 0.5; size.z *= flat_;
    float side = abs(normal.z) > 0.5 ? (normal.z > 0.0 ? 1.0 : 0.5) : mix(0.72, 0.86, abs(normal.x));
    vColour = texture2D(lut, vec2((tint + 0.5) / 256.0, 0.5)).rgb * side;
    vMark = mark;
    gl_Position = projectionMatrix * viewMatrix * vec4(middle + position * size, 1.0);
  }`;
const BOX_FRAGMENT = `
  varying vec3 vColour; varying float vMark; uniform float dim; uniform vec3 ground;
  void main() { gl_FragColor = vec4(vMark < 0.5 ? mix(vColour, ground, dim) : vColour, 1.0); }`;
const PIPE_VERTEX = `
  attribute vec3 a; attribute vec3 b; attribute float wide; attribute float along; attribute float tint; attribute float flow;
  attribute float mark; varying vec3 vColour; varying float vAlong; varying float vFlow; varying float vMark; varying float vShade;
  uniform sampler2D lut;
  void main() {
    vec3 axis = b - a; vec3 dir = axis / max(length(axis), 1e-4);
    vec3 u = normalize(cross(dir, abs(dir.z) < 0.9 ? vec3(0.0, 0.0, 1.0) : vec3(1.0, 0.0, 0.0))); vec3 v = cross(dir, u);
    float t = position.y + 0.5; vec3 out_ = u * position.x + v * position.z;
    vColour = texture2D(lut, vec2((tint + 0.5) / 256.0, 0.5)).rgb;
    vShade = 0.78 + 0.22 * out_.z; vAlong = along + t * length(axis); vFlow = flow; vMark = mark;
    gl_Position = projectionMatrix * viewMatrix * vec4(a + axis * t + out_ * wide, 1.0);
  }`;
const PIPE_FRAGMENT = `
  varying vec3 vColour; varying float vAlong; varying float vFlow; varying float vMark; varying float vShade;
  uniform float time; uniform float dim; uniform vec3 ground;
  void main() {
    float share = vFlow > 250.5 ? 0.0 : vFlow / 250.0;
    float band = share > 0.004 ? smoothstep(0.55, 0.75, fract(vAlong * 0.7 - time * 1.4 * share)) : 0.0;
    vec3 colour = vColour * vShade * (1.0 + 0.45 * band);
    gl_FragColor = vec4(vMark < 0.5 ? mix(colour, ground, dim) : colour, 1.0);
  }`;

const attribute = (array, size) => new T.InstancedBufferAttribute(array, size);

export function texture(table) {
  const made = new T.DataTexture(table, 256, 1, T.RGBAFormat);
  made.magFilter = made.minFilter = T.NearestFilter;
  made.needsUpdate = true;
  return made;
}

// What both worlds share: which boxes are drawn by which mesh, and the segments of pipe.
export function partsOf(scene) {
  const sets = { plate: [], rack: [], unit: [], round: [], node: [], part: [], tray: [] };
  for (let i = 0; i < scene.n; i++) {
    const level = scene.level[i], kind = scene.kindOf(i);
    if (level === HALL) sets.plate.push(i);
    else if (level === RACK) sets[kind === "rack" ? "rack" : ROUND.has(kind) ? "round" : "unit"].push(i);
    else if (level === NODE) sets[kind === "node" ? "node" : "part"].push(i);
    else if (level === HIDDEN && !kind) sets.tray.push(i);
  }
  return { sets, pipes: segments(scene) };
}

function segments(scene) {
  const a = [], b = [], wide = [], along = [], run = [];
  const at = (k) => scene.pipe_points.subarray(3 * k, 3 * k + 3);
  for (let i = 0; i < scene.pipe_side.length; i++) {
    let gone = 0;
    for (let k = scene.pipe_first[i]; k < scene.pipe_first[i + 1] - 1; k++) {
      const [p, q] = [at(k), at(k + 1)];
      a.push(...p);
      b.push(...q);
      wide.push(scene.pipe_radius[i]);
      along.push(gone);
      run.push(i);
      gone += Math.hypot(q[0] - p[0], q[1] - p[1], q[2] - p[2]);
    }
  }
  return { a: new Float32Array(a), b: new Float32Array(b), wide: new Float32Array(wide), along: new Float32Array(along), run };
}

export class World {
  constructor(scene, parts, shared) {
    this.scene = scene;
    this.parts = parts;
    this.shared = shared;
    this.bytes = blank(scene);
    this.three = new T.Scene();
    this.uniforms = { lut: { value: shared.lut }, water: { value: shared.water }, dim: { value: 0 }, ground: { value: shared.ground }, time: { value: 0 } };
    this.meshes = {};
    this.box = new T.BoxGeometry(1, 1, 1);
    const round = new T.CylinderGeometry(0.5, 0.5, 1, 20).rotateX(Math.PI / 2);
    for (const [name, which] of Object.entries(parts.sets)) this.meshes[name] = this.boxes(name === "round" ? round : this.box, which);
    for (const [name, byte] of [["plate", FLOOR], ["tray", TRAY]]) {
      this.house = [...(this.house || []), this.meshes[name]];
      this.meshes[name].userData.tint.array.fill(byte);
      delete this.meshes[name];
    }
    this.meshes.gpu = null;
    this.frames = this.edges(parts.sets.rack);
    this.pipes = this.pipeMesh();
    this.cables = this.lines(scene.cable, shared.line, 0.35);
    this.lit = this.lines(new Float32Array(0), shared.accent, 1);
    this.pulse = this.overlay(shared.bad, 1.06, 0.55);
    this.chosen = this.overlay(shared.accent, 1.03, 0.2);
    this.three.add(this.frames, this.pipes, this.cables, this.lit, this.pulse, this.chosen);
  }

  geometry(shape, which) {
    const { centre, size } = this.scene;
    const pick = (array) => {
      const made = new Float32Array(3 * which.length);
      which.forEach((i, k) => made.set(array.subarray(3 * i, 3 * i + 3), 3 * k));
      return made;
    };
    const made = new T.InstancedBufferGeometry();
    made.index = shape.index;
    for (const name of ["position", "normal"]) if (shape.attributes[name]) made.setAttribute(name, shape.attributes[name]);
    made.setAttribute("centre", attribute(pick(centre), 3));
    made.setAttribute("extent", attribute(pick(size), 3));
    made.instanceCount = which.length;
    return made;
  }

  boxes(shape, which) {
    const geometry = this.geometry(shape, which);
    const tint = attribute(new Uint8Array(which.length).fill(255), 1), mark = attribute(new Uint8Array(which.length), 1);
    geometry.setAttribute("tint", tint);
    geometry.setAttribute("mark", mark);
    const material = new T.ShaderMaterial({
      vertexShader: BOX_VERTEX, fragmentShader: BOX_FRAGMENT,
      uniforms: { ...this.uniforms, flat_: { value: 1 }, swell: { value: 1 } },
    });
    const mesh = new T.Mesh(geometry, material);
    mesh.frustumCulled = false;
    mesh.visible = which.length > 0;
    Object.assign(mesh.userData, { which, tint, mark, run: runOf(which) });
    this.three.add(mesh);
    return mesh;
  }

  // GPUs of these halls (rows), and of no other.
  openHalls(halls) {
    const which = [];
    const span = this.scene.span, count = this.scene.span.length / 8;
    for (const hall of halls) {
      const at = 2 * (GPU * count + hall);
      for (let i = span[at]; i < span[at + 1]; i++) which.push(i);
    }
    const old = this.meshes.gpu;
    if (old) {
      this.three.remove(old);
      old.geometry.dispose();
      old.material.dispose();
    }
    this.meshes.gpu = this.boxes(this.box, which);
    this.meshes.gpu.visible = false;
  }

  edges(which) {
    const shape = new T.EdgesGeometry(this.box);
    const geometry = this.geometry(shape, which);
    const material = new T.ShaderMaterial({
      vertexShader: "attribute vec3 centre; attribute vec3 extent; void main() { gl_Position = projectionMatrix * viewMatrix * vec4(centre + position * extent, 1.0); }",
      fragmentShader: "uniform vec3 ground; void main() { gl_FragColor = vec4(1.0 - ground * 0.6 - 0.3, 1.0); }",
      uniforms: this.uniforms,
    });
    const made = new T.LineSegments(geometry, material);
    made.frustumCulled = false;
    made.visible = false;
    return made;
  }

  pipeMesh() {
    const { a, b, wide, along, run } = this.parts.pipes;
    const shape = new T.CylinderGeometry(1, 1, 1, 8, 1, true);
    const geometry = new T.InstancedBufferGeometry();
    geometry.index = shape.index;
    geometry.setAttribute("position", shape.attributes.position);
    for (const [name, array, size] of [["a", a, 3], ["b", b, 3], ["wide", wide, 1], ["along", along, 1]]) geometry.setAttribute(name, attribute(array, size));
    for (const name of ["tint", "flow", "mark"]) geometry.setAttribute(name, attribute(new Uint8Array(run.length), 1));
    geometry.instanceCount = run.length;
    const material = new T.ShaderMaterial({ vertexShader: PIPE_VERTEX, fragmentShader: PIPE_FRAGMENT, uniforms: { ...this.uniforms, lut: this.uniforms.water } });
    const mesh = new T.Mesh(geometry, material);
    mesh.frustumCulled = false;
    mesh.visible = run.length > 0;
    return mesh;
  }

  lines(ways, colour, opacity) {
    const geometry = new T.BufferGeometry();
    geometry.setAttribute("position", new T.BufferAttribute(pairs(ways), 3));
    const made = new T.LineSegments(geometry, new T.LineBasicMaterial({ color: colour, transparent: opacity < 1, opacity }));
    made.frustumCulled = false;
    made.visible = ways.length > 0;
    return made;
  }

  overlay(colour, swell, opacity) {
    const material = new T.ShaderMaterial({
      vertexShader: `attribute vec3 centre; attribute vec3 extent; uniform float swell; void main() { gl_Position = projectionMatrix * viewMatrix * vec4(centre + position * (extent * swell + 0.02), 1.0); }`,
      fragmentShader: "uniform vec3 colour; uniform float opacity; void main() { gl_FragColor = vec4(colour, opacity); }",
      uniforms: { colour: { value: colour }, opacity: { value: opacity }, swell: { value: swell } }, transparent: true, depthWrite: false,
    });
    const made = new T.Mesh(this.geometry(this.box, []), material);
    made.frustumCulled = false;
    made.visible = false;
    return made;
  }

  surround(mesh, which) {
    mesh.geometry.dispose();
    mesh.geometry = this.geometry(this.box, which);
    mesh.visible = which.length > 0;
  }

  // Bytes as they came go to the graphics card; boxes of one level lie together, so that this is a copy.
  show() {
    for (const mesh of Object.values(this.meshes)) {
      if (!mesh) continue;
      const { which, tint, run } = mesh.userData;
      if (run) tint.array.set(this.bytes.tint.subarray(run[0], run[1]));
      else for (let k = 0; k < which.length; k++) tint.array[k] = this.bytes.tint[which[k]];
      tint.needsUpdate = true;
    }
    const { tint, flow } = this.pipes.geometry.attributes, run = this.parts.pipes.run;
    for (let k = 0; k < run.length; k++) {
      tint.array[k] = this.bytes.temp[run[k]];
      flow.array[k] = this.bytes.flow[run[k]];
    }
    tint.needsUpdate = flow.needsUpdate = true;
    this.ghosts?.show();
    const firing = [...new Set(this.bytes.pulses.map(([box]) => this.seen(box)).filter((box) => box >= 0))];
    const key = firing.join();
    if (key !== this.firing) {
      this.firing = key;
      this.surround(this.pulse, firing);
    }
  }

  // The box itself, or what holds it where that is too small to be drawn now; -1: nothing.
  seen(box) {
    while (box >= 0 && this.scene.level[box] > (this.level ?? RACK)) box = this.scene.parent[box];
    return box;
  }

  // Racks that a scenario adds ({ids, centre, size}); null: none.
  add(added) {
    this.ghosts?.dispose();
    this.ghosts = added?.ids.length ? new Ghosts(added, this.bytes, this.uniforms, this.shared.accent) : null;
    if (this.ghosts) this.three.add(...this.ghosts.parts);
  }

  // Lights up the ways of power and water of a box ({power, water, cables, runs}); null: nothing is chosen.
  light(box, paths) {
    this.uniforms.dim.value = paths && (paths.power.size || paths.water.size) ? 0.72 : 0;
    for (const mesh of Object.values(this.meshes)) {
      if (!mesh) continue;
      const { which, mark } = mesh.userData;
      for (let k = 0; k < which.length; k++) mark.array[k] = paths && (which[k] === box || paths.power.has(which[k]) || paths.water.has(which[k])) ? 1 : 0;
      mark.needsUpdate = true;
    }
    const { mark } = this.pipes.geometry.attributes, run = this.parts.pipes.run;
    for (let k = 0; k < run.length; k++) mark.array[k] = paths?.runs.has(run[k]) ? 1 : 0;
    mark.needsUpdate = true;
    const cable = this.scene.cable;
    const ways = paths ? [...paths.cables].flatMap((i) => [...cable.subarray(15 * i, 15 * i + 15)]) : [];
    this.lit.geometry.dispose();
    this.lit.geometry = new T.BufferGeometry();
    this.lit.geometry.setAttribute("position", new T.BufferAttribute(pairs(new Float32Array(ways)), 3));
    this.lit.visible = ways.length > 0;
    this.surround(this.chosen, box === null ? [] : [box]);
  }

  // From afar racks are solid; nearer they are frames with their nodes, and nodes trays with their GPUs.
  detail(level) {
    const { rack, node, part, gpu } = this.meshes;
    if (level === this.level) return;
    this.level = level;
    this.firing = null; // what is drawn of alerts depends on the detail
    rack.visible = level < NODE && this.parts.sets.rack.length > 0;
    this.frames.visible = level >= NODE && this.parts.sets.rack.length > 0;
    node.visible = level >= NODE && this.parts.sets.node.length > 0;
    part.visible = level >= NODE && this.parts.sets.part.length > 0;
    node.material.uniforms.flat_.value = level >= GPU ? 0.16 : 1;
    if (gpu) gpu.visible = level >= GPU && gpu.userData.which.length > 0;
  }
}

// Whether boxes follow each other without a gap: then [first, end].
function runOf(which) {
  const n = which.length;
  return n && which[n - 1] - which[0] === n - 1 ? [which[0], which[0] + n] : null;
}

// Polylines of five points as pairs of points.
function pairs(ways) {
  const made = new Float32Array((ways.length / 15) * 24);
  for (let i = 0, to = 0; i < ways.length; i += 15) {
    for (let k = 0; k < 4; k++, to += 6) made.set(ways.subarray(i + 3 * k, i + 3 * k + 6), to);
  }
  return made;
}
