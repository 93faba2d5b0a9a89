// In the bar: who is signed in, with a way out, where people sign in at all.
import { say } from "./shell.js";

const box = document.getElementById("who");
const answer = await fetch("/api/v1/access/me").catch(() => null);
const me = answer?.ok ? await answer.json() : null;
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
}
