// In the bar: no links to pages that are not for whoever looks; who is signed in, with a way out, where people sign in at all; and what they chose to see it in, in any browser.
import { choose, say } from "./shell.js";

const box = document.getElementById("who");
const answer = await fetch("/api/v1/access/me").catch(() => null);
const me = answer?.ok ? await answer.json() : null;
const ROLES = ["nobody", "viewer", "operator", "engineer", "admin"];
if (me) for (const link of document.querySelectorAll("nav [data-needs]"))
  if (ROLES.indexOf(me.role) < ROLES.indexOf(link.dataset.needs)) link.remove();
if (box && me?.mode === "accounts" && me.sort === "session") {
  const out = document.createElement("button");
  out.type = "button";
  out.dataset.t = "Sign out";
  out.textContent = say("Sign out");
  out.addEventListener("click", async () => {
    await fetch("/api/v1/access/sign-out", { method: "POST", headers: { "content-type": "application/json" }, body: "{}" });
    location.assign("/sign-in");
  });
  const name = document.createElement("a");
  name.href = "/account";
  name.textContent = `${me.name} (${say(me.role)})`;
  box.append(name, " ", out);
  const path = "/api/v1/access/choices";
  let newer = false; // than what the server tells
  document.addEventListener("icctwin-choice", ({ detail }) => {
    newer = true;
    const headers = { "content-type": "application/json" };
    // the page may be left; and this browser keeps it all the same
    fetch(path, { method: "PUT", headers, body: JSON.stringify(detail), keepalive: true }).catch(() => null);
  });
  const kept = await fetch(path).catch(() => null);
  if (kept?.ok && !newer) choose(await kept.json());
}
