// Three small charts of a channel's last ten minutes, drawn as SVG from samples of [time, kbit/s, pictures, seconds late].

import { $, $$, ask } from "./page.js";

const LEAST_S = 120, MOST_S = 600, WIDTH = 600, HEIGHT = 48;
const FIELDS = ["at", "kbps", "fps", "lag_s"];
const LEAST = { kbps: 500, fps: 10, lag_s: 1 }; // so that little noise does not look like much
const UNITS = {
  kbps: (value) => (value >= 1000 ? `${(value / 1000).toFixed(1)} Mbit/s` : `${Math.round(value)} kbit/s`),
  fps: (value) => value.toFixed(0),
  lag_s: (value) => `${value.toFixed(1)} s`,
};
const SVG = "http://www.w3.org/2000/svg";

let samples = [];

export async function begin(name) {
  ({ samples } = await ask("GET", `/api/v1/channels/${encodeURIComponent(name)}/history`));
  draw();
}

export function add(sample) {
  if (samples.length && samples.at(-1)[0] >= sample[0]) return;
  samples.push(sample);
  draw();
}

function draw() {
  const newest = samples.length ? samples.at(-1)[0] : 0;
  samples = samples.filter(([at]) => at > newest - MOST_S);
  const window = Math.max(LEAST_S, Math.min(MOST_S, newest - (samples[0]?.[0] ?? newest)));
  $("[data-oldest]").textContent = `${Math.round(window / 60)} min ago`;
  $("#charts").hidden = samples.length < 2;
  for (const chart of $$("[data-chart]")) line(chart, chart.dataset.chart, newest, window);
}

function line(chart, field, newest, window) {
  const index = FIELDS.indexOf(field);
  const most = Math.max(LEAST[field], ...samples.map((sample) => sample[index]));
  const runs = []; // what is missing between two samples is not drawn
  let before = -Infinity;
  for (const sample of samples) {
    if (sample[0] - before > 7) runs.push([]);
    before = sample[0];
    const x = WIDTH - ((newest - sample[0]) / window) * WIDTH;
    const y = HEIGHT - 2 - (sample[index] / most) * (HEIGHT - 6);
    runs.at(-1).push(`${x.toFixed(1)} ${y.toFixed(1)}`);
  }
  const path = (className, d) => {
    const node = document.createElementNS(SVG, "path");
    node.setAttribute("class", className);
    node.setAttribute("d", d);
    return node;
  };
  const drawn = runs.filter((run) => run.length > 1);
  const area = drawn.map((run) => {
    const first = run[0].split(" ")[0], last = run.at(-1).split(" ")[0];
    return `M${first} ${HEIGHT}L${run.join("L")}L${last} ${HEIGHT}Z`;
  });
  chart.replaceChildren(path("area", area.join("")), path("line", drawn.map((run) => `M${run.join("L")}`).join("")));
  $(`[data-peak="${field}"]`).textContent = `at most ${UNITS[field](Math.max(0, ...samples.map((sample) => sample[index])))}`;
}
