// Forms and buttons that speak to the API: data-api="METHOD path", data-body, data-then, data-confirm.

import { $, $$, ask, confirmed, refresh, toast } from "./page.js";

/** A form's fields as JSON: "a.b" nests, data-type says what they are; empty numbers are null. */
export function values(form) {
  const body = {};
  for (const field of form.elements) {
    if (!field.name || field.disabled || (field.type === "radio" && !field.checked)) continue;
    const path = field.name.split(".");
    let at = body;
    for (const part of path.slice(0, -1)) at = at[part] ??= {};
    let value = field.value;
    if (field.dataset.type === "number" || field.type === "number") value = value === "" ? null : Number(value);
    if (field.dataset.type === "boolean") value = value === "true";
    at[path.at(-1)] = value;
  }
  return body;
}

export function say(form, words) {
  const note = $(".error", form);
  note.textContent = words;
  note.hidden = !words;
  if (words) note.scrollIntoView({ block: "nearest" });
}

/** Where to go once something is done: a path with {fields}, "reload", "refresh:ids", "toast:words". */
export async function proceed(then, body) {
  if (!then) return;
  if (then === "reload") location.reload();
  else if (then.startsWith("refresh:")) await refresh(...then.slice(8).split(","));
  else if (then.startsWith("toast:")) toast(then.slice(6));
  else location.assign(then.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(body[name])));
}

async function submit(event) {
  const form = event.target.closest("form[data-api]");
  if (!form) return;
  event.preventDefault();
  const [method, path] = form.dataset.api.split(" ");
  let body = values(form);
  if ("source" in form.dataset && !body.source.url) body = { source: null };
  const button = event.submitter;
  if (button) button.disabled = true;
  say(form, "");
  try {
    await ask(method, path, body);
    await proceed(form.dataset.then, body);
  } catch (error) {
    say(form, error.message);
  } finally {
    if (button) button.disabled = false;
  }
}

async function press(event) {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.open) document.getElementById(button.dataset.open).showModal();
  if ("close" in button.dataset) button.closest("dialog").close();
  if (!button.dataset.api) return;
  const { confirm, words, yes, api, body, then } = button.dataset;
  if (confirm && !(await confirmed(confirm, words, yes))) return;
  const [method, path] = api.split(" ");
  button.disabled = true;
  try {
    await ask(method, path, body ? JSON.parse(body) : undefined);
    button.blur();
    await proceed(then, {});
  } catch (error) {
    toast(error.message);
  } finally {
    button.disabled = false;
  }
}

export function forms() {
  document.addEventListener("submit", submit);
  document.addEventListener("click", press);
  for (const select of $$("select[data-submit]")) select.addEventListener("change", () => select.form.submit());
}
