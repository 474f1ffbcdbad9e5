// A recording's page: plays it, draws where it stands on the bar, exports a clip and checks what is in the store.

import { $, ask, duration, refresh, size } from "./page.js";

const KEEP_BYTES = 1.5e9; // a larger file goes to the browser's own downloads
const REFRESH_MS = 10_000;

/** "90", "1:30", "1:02:03" in seconds; NaN for anything else. */
export function seconds(text) {
  if (!/^\d+(:\d{1,2}){0,2}(\.\d+)?$/.test(text.trim())) return NaN;
  return text.trim().split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

function player(video) {
  if (window.Hls && Hls.isSupported()) {
    const hls = new Hls({ startPosition: 0, autoStartLoad: false });
    hls.on(Hls.Events.ERROR, (_, data) => { if (data.fatal) hls.destroy(); });
    hls.loadSource(video.dataset.play);
    hls.attachMedia(video);
    const load = () => hls.startLoad(0);
    video.addEventListener("play", load, { once: true });
    video.addEventListener("seeking", load, { once: true });
    hls.on(Hls.Events.MANIFEST_PARSED, load);
  } else {
    video.src = video.dataset.play;
  }
}

function bar(video, total) {
  const svg = $("#bar"), cursor = $("#bar-cursor"), range = $("#bar-range");
  const from = $("#from"), to = $("#to");
  video.addEventListener("timeupdate", () => cursor.setAttribute("x", String(Math.min(998, (video.currentTime / total) * 1000))));
  svg.addEventListener("click", (event) => {
    const box = svg.getBoundingClientRect();
    video.currentTime = ((event.clientX - box.left) / box.width) * total;
    video.play().catch(() => {});
  });
  const show = () => {
    const start = seconds(from.value), end = seconds(to.value);
    const isRange = end > start && (start > 0 || end < total - 1);
    range.setAttribute("x", String(isRange ? (start / total) * 1000 : 0));
    range.setAttribute("width", String(isRange ? (Math.min(end, total) - start) / total * 1000 : 0));
  };
  for (const field of [from, to]) field.addEventListener("input", show);
  document.addEventListener("click", (event) => {
    const mark = event.target.closest("[data-mark]"), seek = event.target.closest("[data-seek]");
    if (mark) { $(`#${mark.dataset.mark}`).value = duration(video.currentTime); show(); }
    if (seek) {
      video.currentTime = Math.max(0, Number(seek.dataset.seek) - 3);
      video.play().catch(() => {});
      video.scrollIntoView({ block: "nearest" });
    }
  });
}

function exporting(total) {
  const form = $("#export"), progress = $("progress", form), words = $("#export-words"), error = $(".error", form);
  const cancel = $("#export-cancel"), save = $("#export-save"), clip = $("#clip");
  let stop = null, made = "";
  const fail = (text) => { error.textContent = text; error.hidden = !text; };

  const read = async (url, signal) => {
    const response = await fetch(url, { signal });
    if (!response.ok) throw new Error((await response.json()).error.message);
    const length = Number(response.headers.get("Content-Length"));
    const name = /filename="([^"]+)"/.exec(response.headers.get("Content-Disposition") ?? "")?.[1] ?? "clip.mp4";
    const pieces = [], began = performance.now();
    let got = 0;
    for (const reader = response.body.getReader(); ;) {
      const { done, value } = await reader.read();
      if (done) break;
      pieces.push(value);
      got += value.length;
      progress.value = length ? got / length : 0;
      const rate = got / ((performance.now() - began) / 1000);
      words.textContent = `${size(got)} of ${size(length)}, ${Math.ceil((length - got) / rate)} s to go`;
    }
    if (length && got !== length) throw new Error("The export broke off. Try again; the log says why.");
    return { file: new Blob(pieces, { type: "video/mp4" }), name, length: Number(response.headers.get("X-Export-Duration")) };
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const from = seconds(form.elements.from.value), to = seconds(form.elements.to.value);
    if (Number.isNaN(from) || Number.isNaN(to)) { fail("Write times as 12:30 or 1:02:03."); return; }
    if (to <= from) { fail("The end must come after the beginning."); return; }
    fail("");
    const query = new URLSearchParams({ from: String(from) });
    if (to < Math.floor(total)) query.set("to", String(to)); // else up to the very end
    const url = `${form.getAttribute("action")}?${query}`;
    const button = event.submitter ?? $("button[type=submit]", form);
    button.disabled = true;
    save.hidden = clip.hidden = true;
    progress.value = 0;
    words.textContent = "Being made…";
    $("#export-progress").hidden = progress.hidden = cancel.hidden = false;
    stop = new AbortController();
    try {
      const asked = await fetch(url, { method: "HEAD", signal: stop.signal });
      const bytes = Number(asked.headers.get("Content-Length"));
      if (asked.ok && bytes > KEEP_BYTES) {
        words.textContent = `${size(bytes)}: the browser’s downloads show how far it is.`;
        location.assign(url);
        return;
      }
      const { file, name, length } = await read(url, stop.signal);
      URL.revokeObjectURL(made);
      made = URL.createObjectURL(file);
      save.href = clip.src = made;
      save.download = name;
      save.hidden = clip.hidden = false;
      words.textContent = `Ready: ${duration(length)}, ${size(file.size)}.`;
    } catch (problem) {
      $("#export-progress").hidden = true;
      fail(problem.name === "AbortError" ? "" : problem.message);
    } finally {
      button.disabled = false;
      progress.hidden = cancel.hidden = true;
    }
  });
  cancel.addEventListener("click", () => stop?.abort());
}

function verifying(id) {
  const path = `/api/v1/recordings/${id}/verify`;
  const button = $("#verify"), words = $("#check-words"), progress = $("#check-progress");
  const tones = { good: "good", bad: "bad", unknown: "warn" };
  const show = (check) => {
    const isRunning = check.state === "running" || check.state === "waiting";
    words.dataset.tone = tones[check.state] ?? "idle";
    words.textContent = check.state === "running" && check.total ? `Checked ${check.done} of ${check.total} objects` : check.words;
    progress.hidden = !isRunning;
    progress.value = check.total ? check.done / check.total : 0;
    $("#check").dataset.state = check.state;
    $("#check-problems").replaceChildren(...check.problems.map((problem) => {
      const item = document.createElement("li");
      item.textContent = problem;
      return item;
    }));
    if (button) button.disabled = isRunning;
    if (isRunning) setTimeout(look, 500);
  };
  const look = async () => {
    try { show(await ask("GET", path)); } catch (error) { show({ state: "unknown", words: error.message, problems: [] }); }
  };
  button?.addEventListener("click", async () => {
    try { show(await ask("POST", path)); } catch (error) { show({ state: "unknown", words: error.message, problems: [] }); }
  });
  if (["running", "waiting"].includes($("#check").dataset.state)) look();
}

export function recording({ recording: id, total, state }) {
  const video = $("video[data-play]");
  player(video);
  bar(video, Number(total));
  exporting(Number(total));
  verifying(id);
  if (state === "recording") setInterval(() => { if (!document.hidden) refresh("gaps"); }, REFRESH_MS);
}
