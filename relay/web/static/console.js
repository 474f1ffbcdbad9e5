"use strict";
// Keeps the channel list current and plays what is asked for. Everything from the server is put in as text.

const UPDATE_MS = 2000;

function play(video, source) {
  video.hidden = false;
  if (video.player) video.player.destroy();
  if (window.Hls && Hls.isSupported()) {
    const player = new Hls({ liveSyncDurationCount: 2 });
    video.player = player;
    player.on(Hls.Events.ERROR, (_, data) => {
      if (!data.fatal) return;
      const words = data.details === "manifestIncompatibleCodecsError" || data.details === "bufferAddCodecError"
        ? "This browser cannot play the codec of this stream. Try another browser, or VLC with the playback URL."
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
  field("publisher").textContent = channel.publisher
    ? `${channel.publisher.address} (${channel.publisher.encoder || "unknown encoder"})` : "nobody yet";
  field("media").textContent = channel.tracks
    .map((track) => track.kind === "video"
      ? `${track.codec} ${track.width}×${track.height}` : `${track.codec} ${track.sample_rate} Hz`).join(", ");
  if (!channel.destinations.length) return;
  field("destinations").replaceChildren(...channel.destinations.map((destination) => {
    const row = document.createElement("tr");
    const state = document.createElement("td");
    state.append(badge(destination.state));
    row.append(cell(destination.name), state,
      cell(`${(destination.bytes_sent / 1e6).toFixed(1)} MB`, "number"), cell(destination.last_error));
    return row;
  }));
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
if (document.querySelector("[data-channel]")) {
  const loop = () => update().catch(() => {}).finally(() => setTimeout(loop, UPDATE_MS)); // a missed update is made up by the next
  loop();
}
