"use strict";
// Before anything is painted: the colours somebody chose. Dark is the default; the button goes on to light, and to the system's own.
(() => {
  const root = document.documentElement;
  const names = { dark: "Dark", light: "Light", system: "As the system" };
  const kept = (change) => { try { return change(localStorage); } catch { return null; } }; // there may be no storage
  const chosen = kept((storage) => storage.getItem("theme"));
  root.dataset.theme = chosen in names ? chosen : "dark";
  document.addEventListener("DOMContentLoaded", () => {
    const button = document.getElementById("theme");
    const tell = () => {
      button.title = `Colours: ${names[root.dataset.theme].toLowerCase()}`;
      button.setAttribute("aria-label", button.title);
    };
    tell();
    button.addEventListener("click", () => {
      const order = Object.keys(names);
      root.dataset.theme = order[(order.indexOf(root.dataset.theme) + 1) % order.length];
      kept((storage) => storage.setItem("theme", root.dataset.theme));
      tell();
    });
  });
})();
