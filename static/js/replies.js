// Choosing a canned reply writes it into the box beside it, for editing. Without JavaScript the server uses it as it is.
for (const select of document.querySelectorAll("select[data-replies]")) {
  select.addEventListener("change", () => {
    const chosen = select.selectedOptions[0];
    const box = document.getElementById(select.dataset.replies);
    if (chosen?.dataset.text) box.value = box.value.trim() ? `${box.value.trim()}\n\n${chosen.dataset.text}` : chosen.dataset.text;
    select.value = "";
    box.focus();
  });
}

// A decision that needs a reason and has none yet leads to the box instead of to an error.
for (const form of document.querySelectorAll(".decide form")) {
  form.addEventListener("submit", (event) => {
    const box = form.querySelector("textarea");
    if (event.submitter?.value === "approve" || box.value.trim()) return;
    event.preventDefault();
    box.placeholder = "Say why: the contributor needs a reason to go on.";
    box.focus();
  });
}
