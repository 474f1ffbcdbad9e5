// Keys, which the page does not hold: they are fetched when somebody wants to see or copy one. And links to watch and to stream by.

import { $, ask, copy, toast } from "./page.js";

const HIDDEN = "••••••••••••";

export function secrets(name) {
  const path = `/api/v1/channels/${encodeURIComponent(name)}`;
  const key = async (which) => (await ask("GET", path))[which];
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const { reveal, copySecret, copy: text, link, share } = button.dataset;
    try {
      if (text) await copy(text);
      if (copySecret) await copy(await key(copySecret));
      if (link) {
        const made = await ask("POST", `${path}/link`, { hours: Number(link) });
        const shown = $("[data-link-shown]");
        shown.textContent = made.watch_url;
        shown.hidden = false;
        await copy(made.watch_url);
      }
      if (share) {
        const made = await ask("POST", `${path}/shares`, { days: Number(share) });
        const shown = $("[data-share-shown]"), hint = $("[data-share-hint]");
        shown.textContent = made.url;
        hint.textContent = made.hint;
        shown.hidden = false;
        hint.hidden = !made.hint;
        await copy(made.url);
      }
      if (reveal) {
        const isShown = button.getAttribute("aria-pressed") === "true";
        $(`[data-secret="${reveal}"]`).textContent = isShown ? HIDDEN : await key(reveal);
        button.setAttribute("aria-pressed", String(!isShown));
        button.textContent = isShown ? "Show" : "Hide";
      }
    } catch (error) {
      toast(error.message);
    }
  });
}
