// Keyboard. Every key presses something visible: `data-key="a"` on a button or link gives it the key a.
// `data-row` marks the rows that j and k walk over, `data-row-link` the link that o opens. ? lists what works here.

const dialog = document.getElementById("keys-dialog");
let current = null;

const visible = (element) => element.getClientRects().length > 0 && !element.disabled;
const typing = (element) => element.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");

function move(step) {
  const rows = [...document.querySelectorAll("[data-row]")].filter(visible);
  if (!rows.length) return;
  const focused = rows.findIndex((row) => row.contains(document.activeElement));
  const at = focused >= 0 ? focused : rows.indexOf(current);
  mark(rows[Math.min(Math.max(at + step, 0), rows.length - 1)]);
}

function mark(row) {
  current?.removeAttribute("aria-current");
  current = row;
  row.setAttribute("aria-current", "true");
  const target = row.querySelector("[data-row-link]") ?? row;
  if (target === row) row.tabIndex = -1;
  target.focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function help() {
  const section = document.getElementById("keys-here");
  const list = section.querySelector("dl");
  list.replaceChildren();
  for (const element of document.querySelectorAll("[data-key]")) {
    if (!visible(element)) continue;
    const key = document.createElement("kbd");
    key.textContent = element.dataset.key;
    const term = document.createElement("dt");
    term.append(key);
    const words = document.createElement("dd");
    const copy = element.cloneNode(true);
    for (const inner of copy.querySelectorAll("kbd, svg")) inner.remove();
    words.textContent = element.getAttribute("aria-label") ?? copy.textContent.trim();
    list.append(term, words);
  }
  section.hidden = !list.children.length;
  dialog.showModal();
}

document.addEventListener("keydown", (event) => {
  const target = event.target instanceof Element ? event.target : document.body;
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      if (menu.contains(target)) menu.querySelector("summary").focus();
    }
    if (target.id === "site-search") target.blur();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing || typing(target) || dialog.open) return;
  if (event.key === "/") document.getElementById("site-search")?.select();
  else if (event.key === "?") help();
  else if (event.key === "j") move(1);
  else if (event.key === "k") move(-1);
  else if (event.key === "o") {
    const link = current?.isConnected && current.querySelector("[data-row-link]");
    if (!link) return;
    link.click();
  } else {
    const button = [...document.querySelectorAll(`[data-key="${CSS.escape(event.key)}"]`)].find(visible);
    if (!button) return;
    button.focus();
    button.click();
  }
  event.preventDefault();
});

document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (!menu.contains(event.target)) menu.open = false;
  }
  if (event.target.closest("[data-open-keys]")) help();
  if (event.target === dialog) dialog.close();
});

document.querySelector("[aria-invalid=true]")?.focus(); // after a refused form: the first field to mend
