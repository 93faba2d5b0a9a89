// Sends the form of sign-in as JSON and goes on to the page that was asked for.
const form = document.getElementById("sign-in");
const said = document.getElementById("said");
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  said.textContent = "";
  try {
    const answer = await fetch("/api/v1/access/sign-in", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ name: form.elements.name.value, password: form.elements.password.value }),
    });
    if (answer.ok) {
      location.assign(form.dataset.next);
      return;
    }
    said.textContent = (await answer.json()).detail;
  } catch (error) {
    said.textContent = String(error.message || error);
  } finally {
    button.disabled = false;
  }
  form.elements.password.value = "";
  form.elements.password.focus();
});
