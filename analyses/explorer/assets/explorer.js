/* The little that the browser does by itself. */
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.explorer = {
  copy: async function (clicks, code) {
    try {
      await navigator.clipboard.writeText(code);
      return "Copied";
    } catch (error) {
      /* Browsers hand out the clipboard on loopback or https alone: show the lines, selected. */
      const block = document.getElementById("code-block");
      block.open = true;
      window.getSelection().selectAllChildren(document.getElementById("code"));
      return "Selected: press Ctrl + C";
    }
  },
};

document.addEventListener("keydown", function (event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    /* A field tells of its change when it is left. */
    if (document.activeElement && document.activeElement.blur) document.activeElement.blur();
    setTimeout(function () { document.getElementById("go").click(); }, 50);
  }
});
