// Keeps the page as the relay says: by server-sent events, by asking where those do not come through.
"use strict";
(() => {
  const base = document.body.dataset.base, name = document.body.dataset.name;
  const ASK_MS = 5000, SILENT_MS = 25000, AGAIN_MS = 30000;
  const at = (id) => document.getElementById(id);
  let heard = Date.now(), source = null, asking = null, again = null, over = false;
  document.documentElement.classList.add("js");

  const put = (id, text) => { const node = at(id); if (node.textContent !== text) node.textContent = text; };

  function place(key, value) {
    const list = at("places");
    let row = [...list.children].find((item) => item.dataset.key === key);
    if (!value) { if (row) row.remove(); return; }
    if (!row) {
      row = document.createElement("li");
      row.dataset.key = key;
      row.append(document.createElement("b"), document.createElement("span"));
      list.append(row);
    }
    row.className = value[1];
    row.children[0].textContent = value[0];
    row.children[1].textContent = value[2];
  }

  function show(news) {
    heard = Date.now();
    at("stale").hidden = true;
    for (const id of ["head", "sub", "link", "advice", "recorded", "safe", "gaps"]) if (id in news) put(id, news[id]);
    if ("tone" in news) at("state").className = "state " + news.tone;
    if ("advice" in news) at("advice-row").hidden = !news.advice;
    if ("head" in news) document.title = name + ": " + news.head;
    for (const [key, value] of Object.entries(news.places || {})) place(key, value);
    at("none").hidden = at("places").children.length > 0;
  }

  function end() {
    over = true;
    stop();
    show({tone: "idle", head: "This link is closed", sub: "Ask for a new one. Your stream goes on as it is."});
  }

  async function ask() {
    try {
      const answer = await fetch(base + "/state", {cache: "no-store", signal: AbortSignal.timeout(ASK_MS * 2)});
      if (answer.status === 404) end();
      else if (answer.ok) {
        const all = await answer.json();
        for (const row of [...at("places").children]) if (!(row.dataset.key in all.places)) row.remove();
        show(all);
      }
    } catch { /* the clock below sees that nothing comes */ }
  }

  function stop() {
    if (source) source.close();
    clearInterval(asking);
    clearTimeout(again);
    source = asking = again = null;
  }

  // Ask until events come through again, which is tried every half minute.
  function fail() {
    stop();
    if (over || document.hidden) return;
    ask();
    asking = setInterval(ask, ASK_MS);
    again = setTimeout(listen, AGAIN_MS);
  }

  function listen() {
    if (over || document.hidden) return;
    const mine = source = new EventSource(base + "/events");
    mine.onmessage = (event) => { clearInterval(asking); asking = null; show(JSON.parse(event.data)); };
    mine.addEventListener("quiet", () => show({}));
    mine.addEventListener("gone", end);
    mine.onerror = () => { if (source === mine) fail(); };
  }

  setInterval(() => {
    if (over || document.hidden || Date.now() - heard < SILENT_MS) return;
    at("stale").hidden = false;
    if (source && asking === null) fail();
  }, 1000);
  // Behind another app it uses none of the link that the stream needs.
  document.addEventListener("visibilitychange", () => {
    stop();
    heard = Date.now();
    listen();
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const node = at(button.dataset.copy);
    let done = false;
    try {
      await navigator.clipboard.writeText(node.textContent);
      done = true;
    } catch {
      getSelection().selectAllChildren(node);
      done = document.execCommand("copy");
    }
    button.textContent = done ? "Copied" : "Press and hold";
    setTimeout(() => { button.textContent = "Copy"; }, 2500);
  });

  listen();
})();
