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
