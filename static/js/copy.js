// Copy buttons. `data-copy` alone copies the <pre> or <input> beside it; `data-copy="#id"` copies that element.

const announcer = document.createElement("p");
announcer.className = "visually-hidden";
announcer.setAttribute("role", "status");
document.body.append(announcer);

function textFor(button) {
  const source = button.dataset.copy
    ? document.querySelector(button.dataset.copy)
    : button.parentElement.querySelector("pre, input, textarea, code");
  return source ? (source.value ?? source.textContent).replace(/\n$/, "") : "";
}

async function write(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // plain http on another machine: no clipboard API there
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser refused");
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  const use = button.querySelector("use");
  const before = use?.getAttribute("href");
  try {
    await write(textFor(button));
    announcer.textContent = "Copied";
    button.dataset.copied = "";
    use?.setAttribute("href", before.replace(/#.*/, "#check"));
  } catch {
    announcer.textContent = "Copying did not work; select the text and copy it by hand.";
    use?.setAttribute("href", before.replace(/#.*/, "#circle-x"));
  }
  setTimeout(() => {
    delete button.dataset.copied;
    announcer.textContent = "";
    if (before) use.setAttribute("href", before);
  }, 1600);
});
