// The dialog that adds, changes and removes a destination: it asks only for what the platform needs.

import { $, $$, ask, confirmed, refresh, toast } from "./page.js";
import { say, values } from "./forms.js";

const dialog = $("#destination");
const form = dialog && $("form", dialog);
const MOST_BYTES = 20 * 2 ** 20;
const SLATE_HINT = "A picture or clip: one the relay has, or upload one.";
let isOther = false; // another address than the platform's own is wanted
let edited = null; // the destination that is being changed

const part = (name) => $(`[data-part="${name}"]`, form);
const chosen = () => $("input[name=platform]:checked", form);

function fit() {
  const platform = chosen();
  for (const name of ["name", "url", "key"]) part(name).hidden = !platform || (name === "name" && edited !== null);
  $("#destination-save").disabled = !platform;
  if (!platform) { $("#destination-own").hidden = true; return; }
  const { label, url, keyHelp, notes, needsKey, kbps } = platform.dataset;
  const isSame = edited !== null && edited.platform === platform.value;
  const address = form.elements.url, key = form.elements.key;
  address.placeholder = url || (needsKey ? "rtmps://…" : "rtmp://server/app");
  address.required = !url && !isSame;
  $("#destination-url-hint").textContent = isSame ? "Leave it as it is, or write a new one."
    : url ? `Leave it empty for ${label}’s own.` : needsKey ? `${label} shows it beside the key: ${keyHelp}.` : "The server and app; the key may be its last part.";
  key.required = Boolean(needsKey) && !isSame;
  key.placeholder = isSame ? "as before" : "";
  $("#destination-key-hint").textContent = isSame ? "Leave it empty to keep the one that is set." : needsKey ? `It is here: ${keyHelp}.` : `${keyHelp.charAt(0).toUpperCase()}${keyHelp.slice(1)}.`;
  const hasOwn = Boolean(url) && !isSame && !isOther;
  if (hasOwn) address.value = "";
  part("url").hidden = hasOwn;
  $("#destination-own").hidden = !hasOwn;
  $("#destination-own span").textContent = `Sent to ${url.split("?")[0]}.`;
  const note = [kbps, notes].filter(Boolean).join(" ");
  $("#destination-notes").textContent = note;
  $("#destination-notes").hidden = !note;
  if (edited === null && (!form.elements.name.value || form.elements.name.dataset.made)) {
    form.elements.name.value = free(platform.value);
    form.elements.name.dataset.made = "yes";
  }
}

/** A name nobody has yet. */
function free(wanted) {
  const taken = new Set($$("[data-destination-name]").map((item) => item.dataset.destinationName));
  let name = wanted, number = 2;
  while (taken.has(name)) name = `${wanted}-${number++}`;
  return name;
}

function slate() {
  const wanted = form.elements["hold.mode"].value === "slate";
  part("slate").hidden = part("slate-file").hidden = !wanted;
  form.elements["hold.slate"].required = wanted;
  if (wanted) offer();
}

/** The slates there are, as suggestions. */
async function offer() {
  try {
    const { slates } = await ask("GET", "/api/v1/slates");
    $("#slates").replaceChildren(...slates.map(({ name }) => Object.assign(document.createElement("option"), { value: name })));
  } catch (error) {
    say(form, error.message);
  }
}

/** Send the chosen file, and show what becomes of it where its name goes. */
async function upload() {
  const [file] = $("#hold-slate-file").files;
  if (!file) return;
  const hint = $("#hold-slate-hint"), button = $("#destination-save");
  say(form, "");
  if (file.size > MOST_BYTES) {
    say(form, `${file.name} has ${Math.ceil(file.size / 2 ** 20)} MB; 20 are allowed.`);
    return;
  }
  const [, stem, ending] = file.name.match(/^(.*?)(\.[^.]*)?$/);
  const name = (stem.replace(/[^A-Za-z0-9._-]+/g, "-").replace(/^[^A-Za-z0-9]+/, "").slice(0, 95) || "slate") + (ending ?? "").toLowerCase();
  hint.textContent = `Uploading ${file.name}, then trying it …`;
  button.disabled = true;
  try {
    const kept = await ask("PUT", `/api/v1/slates/${encodeURIComponent(name)}`, file);
    form.elements["hold.slate"].value = kept.name;
    hint.textContent = `${kept.name} is uploaded.`;
    await offer();
  } catch (error) {
    hint.textContent = SLATE_HINT;
    say(form, error.message);
  } finally {
    button.disabled = false;
    $("#hold-slate-file").value = "";
  }
}

function open(destination) {
  edited = destination;
  isOther = false;
  form.reset();
  say(form, "");
  $("#hold-slate-hint").textContent = SLATE_HINT;
  delete form.elements.name.dataset.made;
  if (destination) {
    const lay = (value, prefix) => {
      for (const [name, inner] of Object.entries(value)) {
        const field = form.elements[prefix + name];
        if (inner !== null && typeof inner === "object") lay(inner, `${prefix}${name}.`);
        else if (field && inner !== null && !(prefix === "fit." && inner === 0)) field.value = inner;
      }
    };
    lay(destination, "");
    $(`input[name=platform][value="${CSS.escape(destination.platform)}"]`, form).checked = true;
    form.elements.url.value = "";
    form.elements.url.placeholder = destination.url;
  }
  for (const details of $$("details", form)) details.open = false;
  if (destination?.fit) $("#destination-fit").open = true;
  if (destination && (destination.hold.mode !== "freeze" || destination.hold.limit_s !== null)) $("#destination-hold").open = true;
  $("#destination-title").textContent = destination ? `Edit ${destination.name}` : "Add destination";
  $("#destination-save").textContent = destination ? "Save" : "Add destination";
  $("#destination-remove").hidden = !destination;
  fit();
  if (destination) form.elements.url.placeholder = destination.url;
  slate();
  dialog.showModal();
}

/** What is to be sent: options always whole, address and key only where they were written. */
function body() {
  const wanted = values(form);
  const numbers = Object.entries(wanted.fit).filter(([, value]) => value);
  wanted.fit = numbers.length ? Object.fromEntries(numbers) : null;
  if (wanted.hold.mode !== "slate") wanted.hold.slate = "";
  if (edited !== null) {
    delete wanted.name;
    if (!wanted.url) delete wanted.url;
    if (!wanted.key) delete wanted.key;
    if (wanted.platform === edited.platform) delete wanted.platform;
  }
  return wanted;
}

async function save(event) {
  event.preventDefault();
  const button = $("#destination-save");
  button.disabled = true;
  say(form, "");
  try {
    const wanted = body();
    if (edited) await ask("PATCH", `${dialog.dataset.base}/${edited.name}`, wanted);
    else await ask("POST", dialog.dataset.base, wanted);
    dialog.close();
    toast(edited ? `${edited.name} is changed.` : `${wanted.name} is added.`);
    await refresh("destinations");
  } catch (error) {
    say(form, error.message);
  } finally {
    button.disabled = false;
  }
}

async function remove() {
  const { name } = edited;
  dialog.close();
  if (!(await confirmed(`Remove ${name}?`, "The stream there ends at once, and its key is forgotten.", "Remove"))) return;
  try {
    await ask("DELETE", `${dialog.dataset.base}/${name}`);
    toast(`${name} is removed.`);
    await refresh("destinations");
  } catch (error) {
    toast(error.message);
  }
}

export function destinations() {
  if (!dialog) return;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("[data-destination], [data-edit]");
    if (button) open(button.dataset.edit ? JSON.parse(button.dataset.edit) : null);
  });
  $("#destination-other").addEventListener("click", () => { isOther = true; fit(); form.elements.url.focus(); });
  $("#platforms").addEventListener("change", fit);
  form.elements["hold.mode"].addEventListener("change", slate);
  $("#hold-slate-file").addEventListener("change", upload);
  form.elements.name.addEventListener("input", () => { delete form.elements.name.dataset.made; });
  form.addEventListener("submit", save);
  $("#destination-remove").addEventListener("click", remove);
}
