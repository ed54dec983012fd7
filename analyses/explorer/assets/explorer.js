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

  arrive: function (tab) {
    /* What a closed tab has asked for need not be found. */
    window.addEventListener("pagehide", function () {
      navigator.sendBeacon("/gone/" + tab);
    });
    /* Dash names its lists by their value alone; a reader of screens wants the label too. */
    document.querySelectorAll("label[for]").forEach(function (label) {
      const control = document.getElementById(label.htmlFor);
      if (control && control.classList.contains("dash-dropdown")) {
        control.setAttribute("aria-labelledby", label.id + " " + label.htmlFor + "-value");
      }
    });
    document.querySelectorAll(".field > .label").forEach(function (label) {
      label.nextElementSibling.setAttribute("aria-labelledby", label.id);
    });
  },
};

document.addEventListener("keydown", function (event) {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    /* A field tells of its change when it is left. */
    if (document.activeElement && document.activeElement.blur) document.activeElement.blur();
    setTimeout(function () { document.getElementById("go").click(); }, 50);
  }
});
