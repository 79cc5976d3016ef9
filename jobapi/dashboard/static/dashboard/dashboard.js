// Renews the region of a page: as often as the viewer chose, and never while it is in use.
"use strict";
(() => {
  const region = document.getElementById("region");
  if (!region) return;
  const choice = document.getElementById("refresh");
  const updated = document.getElementById("updated");
  const said = document.getElementById("said");
  const stored = "dashboard.refresh";
  let timer = 0;
  let failures = 0;
  let busy = false;
  let scrolled = [];

  const isSelecting = () => {
    const selection = getSelection();
    return selection && !selection.isCollapsed && region.contains(selection.anchorNode);
  };
  const isInUse = () =>
    document.hidden || document.querySelector("dialog[open]") || isSelecting() ||
    region.querySelector("details[open], input:checked") || region.querySelector("input:focus, select:focus, textarea:focus");

  const later = () => {
    clearTimeout(timer);
    const pause = Number(choice.value) * 1000 * Math.min(2 ** failures, 8);
    if (pause) timer = setTimeout(tick, pause * (0.9 + 0.2 * Math.random()));
  };
  const tick = () => {
    if (busy || isInUse()) later();
    else htmx.trigger(region, "tick");
  };
  const say = (text) => {
    if (said.textContent !== text) said.textContent = text;
  };
  const alarms = () => document.getElementById("alarms")?.innerText.trim() ?? "";
  let known = alarms();

  document.body.addEventListener("htmx:configRequest", (event) => {
    if (event.detail.elt === region) event.detail.headers["If-None-Match"] = region.dataset.etag;
  });
  document.body.addEventListener("htmx:beforeRequest", (event) => {
    if (event.detail.elt === region) busy = true;
  });
  document.body.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.elt !== region) return;
    if (!event.detail.xhr.getResponseHeader("ETag")) { // not the region: the log-in page, most likely
      event.detail.shouldSwap = false;
      if (event.detail.xhr.status === 200) location.reload();
    } else if (isInUse()) event.detail.shouldSwap = false;
    scrolled = [...region.querySelectorAll(".scroll[id]")].map((each) => [each.id, each.scrollLeft]);
  });
  document.body.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt !== region) return;
    busy = false;
    failures = event.detail.successful ? 0 : failures + 1;
    if (failures) updated.textContent = "Live update failed, retrying";
    else updated.textContent = `As of ${new Date().toISOString().slice(11, 19)} UTC`;
    if (failures === 1) say(updated.textContent);
    later();
  });
  document.body.addEventListener("htmx:afterSwap", (event) => {
    if (event.detail.elt !== region) return;
    region.dataset.etag = event.detail.xhr.getResponseHeader("ETag");
    for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo({ left });
    if (alarms() !== known) say((known = alarms()) || "All alarms are over.");
  });
  document.addEventListener("visibilitychange", () => document.hidden || !Number(choice.value) || tick());
  choice.addEventListener("change", () => {
    localStorage.setItem(stored, choice.value);
    later();
  });

  const before = localStorage.getItem(stored);
  if ([...choice.options].some((option) => option.value === before)) choice.value = before;
  later();
})();
