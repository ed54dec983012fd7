/* The steps that run in the browser, without the server. */
window.dash_clientside = window.dash_clientside || {};
window.dash_clientside.explorer = {
  copy: async function (clicks, code) {
    try {
      await navigator.clipboard.writeText(code);
      return "Copied";
    } catch (error) {
      /* Browsers allow the clipboard only on loopback or https: show and select the code. */
      const block = document.getElementById("code-block");
      block.open = true;
      window.getSelection().selectAllChildren(document.getElementById("code"));
      return "Selected: press Ctrl + C";
    }
  },

  arrive: function (tab) {
    /* Stop the jobs of a closed tab. */
    window.addEventListener("pagehide", function () {
      navigator.sendBeacon("/gone/" + tab);
    });
    /* Dash names its dropdowns by their value only; screen readers need the label too. */
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
    /* A field sends its value when it loses focus. */
    if (document.activeElement && document.activeElement.blur) document.activeElement.blur();
    setTimeout(function () { document.getElementById("go").click(); }, 50);
  }
});
