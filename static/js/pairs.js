// A slider beside a number: `data-pair` names the field that is sent; each follows the other.

document.addEventListener("input", (event) => {
  const slider = event.target.closest("[data-pair]");
  if (slider) {
    document.getElementById(slider.dataset.pair).value = slider.value;
    return;
  }
  if (!event.target.id) return;
  const partner = document.querySelector(`[data-pair="${CSS.escape(event.target.id)}"]`);
  if (partner && event.target.value !== "") partner.value = event.target.value;
});
