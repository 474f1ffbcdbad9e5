"use strict";
// Plays a channel: waits for it, starts by itself, stays near live, goes back and comes back, and says what is wrong.

const POLL_MS = 3000; // how often to look whether the channel is live, while it does not play
const CALM_MS = 15000; // the same while it plays
const NEAR_S = 8; // so near the end counts as live
const LATE_S = 6, CATCH_UP_MS = 8000; // who wants live and is later than this is taken there, at most so often
const IDLE_MS = 3500;
const STEP_S = 10;
const STALL_MS = 4000; // media stopped for so long: tell, and look why

const at = (id) => document.getElementById(id);
const video = at("video"), seek = at("seek"), notice = at("notice");
const channel = document.body.dataset.channel, query = document.body.dataset.query;
const base = `/live/${encodeURIComponent(channel)}/`;

let hls = null;
let soundOnly = false;
let state = { state: "", codecs: "", has_audio: false };
let playing = false; // whether a source is attached
let seeking = false;
let wantsLive = true; // until somebody goes back
let caughtUpAt = 0;
let movedAt = performance.now();
let lastTime = 0;
let mended = 0;
let pollTimer = 0;

// --- what is said ----------------------------------------------------------------------------------------------------

function say(headline, words = "", { light = false, remedy = "", act = null } = {}) {
  notice.hidden = !headline;
  notice.classList.toggle("light", light);
  if (at("headline").textContent !== headline) at("headline").textContent = headline;
  if (at("words").textContent !== words) at("words").textContent = words;
  at("remedy").hidden = !remedy;
  at("remedy").textContent = remedy;
  at("remedy").onclick = act;
}

const NAMES = { offline: "not live", starting: "starting", live: "live", holding: "live, picture away", ended: "ended" };

function badge() {
  at("state").textContent = NAMES[state.state] || "no connection";
  at("state").className = `badge ${state.state}`;
}

function clock(seconds) {
  const whole = Math.round(Math.abs(seconds));
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const two = (number) => String(number).padStart(2, "0");
  return hours ? `${hours}:${two(minutes)}:${two(rest)}` : `${minutes}:${two(rest)}`;
}

// --- what the browser can play ---------------------------------------------------------------------------------------

function takes(codecs) {
  const source = window.ManagedMediaSource || window.MediaSource;
  const type = `video/mp4; codecs="${codecs}"`;
  if (window.Hls && Hls.isSupported() && source) return source.isTypeSupported(type);
  return video.canPlayType(type) !== "";
}

function codecName(codecs) {
  const known = [["hvc1", "HEVC (H.265)"], ["hev1", "HEVC (H.265)"], ["av01", "AV1"], ["vp09", "VP9"], ["avc1", "H.264"]];
  const found = known.find(([mark]) => codecs.includes(mark));
  return found ? found[1] : codecs;
}

// --- source ----------------------------------------------------------------------------------------------------------

function detach() {
  playing = false;
  if (hls) hls.destroy();
  hls = null;
  video.removeAttribute("src");
  video.load();
}

function attach() {
  detach();
  wantsLive = true;
  lastTime = 0;
  const codecs = soundOnly ? state.codecs.split(",").pop() : state.codecs;
  if (codecs && !takes(codecs)) {
    const sound = state.codecs.split(",").pop();
    const canListen = !soundOnly && state.has_audio && takes(sound);
    say(`This browser cannot play ${codecName(codecs)}`,
      `The stream is sent as ${codecName(codecs)}. Try another browser (Safari and most phones play HEVC), `
        + "or a player such as VLC with this page's link.",
      canListen ? { remedy: "Listen to the sound", act: () => listen(true) } : {});
    again(POLL_MS);
    return;
  }
  const source = `${base}${soundOnly ? "audio.m3u8" : "index.m3u8"}${query}`;
  playing = true;
  movedAt = performance.now();
  say("Loading…");
  if (window.Hls && Hls.isSupported()) {
    hls = new Hls({
      lowLatencyMode: true,
      backBufferLength: 60,
      maxLiveSyncPlaybackRate: 1.08,
      liveSyncOnStallIncrease: 0.5,
      playlistLoadPolicy: patient(20000),
      manifestLoadPolicy: patient(20000),
      fragLoadPolicy: patient(30000),
    });
    hls.on(Hls.Events.ERROR, failed);
    hls.loadSource(source);
    hls.attachMedia(video);
  } else {
    video.src = source;
  }
  start();
}

function patient(maxMs) {
  const retry = { maxNumRetry: 6, retryDelayMs: 500, maxRetryDelayMs: 4000 };
  return { default: { maxTimeToFirstByteMs: maxMs, maxLoadTimeMs: 60000, timeoutRetry: retry, errorRetry: retry } };
}

function start() {
  video.play().catch((error) => {
    if (error.name !== "NotAllowedError") return;
    if (!video.muted) { video.muted = true; start(); return; }
    say("Ready", "", { remedy: "Play", act: () => { say(""); video.play().catch(() => {}); } });
  });
}

function failed(_, data) {
  if (!data.fatal) return;
  if (data.type === Hls.ErrorTypes.MEDIA_ERROR && performance.now() - mended > 10000) {
    mended = performance.now();
    hls.recoverMediaError();
    return;
  }
  detach();
  look();
}

// --- is it live? -----------------------------------------------------------------------------------------------------

function again(ms) {
  clearTimeout(pollTimer);
  pollTimer = setTimeout(look, ms);
}

async function look() {
  clearTimeout(pollTimer);
  const before = state.state;
  try {
    const response = await fetch(`${base}state${query}`, { cache: "no-store" });
    if (response.status === 401) {
      detach();
      state = { state: "", codecs: "" };
      say("Access needed", "This link has expired or is no longer right. Ask for a new one.", { remedy: "Try again", act: look });
      badge();
      return;
    }
    if (!response.ok) throw new Error(String(response.status));
    state = await response.json();
  } catch {
    state = { ...state, state: "" };
    badge();
    if (!playing || stalled()) say("Connection lost", "Trying again…", { light: playing });
    again(POLL_MS);
    return;
  }
  badge();
  at("audio").hidden = !state.has_audio;
  const isOn = state.state === "live" || state.state === "holding";
  if (!playing && isOn) { attach(); again(CALM_MS); return; }
  if (playing) {
    if (stalled() && !video.paused) {
      if (state.state === "holding") say("The camera's connection is away. It goes on by itself.", "", { light: true });
      else if (isOn && (before === "" || before === "offline" || before === "ended")) attach();
      else if (state.state === "offline") { detach(); waiting(); }
      else if (isOn && performance.now() - movedAt > 5 * STALL_MS) attach();
    }
    again(stalled() ? POLL_MS : CALM_MS);
    return;
  }
  waiting();
  again(POLL_MS);
}

function waiting() {
  if (state.state === "ended") say("The stream has ended", "If it begins again, it plays here by itself.");
  else if (state.state === "starting") say("About to begin…");
  else say("Not live yet", "This page starts by itself as soon as the stream does.");
}

const stalled = () => performance.now() - movedAt > STALL_MS;

// --- time ------------------------------------------------------------------------------------------------------------

function range() {
  const details = hls && hls.latestLevelDetails;
  if (details) return [details.fragmentStart, details.edge];
  const ranges = video.seekable;
  return ranges.length ? [ranges.start(0), ranges.end(ranges.length - 1)] : [0, 0];
}

function edge() {
  const [first, last] = range();
  const wanted = hls && hls.liveSyncPosition !== null ? hls.liveSyncPosition : last - 2;
  return Math.max(first, Math.min(wanted, last));
}

function goLive() {
  if (!playing) return;
  wantsLive = true;
  caughtUpAt = performance.now();
  video.currentTime = edge();
  if (video.paused) start();
  tick();
}

function jump(seconds) {
  const [first] = range();
  const target = Math.max(first + 0.5, video.currentTime + seconds);
  wantsLive = target >= edge();
  video.currentTime = Math.min(edge(), target);
  tick();
}

function tick() {
  const [first, last] = range();
  const length = last - first;
  const behind = Math.max(0, last - video.currentTime);
  const isLate = wantsLive && playing && !video.paused && lastTime > 0 && last - video.currentTime > LATE_S;
  if (isLate && hls && state.state === "live" && performance.now() - caughtUpAt > CATCH_UP_MS) goLive();
  const canSeek = playing && length > 15;
  seek.disabled = !canSeek;
  if (canSeek && !seeking) {
    seek.min = String(-Math.floor(length));
    seek.value = String(behind < NEAR_S && wantsLive ? 0 : -behind);
  }
  const value = Number(seek.value), least = Number(seek.min);
  seek.style.setProperty("--at", canSeek ? `${100 * (1 - value / least)}%` : playing ? "100%" : "0%");
  const shown = seeking ? -value : behind;
  const isLive = playing && shown < NEAR_S;
  at("position").textContent = !playing ? "" : isLive ? "live" : `−${clock(shown)}`;
  seek.setAttribute("aria-valuetext", isLive ? "live" : `${clock(shown)} behind live`);
  at("live").classList.toggle("now", isLive && !video.paused);
  at("live").disabled = !playing;
  const latency = hls ? hls.latency : behind;
  at("latency").textContent = playing && isLive && !video.paused && latency > 0 ? `${latency.toFixed(1)} s behind` : "";
  at("play").disabled = at("mute").disabled = !playing;
  if (video.currentTime !== lastTime || video.paused) {
    const wasStalled = stalled();
    lastTime = video.currentTime;
    movedAt = performance.now();
    if (playing && !video.paused && video.readyState >= 3 && !notice.hidden) say("");
    if (wasStalled) again(CALM_MS);
  } else if (playing && stalled() && notice.hidden) {
    say("Waiting for the stream…", "", { light: true });
    look();
  }
}

// --- controls --------------------------------------------------------------------------------------------------------

function toggle() {
  if (!playing) return;
  if (video.paused) start(); else video.pause();
}

function listen(only) {
  soundOnly = only;
  at("audio").setAttribute("aria-pressed", String(only));
  at("sound-only").hidden = !only;
  if (only) video.muted = false;
  attach();
}

function fullScreen() {
  const stage = at("stage");
  if (document.fullscreenElement) document.exitFullscreen();
  else if (stage.requestFullscreen) stage.requestFullscreen().catch(() => {});
  else if (video.webkitEnterFullscreen) video.webkitEnterFullscreen(); // iPhones have it for the picture alone
}

function dress() {
  document.body.classList.toggle("playing", playing && !video.paused);
  document.body.classList.toggle("muted", video.muted);
  at("play").setAttribute("aria-label", video.paused ? "Play" : "Pause");
  at("mute").setAttribute("aria-pressed", String(!video.muted));
  at("unmute").hidden = !(video.muted && playing && !video.paused);
}

at("play").onclick = toggle;
at("mute").onclick = () => { video.muted = !video.muted; };
at("unmute").onclick = () => { video.muted = false; };
at("live").onclick = goLive;
at("audio").onclick = () => listen(!soundOnly);
at("full").onclick = fullScreen;
video.onclick = () => { if (!document.body.classList.contains("idle")) toggle(); };
video.ondblclick = fullScreen;
seek.oninput = () => { seeking = true; tick(); };
seek.onchange = () => {
  seeking = false;
  const [first, last] = range();
  const target = last + Number(seek.value);
  wantsLive = -Number(seek.value) < NEAR_S;
  video.currentTime = wantsLive ? edge() : Math.max(first + 0.5, target);
  if (video.paused) start();
  tick();
};
for (const event of ["play", "playing", "pause", "volumechange", "emptied"]) video.addEventListener(event, dress);
video.addEventListener("ended", () => { detach(); look(); });
video.addEventListener("error", () => { if (!hls && playing) { detach(); look(); } });

const KEYS = {
  " ": toggle, k: toggle, m: () => { video.muted = !video.muted; }, f: fullScreen, l: goLive,
  a: () => { if (!at("audio").hidden) listen(!soundOnly); },
  ArrowLeft: () => jump(-STEP_S), ArrowRight: () => jump(STEP_S), j: () => jump(-STEP_S),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === seek) return;
  if (event.key === " " && event.target.closest("button")) return;
  const act = KEYS[event.key];
  if (!act) return;
  event.preventDefault();
  act();
});

let idleTimer = 0;
function stir() {
  document.body.classList.remove("idle");
  clearTimeout(idleTimer);
  idleTimer = setTimeout(() => document.body.classList.add("idle"), IDLE_MS);
}
for (const event of ["pointermove", "pointerdown", "keydown"]) document.addEventListener(event, stir);
window.addEventListener("online", look);
document.addEventListener("visibilitychange", () => { if (!document.hidden) look(); });

stir();
dress();
setInterval(tick, 500);
look();
