// Begins what the page at hand needs.

import { $, localTimes, refresh } from "./page.js";
import { begin, add } from "./chart.js";
import { destinations } from "./destination.js";
import { forms } from "./forms.js";
import { preview } from "./preview.js";
import * as pulse from "./pulse.js";
import { recording } from "./recording.js";
import { secrets } from "./secrets.js";

localTimes();
forms();
const page = $("[data-page]");
if (page?.dataset.page === "home") pulse.home();
if (page?.dataset.page === "log") pulse.log();
if (page?.dataset.page === "recordings") setInterval(() => { if (!document.hidden) refresh("recordings"); }, 10_000);
if (page?.dataset.page === "recording") recording(page.dataset);
if (page?.dataset.page === "channel") {
  const name = page.dataset.channel;
  const play = preview();
  secrets(name);
  destinations();
  begin(name).catch(() => {}); // the pulse goes on without the past
  pulse.channel(name, {
    onState: (state) => {
      play(state);
      $("[data-newest]").textContent = state === "offline" ? "the end" : "now";
    },
    onSample: add,
  });
}
document.body.dataset.ready = "yes";
