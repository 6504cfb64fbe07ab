// The page's own script: keys, the stream of changes, and the line that says what became of an answer.
// Everything works without it, by links and forms; it only saves hands and reloads.
(function () {
  "use strict";

  const KEYS = { a: "incident", e: "expected", n: "new_normal", f: "false_alarm" };

  // Rows, and where the keys act. The row that has the focus, else the last one that had it, else the first.
  let lastRow = null;
  const picks = () => Array.from(document.querySelectorAll("#live .pick"));

  function current() {
    const item = document.querySelector("article.item[data-row]");
    if (item) return item;
    const active = document.activeElement && document.activeElement.closest("[data-row]");
    if (active) return active;
    const rows = Array.from(document.querySelectorAll("#live [data-row]"));
    return rows.find((row) => row.dataset.row === lastRow) || rows[0] || null;
  }

  function move(step) {
    const all = picks();
    if (!all.length) return;
    const active = document.activeElement && document.activeElement.closest(".row");
    let at = active ? all.findIndex((one) => active.contains(one)) : -1;
    if (at < 0) {
      const row = all.findIndex((one) => (one.closest("[data-row]") || {}).dataset?.row === lastRow);
      at = row >= 0 ? row : step > 0 ? -1 : 0;
    }
    const next = all[Math.min(Math.max(at + step, 0), all.length - 1)];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }

  function answer(value) {
    const row = current();
    const form = document.querySelector("form.answers[data-main]") || (row && row.querySelector("form.answers"));
    const button = form && form.querySelector(`button[value="${value}"]`);
    if (button) button.click();
  }

  function undo() {
    const row = current();
    const button = document.querySelector("#said [data-undo]") || (row && row.querySelector("[data-undo]"));
    if (button) button.click();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const at = event.target;
    const isTyping = at.closest("input:not([type=checkbox]), textarea, select, [contenteditable]");
    if (event.key === "Escape" && isTyping) return at.blur();
    if (isTyping || document.querySelector("dialog[open]") || event.repeat && event.key in KEYS) return;
    const act = {
      j: () => move(1), k: () => move(-1), u: undo, g: () => location.assign("/"),
      "/": () => document.getElementById("q").focus(), "?": () => document.getElementById("keys").showModal(),
    }[event.key] || (KEYS[event.key] && (() => answer(KEYS[event.key])));
    if (!act) return;
    event.preventDefault();
    act();
  });

  document.addEventListener("focusin", (event) => {
    const row = event.target.closest && event.target.closest("[data-row]");
    if (!row) return;
    lastRow = row.dataset.row;
    document.querySelectorAll(".row.here").forEach((one) => one.classList.remove("here"));
    if (row.classList.contains("row")) row.classList.add("here");
  });

  // A live part that was fetched anew keeps the focus, what was unfolded and what was ticked.
  let kept = null;
  document.addEventListener("htmx:beforeSwap", (event) => {
    if (event.detail.target.id !== "live") return;
    const live = event.detail.target, active = document.activeElement, rows = picks();
    const row = active && live.contains(active) ? active.closest("[data-row]") : null;
    kept = {
      row: row && row.dataset.row,
      at: row ? rows.findIndex((one) => row.contains(one)) : -1,
      open: Array.from(live.querySelectorAll("details")).map((one) => one.open),
      ticked: Array.from(live.querySelectorAll("input:checked")).map((one) => one.value),
    };
  });
  document.addEventListener("htmx:afterSettle", (event) => {
    const live = document.getElementById("live");
    if (!kept || !live || event.detail.target.id === "said") return;
    const was = kept;
    kept = null;
    live.querySelectorAll("details").forEach((one, at) => { if (was.open[at]) one.open = true; });
    live.querySelectorAll("input[type=checkbox]").forEach((one) => { one.checked = was.ticked.includes(one.value); });
    if (was.at >= 0) {
      const rows = picks();
      const same = rows.find((one) => (one.closest("[data-row]") || {}).dataset?.row === was.row);
      const next = same || rows[Math.min(was.at, rows.length - 1)];
      if (next) next.focus({ preventScroll: true });
    }
    window.graftCharts && window.graftCharts(live);
    tell();
  });

  // What became of an answer. A refusal comes as an error with the same line in it.
  let leaving = null;
  function said() {
    clearTimeout(leaving);
    const toast = document.querySelector("#said .toast");
    if (!toast) return;
    const isUndoable = toast.querySelector("[data-undo]");
    leaving = setTimeout(() => { toast.remove(); }, 1000 * Math.max(toast.dataset.stay || 0, isUndoable ? 4 : 6));
  }
  function say(text) {
    const line = document.createElement("p");
    const toast = document.createElement("div");
    toast.className = "toast bad";
    line.textContent = text;
    toast.append(line);
    document.getElementById("said").replaceChildren(toast);
    said();
  }
  document.addEventListener("htmx:afterSwap", (event) => { if (event.detail.target.id === "said") said(); });
  document.addEventListener("htmx:responseError", (event) => {
    const box = document.getElementById("said"), text = event.detail.xhr.responseText;
    if (text.startsWith('<div class="toast')) { box.innerHTML = text; htmx.process(box); said(); }
    else say(text.startsWith("<") ? "The page could not be read; it is tried again." : text);
  });
  document.addEventListener("htmx:sendError", (event) => {
    if (event.detail.target.id !== "live") say("Graft did not answer. Is it still running?");
  });
  document.addEventListener("click", (event) => { if (event.target.closest(".toast .close")) event.target.closest(".toast").remove(); });

  // The stream of changes. A page that nobody looks at waits until somebody does.
  let isStale = false;
  function refresh() {
    if (document.hidden) { isStale = true; return; }
    isStale = false;
    if (document.getElementById("live")) htmx.trigger(document.body, "changed");
  }
  document.addEventListener("visibilitychange", () => { if (isStale) refresh(); });
  function listen() {
    const stream = new EventSource("/events");
    let wasLost = false;
    stream.addEventListener("changed", refresh);
    stream.addEventListener("error", () => { wasLost = true; document.body.classList.add("lost"); });
    stream.addEventListener("open", () => { document.body.classList.remove("lost"); if (wasLost) { wasLost = false; refresh(); } });
    window.addEventListener("pagehide", () => stream.close());
    window.addEventListener("pageshow", (event) => { if (event.persisted) { listen(); refresh(); } });
  }

  // Times that say how long ago.
  function length(ms) {
    let seconds = Math.round(Math.max(0, ms) / 1000);
    const parts = [];
    for (const [size, name] of [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]) {
      const count = Math.floor(seconds / size);
      seconds %= size;
      if (count || parts.length) parts.push(count ? `${count} ${name}` : "");
    }
    return parts.slice(0, 2).filter(Boolean).join(" ") || "0 s";
  }
  function tell() {
    const now = Date.now();
    document.querySelectorAll("[data-ago]").forEach((one) => { if (one.dataset.ago) one.textContent = `${length(now - one.dataset.ago)} ago`; });
    document.querySelectorAll("[data-since]").forEach((one) => { one.textContent = length(now - one.dataset.since); });
  }
  setInterval(tell, 15000);

  // On a phone the row of pages is wider than the screen.
  const here = document.querySelector(".top nav [aria-current]");
  if (here) here.parentElement.scrollLeft = here.offsetLeft - here.parentElement.offsetLeft - 40;

  if (!document.querySelector(".login")) listen();
})();
