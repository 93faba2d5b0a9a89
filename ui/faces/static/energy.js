// Yes and no to plans that wait for a person. A yes is asked twice: it moves a real plant.
import { say, store } from "./shell.js";

const form = document.getElementById("hands");
const said = document.getElementById("said");
const sure = document.getElementById("sure");
let key = "";

form.by.value = store.get("who") || "";
form.addEventListener("submit", (event) => event.preventDefault());
form.by.addEventListener("change", () => store.set("who", form.by.value));
const answer = await fetch("/api/v1/access/me").catch(() => null);
const me = answer?.ok ? await answer.json() : null;
if (me?.mode === "accounts") Object.assign(form.by, { value: me.name, readOnly: true }); // the server counts who is signed in

async function tell(what) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ by: form.by.value.trim(), why: form.reason.value });
  const told = await fetch(`/api/v1/plans/${encodeURIComponent(key)}/${what}`, { method: "POST", headers, body });
  if (!told.ok) throw new Error((await told.json().catch(() => ({}))).detail || `${told.status}`);
  return say(what === "approve" ? "said yes: the desk acts within seconds" : "said no: the plan leaves the desk");
}

const saying = (what) => tell(what).then((done) => (said.textContent = done)).catch((error) => (said.textContent = error.message));

document.getElementById("page").addEventListener("click", (event) => {
  const button = event.target.closest("button[data-do]");
  if (!button) return;
  if (!form.by.value.trim()) {
    form.by.focus();
    said.textContent = say("Say who you are first");
    return;
  }
  key = button.dataset.id;
  if (button.dataset.do === "reject") return void saying("reject");
  document.getElementById("what").textContent = button.closest(".row").firstElementChild.textContent;
  sure.showModal();
});

sure.addEventListener("click", (event) => {
  const chosen = event.target.closest("button")?.value;
  if (!chosen) return;
  sure.close();
  if (chosen === "yes") saying("approve");
});
