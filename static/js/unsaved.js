// <form data-unsaved>: the browser asks before a page is left with something typed and not sent.

let unsaved = false;

document.addEventListener("input", (event) => { unsaved ||= Boolean(event.target.closest("[data-unsaved]")); });
document.addEventListener("submit", () => { unsaved = false; });
addEventListener("beforeunload", (event) => { if (unsaved) event.preventDefault(); });
