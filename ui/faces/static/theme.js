// Before the first paint: the theme that this browser keeps, or that the address asks for; a page inside a rotation has no bar.
(() => {
  const asked = new URLSearchParams(location.search);
  let kept = null;
  try { kept = localStorage.getItem("icctwin-theme"); } catch { /* a browser that keeps nothing */ }
  const theme = asked.get("theme") || kept || (matchMedia("(prefers-contrast: more)").matches ? "contrast" : "dark");
  const root = document.documentElement;
  root.dataset.theme = ["light", "contrast"].includes(theme) ? theme : "dark";
  if (asked.has("bare")) root.dataset.bare = "";
})();
