// What the 3D twin uses of three.js (MIT): a bundle leaves the rest out.
export {
  AmbientLight, Box3, BoxGeometry, BufferAttribute, BufferGeometry, Color, CylinderGeometry, DataTexture, DirectionalLight, DoubleSide,
  EdgesGeometry, Float32BufferAttribute, Group, InstancedBufferAttribute, InstancedBufferGeometry, LinearFilter, LineBasicMaterial,
  LineSegments, Matrix4, Mesh, MeshBasicMaterial, MOUSE, NearestFilter, OrthographicCamera, PerspectiveCamera, PlaneGeometry,
  RGBAFormat, Scene, ShaderMaterial, Sphere, Texture, TOUCH, Vector2, Vector3, WebGLRenderer,
} from "three";
export { OrbitControls } from "three/addons/controls/OrbitControls.js";
