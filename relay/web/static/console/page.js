// What every page of the console uses: asking the relay, saying things, times in the reader's own zone.

export const $ = (selector, within = document) => within.querySelector(selector);
export const $$ = (selector, within = document) => [...within.querySelectorAll(selector)];

/** The relay's answer (JSON, or null for an empty one). Throws an Error with words for people. */
export async function ask(method, path, body) {
  const isFile = body instanceof Blob;
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": isFile ? "application/octet-stream" : "application/json" },
      body: body === undefined || isFile ? body : JSON.stringify(body),
    });
  } catch {
    throw new Error("The relay does not answer. Look whether it runs, then try again.");
  }
  if (response.status === 401) {
    location.assign("/sign-in");
    throw new Error("You are no longer signed in.");
  }
  const text = await response.text();
  if (response.ok) return text ? JSON.parse(text) : null;
  let words = `The relay answered ${response.status}.`;
  try { words = JSON.parse(text).error.message; } catch { /* it was no answer of the API's */ }
  throw new Error(words.charAt(0).toUpperCase() + words.slice(1));
}

let fading;
export function toast(words) {
  const note = $("#toast");
  note.textContent = words;
  note.hidden = false;
  clearTimeout(fading);
  fading = setTimeout(() => { note.hidden = true; }, 5000);
}

/** Resolves to whether somebody said yes. */
export function confirmed(title, words, yes) {
  const dialog = $("#confirm");
  $("#confirm-title").textContent = title;
  $("#confirm-words").textContent = words;
  $("#confirm-yes").textContent = yes;
  dialog.returnValue = "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied.");
  } catch {
    const field = document.createElement("textarea"); // pages that are not secure have no clipboard
    field.value = text;
    document.body.append(field);
    field.select();
    const done = document.execCommand("copy");
    field.remove();
    toast(done ? "Copied." : "The browser does not let this page copy. Show it, and copy it by hand.");
  }
}

/** Puts text into every [data-field] of `within`, and tones into [data-tone-field]. */
export function fill(within, fields) {
  for (const [name, value] of Object.entries(fields)) {
    if (typeof value !== "string" && value !== null) continue;
    for (const node of $$(`[data-field="${CSS.escape(name)}"]`, within)) {
      if (node.textContent !== (value ?? "")) node.textContent = value ?? "";
    }
    for (const node of $$(`[data-tone-field="${CSS.escape(name)}"]`, within)) node.dataset.tone = value;
    for (const node of $$(`[data-hide-empty="${CSS.escape(name)}"]`, within)) node.hidden = !value;
  }
}

/** Lays a difference over what is known: nested, null for what is gone. */
export function merge(known, difference) {
  for (const [name, value] of Object.entries(difference)) {
    const isNested = value !== null && typeof value === "object" && !Array.isArray(value);
    if (value === null) delete known[name];
    else if (isNested && known[name] && typeof known[name] === "object") merge(known[name], value);
    else known[name] = isNested ? merge({}, value) : value;
  }
  return known;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const minutes = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
const day = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const year = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** "Today, 14:05", "Yesterday, 9:10", "3 Nov, 18:00"; for the log "14:05:09". */
export function moment(date, style) {
  const today = new Date();
  const isToday = date.toDateString() === today.toDateString();
  if (style === "log") return isToday ? clock.format(date) : `${day.format(date)}, ${clock.format(date)}`;
  const yesterday = new Date(today.getFullYear(), today.getMonth(), today.getDate() - 1);
  const which = isToday ? "Today"
    : date.toDateString() === yesterday.toDateString() ? "Yesterday"
      : (date.getFullYear() === today.getFullYear() ? day : year).format(date);
  return `${which}, ${minutes.format(date)}`;
}

export function localTimes(within = document) {
  for (const node of $$("time[datetime]", within)) {
    const date = new Date(node.dateTime);
    if (Number.isNaN(date.getTime())) continue;
    node.textContent = moment(date, node.dataset.style);
    node.title = date.toLocaleString();
  }
}

/** "0:07", "12:30", "1:02:03". */
export function duration(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  const pad = (number) => String(number).padStart(2, "0");
  const hours = Math.floor(whole / 3600), mins = Math.floor(whole / 60) % 60;
  return hours ? `${hours}:${pad(mins)}:${pad(whole % 60)}` : `${mins}:${pad(whole % 60)}`;
}

export function size(bytes) {
  for (const [unit, scale, digits] of [["GB", 1e9, 2], ["MB", 1e6, 1], ["kB", 1e3, 0]]) {
    if (bytes >= scale) return `${(bytes / scale).toFixed(digits)} ${unit}`;
  }
  return `${bytes} B`;
}

/** Takes the elements with these ids from a fresh copy of this page, as the server makes it now. The focus stays. */
export async function refresh(...ids) {
  const response = await fetch(location.href);
  if (response.redirected || !response.ok) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const id of ids) {
    const before = document.getElementById(id), after = fresh.getElementById(id);
    if (!before || !after) continue;
    localTimes(after);
    const focused = before.contains(document.activeElement) ? focusable(before).indexOf(document.activeElement) : -1;
    before.replaceWith(document.adoptNode(after));
    if (focused >= 0) (focusable(after)[focused] ?? focusable(after).at(-1))?.focus({ preventScroll: true });
  }
}

const focusable = (within) => $$("a[href], button:not(:disabled), [tabindex='0']", within);
