// The scene as something to take along: a picture with what it shows written into it, or a file of another program.
import { named, originName, timeText } from "./scene-panel.js";

const FOOT_PX = 40;

function save(blob, name) {
  const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 5000);
}

// A file of another program (form: glb, usdc), as asked; gives why the server cannot make it, "" where it does, null for silence.
export async function saveFile(form, asked) {
  const answer = await fetch(`/api/v1/scene.${form}?${new URLSearchParams(asked)}`).catch(() => null);
  if (!answer) return null;
  if (!answer.ok) return (await answer.json().catch(() => ({}))).detail || String(answer.status);
  save(await answer.blob(), `scene.${form}`);
  return "";
}

// The canvas as PNG: what colours mean and when it was stand below it.
export function savePicture(from, site, head) {
  const made = Object.assign(document.createElement("canvas"), { width: from.width, height: from.height + FOOT_PX });
  const pen = made.getContext("2d");
  pen.fillStyle = "#ffffff";
  pen.fillRect(0, 0, made.width, made.height);
  pen.drawImage(from, 0, 0);
  pen.fillStyle = "#000000";
  pen.font = "18px system-ui, sans-serif";
  const scales = Object.entries(head.scales).slice(0, 3).map(([kind, [low, high]]) => `${named(kind)} ${low}…${high} ${head.unit}`).join(" · ");
  pen.fillText(`${site} · ${named(head.colour)} · ${originName(head.origin)} · ${timeText(head.time)} · ${scales}`, 12, made.height - 13);
  made.toBlob((blob) => save(blob, `scene-${head.colour}.png`), "image/png");
}
