// The preview on a channel's page: live, without sound until asked, and not while nobody looks.

import { $ } from "./page.js";

const AGAIN_MS = 2500;

export function preview() {
  const video = $("video[data-live]"), note = $("#preview-note"), sound = $("#sound");
  let player = null, wanted = false, again;

  const say = (words) => { note.textContent = words; note.hidden = !words; };
  const stop = () => {
    clearTimeout(again);
    if (player) player.destroy();
    player = null;
  };
  const start = () => {
    stop();
    if (!window.Hls || !Hls.isSupported()) {
      video.src = video.dataset.live;
      video.play().catch(() => say("Press play on the player page: this browser wants a tap first."));
      return;
    }
    player = new Hls({ lowLatencyMode: true, backBufferLength: 10, maxBufferLength: 10 });
    player.on(Hls.Events.ERROR, (_, data) => {
      if (!data.fatal) return;
      stop();
      if (data.details === "manifestIncompatibleCodecsError" || data.details === "bufferAddCodecError") {
        say("This browser cannot play the codec of this stream. Destinations and recording get it as it is.");
        return;
      }
      say("Waiting for pictures…");
      if (wanted) again = setTimeout(start, AGAIN_MS);
    });
    player.loadSource(video.dataset.live);
    player.attachMedia(video);
    video.play().catch(() => {});
  };
  video.addEventListener("playing", () => { say(""); sound.hidden = false; });
  sound.addEventListener("click", () => {
    video.muted = !video.muted;
    sound.setAttribute("aria-pressed", String(!video.muted));
  });
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) stop();
    else if (wanted) start();
  });

  return (state) => {
    const isOn = state !== "offline";
    if (isOn && !wanted) { say("Waiting for pictures…"); start(); }
    if (!isOn) {
      stop();
      sound.hidden = true;
      say("Nobody publishes. The preview begins by itself when somebody does.");
    }
    wanted = isOn;
  };
}
