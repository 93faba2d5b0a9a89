// Taking an incident, silencing an alert's asset (or name, where it is about none) and ending a silence, over the on-call API; what came of it is said.
import { say, store } from "./shell.js";

const form = document.getElementById("hands");
const said = document.getElementById("said");
form.by.value = store.get("who") || "";
form.addEventListener("submit", (event) => event.preventDefault());
form.by.addEventListener("change", () => store.set("who", form.by.value));

async function ask(path, method, body) {
  const headers = { "content-type": "application/json" };
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (!answer.ok) throw new Error((await answer.json().catch(() => ({}))).detail || `${answer.status}`);
}

const DEEDS = {
  take: (id, by) => ask(`/api/v1/oncall/incidents/${encodeURIComponent(id)}/acknowledge`, "POST", { by, note: form.reason.value }),
  silence: (matcher, by) => {
    if (!form.reason.value) throw new Error(say("Say why"));
    const end = new Date(Date.now() + Number(form.hours.value) * 3600e3).toISOString();
    return ask("/api/v1/oncall/silences", "POST", { matchers: [matcher], author: by, reason: form.reason.value, end });
  },
  end: (id, by) => ask(`/api/v1/oncall/silences/${encodeURIComponent(id)}?by=${encodeURIComponent(by)}`, "DELETE"),
};

document.getElementById("page").addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  try {
    const by = form.by.value.trim();
    if (!by) {
      form.by.focus();
      throw new Error(say("Say who you are first"));
    }
    await DEEDS[button.dataset.do](button.dataset.id, by);
    said.textContent = say("done");
  } catch (error) {
    said.textContent = error.message;
  }
});
