// Keys for those who like them; a box in the sheet switches all but ? off (WCAG 2.1.4).
"use strict";
(() => {
  for (const each of document.querySelectorAll(".scripted")) each.hidden = false;
  const sheet = document.getElementById("key-sheet");
  const box = document.getElementById("keys-on");
  const stored = "dashboard.keys";
  const tabs = [...document.querySelectorAll(".tabs a[data-key]")];
  let awaitsPage = false;
  let lastChoice = "";

  const go = (key) => tabs.find((tab) => tab.dataset.key === key)?.click();
  const search = () => document.getElementById("search")?.focus() ?? go("j");
  const renew = () => document.getElementById("renew")?.click();
  const toggleLive = () => {
    const choice = document.getElementById("refresh");
    if (!choice) return;
    [lastChoice, choice.value] = [choice.value, choice.value === "0" ? lastChoice || choice.options[0].value : "0"];
    choice.dispatchEvent(new Event("change"));
  };
  const tickRow = () => document.activeElement?.closest("tr")?.querySelector("input[type=checkbox]")?.click();
  const actions = { "/": search, r: renew, p: toggleLive, x: tickRow };
  const isField = (element) => element.closest("input:not([type=checkbox]), select, textarea, [contenteditable]");

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isField(event.target) || sheet.open) return;
    if (event.key === "?") sheet.showModal();
    else if (!box.checked) return;
    else if (awaitsPage) go(event.key);
    else if (actions[event.key]) {
      event.preventDefault();
      actions[event.key]();
    }
    awaitsPage = event.key === "g";
  });
  document.getElementById("keys")?.addEventListener("click", () => sheet.showModal());
  box.checked = localStorage.getItem(stored) !== "off";
  box.addEventListener("change", () => localStorage.setItem(stored, box.checked ? "on" : "off"));
})();
