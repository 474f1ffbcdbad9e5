"use strict";
// Keeps the channel list current and plays what is asked for. Everything from the server is put in as text.

const UPDATE_MS = 2000;
const WHOLE_EVERY = 5; // updates between looks at the rest of the page

function play(video, source) {
  video.hidden = false;
  if (video.player) video.player.destroy();
  if (window.Hls && Hls.isSupported()) {
    const player = new Hls({ liveSyncDurationCount: 2 });
    video.player = player;
    player.on(Hls.Events.ERROR, (_, data) => {
      if (!data.fatal) return;
      const words = data.details === "manifestIncompatibleCodecsError" || data.details === "bufferAddCodecError"
        ? "This browser cannot play the codec of this stream. Try another, or VLC with the address under “In a player”."
        : "Nothing to play yet, or the connection broke. Try again in a few seconds.";
      tell(video, words);
      player.destroy();
    });
    player.loadSource(source);
    player.attachMedia(video);
  } else {
    video.src = source;
  }
  video.play().catch(() => {}); // the browser may want a tap first: the controls are there
}

function tell(video, words) {
  let note = video.nextElementSibling;
  if (!note || !note.classList.contains("error")) {
    note = document.createElement("p");
    note.className = "error";
    video.after(note);
  }
  note.textContent = words;
}

function cell(text, className) {
  const element = document.createElement("td");
  if (className) element.className = className;
  element.textContent = text;
  return element;
}

function badge(state) {
  const element = document.createElement("span");
  element.className = `state ${state}`;
  element.textContent = state;
  return element;
}

function show(section, channel) {
  const field = (name) => section.querySelector(`[data-field=${name}]`);
  field("state").className = `state ${channel.state}`;
  field("state").textContent = channel.state;
  if (channel.source && field("source")) {
    field("source").className = `state ${channel.source.state}`;
    field("source").textContent = channel.source.state;
    field("source-error").textContent = channel.source.last_error;
  }
  field("publisher").textContent = channel.publisher
    ? `${channel.publisher.address} (${channel.publisher.encoder || "unknown encoder"})`
    : channel.state === "holding" ? "away: destinations are held meanwhile" : "nobody yet";
  field("health").textContent = channel.state === "offline" ? "–" : channel.health.words;
  field("held").textContent = channel.held_s ? `${channel.held_s.toFixed(0)} s in all` : "–";
  const warnings = channel.lint.map((finding) => `${finding.destination}: ${finding.words}`);
  if (channel.is_contested) warnings.unshift("Two encoders keep taking this key from each other: stop one of them.");
  if (channel.recording_paused) warnings.unshift("Recording is paused: the disk is nearly full.");
  field("warnings").replaceChildren(...warnings.map((words) => {
    const item = document.createElement("li");
    item.textContent = words;
    return item;
  }));
  field("media").textContent = channel.tracks
    .map((track) => track.kind === "video"
      ? `${track.codec} ${track.width}×${track.height}` : `${track.codec} ${track.sample_rate} Hz`).join(", ");
  if (!channel.destinations.length) return; // what to do about that stands there
  field("destinations").replaceChildren(...channel.destinations.map((destination) => {
    const row = document.createElement("tr");
    const state = document.createElement("td");
    state.append(badge(destination.state));
    row.append(cell(destination.name), state,
      cell(`${(destination.bytes_sent / 1e6).toFixed(1)} MB`, "number"), cell(destination.last_error));
    return row;
  }));
}

// Takes over what the server would show now, but leaves alone what somebody watches or has opened.
async function updateWhole() {
  const response = await fetch("/");
  if (!response.ok || response.redirected) return;
  const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
  document.getElementById("recordings").replaceWith(fresh.getElementById("recordings"));
  const shape = (page) => [...page.querySelectorAll("[data-channel]")]
    .map((section) => `${section.dataset.channel} ${section.querySelectorAll("tbody tr").length}`).join();
  const busy = document.querySelector("video:not([hidden]), details[open]");
  if (!busy && shape(document) !== shape(fresh)) location.reload();
}

async function update() {
  const response = await fetch("/api/v1/channels");
  if (response.status === 401) { location.href = "/sign-in"; return; }
  const { channels } = await response.json();
  for (const channel of channels) {
    const section = document.querySelector(`[data-channel="${CSS.escape(channel.name)}"]`);
    if (section) show(section, channel);
  }
}

for (const button of document.querySelectorAll("[data-play]")) {
  button.addEventListener("click", () => play(button.closest("section").querySelector("video"), button.dataset.play));
}
for (const video of document.querySelectorAll("video[data-source]")) play(video, video.dataset.source);
if (document.getElementById("recordings")) {
  let updates = 0;
  const loop = async () => {
    try {
      await update();
      if (++updates % WHOLE_EVERY === 0) await updateWhole();
      document.body.classList.remove("stale");
    } catch {
      document.body.classList.add("stale"); // the next update makes up for it
    }
    setTimeout(loop, UPDATE_MS);
  };
  loop();
}
