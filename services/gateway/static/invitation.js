const field = document.getElementById("invitation");
if (location.hash.length > 1) {
  field.value = decodeURIComponent(location.hash.slice(1));
  history.replaceState(null, "", location.pathname);
}
field.closest("div").hidden = field.value !== "";
(document.getElementById("problem") ?? document.getElementById("name")).focus();
