// Loaded in the head and blocking, so that the first paint has the right colours. Everything else is a module.
(() => {
  "use strict";
  const root = document.documentElement;
  root.classList.add("js");
  const kept = () => {
    try { return localStorage.getItem("theme"); } catch { return null; }
  };
  const apply = (choice) => {
    if (choice === "light" || choice === "dark") root.dataset.theme = choice;
    else delete root.dataset.theme;
    for (const button of document.querySelectorAll("[data-theme-choice]")) {
      button.setAttribute("aria-pressed", String(button.dataset.themeChoice === (choice || "system")));
    }
  };
  apply(kept());
  addEventListener("DOMContentLoaded", () => apply(kept()));
  addEventListener("storage", (event) => { if (event.key === "theme") apply(event.newValue); });
  addEventListener("click", (event) => {
    const button = event.target instanceof Element && event.target.closest("[data-theme-choice]");
    if (!button) return;
    const choice = button.dataset.themeChoice;
    try {
      if (choice === "system") localStorage.removeItem("theme");
      else localStorage.setItem("theme", choice);
    } catch { /* private windows may refuse to keep it; it holds for this page */ }
    apply(choice);
  });
})();
