// Racks that a scenario adds: see-through boxes with a bright outline where they would stand. They are no assets of the site, so
// that they have numbers after all of its boxes.
import * as T from "./vendor/three.js";

const VERTEX = `
  attribute vec3 centre; attribute vec3 extent; attribute float tint; uniform sampler2D lut; varying vec3 vColour;
  void main() {
    float side = abs(normal.z) > 0.5 ? (normal.z > 0.0 ? 1.0 : 0.5) : mix(0.72, 0.86, abs(normal.x));
    vColour = texture2D(lut, vec2((tint + 0.5) / 256.0, 0.5)).rgb * side;
    gl_Position = projectionMatrix * viewMatrix * vec4(centre + position * extent, 1.0);
  }`;
const FRAGMENT = "varying vec3 vColour; void main() { gl_FragColor = vec4(vColour, 0.62); }";
const LINE_VERTEX = `
  attribute vec3 centre; attribute vec3 extent;
  void main() { gl_Position = projectionMatrix * viewMatrix * vec4(centre + position * (extent + 0.02), 1.0); }`;
const LINE_FRAGMENT = "uniform vec3 colour; void main() { gl_FragColor = vec4(colour, 1.0); }";

export class Ghosts {
  // added: {ids, centre, size}; bytes: of the world that they stand in; its uniforms give the colours.
  constructor(added, bytes, uniforms, accent) {
    this.bytes = bytes;
    this.tint = new T.InstancedBufferAttribute(new Uint8Array(added.ids.length).fill(255), 1);
    const box = new T.BoxGeometry(1, 1, 1);
    const of = (shape) => {
      const made = new T.InstancedBufferGeometry();
      made.index = shape.index;
      for (const name of ["position", "normal"]) if (shape.attributes[name]) made.setAttribute(name, shape.attributes[name]);
      made.setAttribute("centre", new T.InstancedBufferAttribute(new Float32Array(added.centre), 3));
      made.setAttribute("extent", new T.InstancedBufferAttribute(new Float32Array(added.size), 3));
      made.setAttribute("tint", this.tint);
      made.instanceCount = added.ids.length;
      return made;
    };
    const solid = new T.ShaderMaterial({ vertexShader: VERTEX, fragmentShader: FRAGMENT, uniforms, transparent: true, depthWrite: false });
    const lines = new T.ShaderMaterial({ vertexShader: LINE_VERTEX, fragmentShader: LINE_FRAGMENT, uniforms: { colour: { value: accent } } });
    this.parts = [new T.Mesh(of(box), solid), new T.LineSegments(of(new T.EdgesGeometry(box)), lines)];
    for (const part of this.parts) part.frustumCulled = false;
  }

  show() {
    this.tint.array.set(this.bytes.added.subarray(0, this.tint.array.length));
    this.tint.needsUpdate = true;
  }

  dispose() {
    for (const part of this.parts) {
      part.removeFromParent();
      part.geometry.dispose();
      part.material.dispose();
    }
  }
}
