"use strict";
// Before anything is painted: the colours somebody chose. Without a choice the system's wish is followed; dark is the default.
(() => {
  const root = document.documentElement;
  const kept = (change) => { try { return change(localStorage); } catch { return null; } }; // there may be no storage
  const chosen = kept((storage) => storage.getItem("theme"));
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
  document.addEventListener("DOMContentLoaded", () => {
    document.getElementById("theme").addEventListener("click", () => {
      const now = root.dataset.theme ?? (matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
      root.dataset.theme = now === "light" ? "dark" : "light";
      kept((storage) => storage.setItem("theme", root.dataset.theme));
    });
  });
})();
