// What changes while a page is open: server-sent events, and where those do not come through, a look every few seconds.

import { $, $$, fill, localTimes, merge, moment, refresh } from "./page.js";

const SILENT_MS = 6000; // no first word within this: something on the way keeps events to itself
const POLL_MS = 4000;
const LOG_KEPT = 500;

/** Calls `told(state, difference)` whenever something is new. */
export function listen(query, told, polled) {
  let state = {}, source, silent, polling;
  const note = $("#connection");
  const begin = () => {
    state = {};
    const log = $("[data-after]");
    source = new EventSource(`/api/v1/pulse?${query}${log ? `&log=1&after=${log.dataset.after}` : ""}`);
    silent = setTimeout(poll, SILENT_MS);
    source.addEventListener("state", (event) => {
      heard();
      const difference = JSON.parse(event.data);
      merge(state, difference);
      told(state, difference);
    });
    source.addEventListener("log", (event) => { heard(); addEvent(JSON.parse(event.data)); });
    source.addEventListener("gone", () => location.assign("/"));
    source.addEventListener("open", () => { state = {}; }); // what comes after a new connection is whole
    source.addEventListener("error", lost);
  };
  const heard = () => {
    clearTimeout(silent);
    clearInterval(polling);
    polling = undefined;
    note.textContent = "";
    document.body.classList.remove("stale");
  };
  const complain = () => {
    note.textContent = "No answer from the relay. Trying again…";
    document.body.classList.add("stale");
  };
  const lost = async () => {
    if (polling === undefined) complain();
    if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
    source.close();
    clearTimeout(silent);
    try {
      const response = await fetch("/api/v1/events?after=999999999999");
      if (response.status === 401) { location.assign("/sign-in"); return; }
      if (response.ok) poll(); // it answers, only not with events
    } catch { /* still away */ }
    setTimeout(begin, polling === undefined ? 2000 : 15_000);
  };
  const poll = () => {
    clearTimeout(silent);
    polling ??= setInterval(async () => {
      try {
        await polled();
        note.textContent = "";
        document.body.classList.remove("stale");
      } catch {
        complain();
      }
    }, POLL_MS);
  };
  begin();
}

function addEvent(event) {
  const list = $("[data-log]"), holder = $("[data-after]");
  if (!list || Number(holder.dataset.after) >= event.number) return;
  holder.dataset.after = event.number;
  $("[data-log-empty]").hidden = true;
  const item = document.createElement("li");
  item.dataset.level = event.level;
  const add = (tag, className, text) => {
    const node = document.createElement(tag);
    node.className = className;
    node.textContent = text;
    item.append(node, " ");
    return node;
  };
  const time = add("time", "", moment(new Date(event.at), "log"));
  time.dateTime = event.at;
  time.dataset.style = "log";
  if ($("[data-page=log]")) add("span", "log-channel", event.channel);
  const words = add("span", "log-words", event.words);
  if (event.details) {
    const details = document.createElement("span");
    details.className = "soft";
    details.textContent = ` ${event.details}`;
    words.append(details);
  }
  list.prepend(item);
  while (list.children.length > LOG_KEPT) list.lastElementChild.remove();
}

export function home() {
  const rows = () => new Map($$("[data-channel]").map((row) => [row.dataset.channel, row]));
  let recorded = "";
  listen("", (state, difference) => {
    const found = rows();
    let isOther = found.size !== Object.keys(state).length;
    for (const [name, fields] of Object.entries(difference)) {
      if (!found.has(name) || fields === null) isOther = true;
      else fill(found.get(name), fields);
    }
    if (isOther) refresh("channels");
    const now = Object.values(state).map((channel) => channel.state).join();
    if (recorded && now !== recorded) setTimeout(() => refresh("recordings"), 1500);
    recorded = now;
  }, () => refresh("channels", "recordings"));
  setInterval(() => { if (!document.hidden) refresh("recordings"); }, 10_000);
}

export function channel(name, { onState, onSample }) {
  const places = () => [$(".title[data-channel]"), $(".columns")];
  const show = (fields) => { for (const place of places()) fill(place, fields); };
  const warn = (warnings) => {
    const list = $("[data-list=warnings]");
    list.hidden = !warnings.length;
    list.replaceChildren(...warnings.map((words) => {
      const item = document.createElement("li");
      item.textContent = words;
      return item;
    }));
  };
  let recording;
  listen(`channel=${encodeURIComponent(name)}`, (state, difference) => {
    show(difference);
    if (difference.warnings) warn(difference.warnings);
    if (difference.state) onState(state.state);
    if (difference.sample) onSample(difference.sample);
    if (difference.destinations) {
      const shown = new Map($$("[data-destination-name]").map((item) => [item.dataset.destinationName, item]));
      const names = Object.keys(state.destinations);
      let isOther = names.length !== shown.size || names.some((one) => !shown.has(one));
      for (const [one, fields] of Object.entries(difference.destinations)) {
        const item = shown.get(one);
        if (!item || fields === null) { isOther = true; continue; }
        const was = $("[data-field=state]", item).textContent;
        fill(item, fields);
        if (fields.state && (was === "paused") !== (fields.state === "paused")) isOther = true; // other buttons
      }
      if (isOther) refresh("destinations");
    }
    if (recording !== undefined && state.recording !== recording) setTimeout(() => refresh("recordings"), 1000);
    recording = state.recording;
  }, async () => {
    const response = await fetch(location.href);
    const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
    const fields = {};
    for (const place of [$(".title[data-channel]", fresh), $(".columns", fresh)]) {
      for (const node of $$("[data-field]", place)) fields[node.dataset.field] = node.textContent;
      for (const node of $$("[data-tone-field]", place)) fields[node.dataset.toneField] = node.dataset.tone;
    }
    show(fields);
    onState(fields.state);
    await refresh("destinations");
  });
  setInterval(() => { if (!document.hidden) refresh("recordings"); }, 10_000);
}

export function log() {
  listen("", () => {}, () => location.reload());
  localTimes();
}
