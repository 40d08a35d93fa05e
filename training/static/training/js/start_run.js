// The page that starts a run: of the parameter tables only the chosen kind's stands open.
const kind = document.getElementById("id_kind");

function openChosen() {
  for (const table of document.querySelectorAll("[data-kind]")) {
    table.open = table.dataset.kind === kind.value;
  }
}

kind.addEventListener("change", openChosen);
openChosen();
