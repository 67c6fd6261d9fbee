"use strict";
const BLUE = [1, 115, 178], BETWEEN = [215, 215, 215], ORANGE = [222, 143, 5];

function colourOf(score, threshold) {  // blue at 0, light grey at the threshold, orange at 1
  if (score === null) return "rgb(136,136,136)";
  const end = score > threshold ? ORANGE : BLUE;
  const part = score > threshold ? (score - threshold) / (1 - threshold) : 1 - score / threshold;
  return `rgb(${BETWEEN.map((from, channel) => Math.round(from + part * (end[channel] - from)))})`;
}

function seenAt(person, time) {  // a person's box, between the two frames next to a time, and the score of the nearer one
  const after = person.times.findIndex(one => one >= time), last = person.times.length - 1;
  const next = after < 0 ? last : after, before = Math.max(0, after < 0 ? last : after - 1);
  const nearer = time - person.times[before] < person.times[next] - time ? before : next;
  if (Math.abs(person.times[nearer] - time) > 2 * person.step + 0.1) return null;
  const gap = person.times[next] - person.times[before];
  const part = gap > 0 ? Math.min(1, Math.max(0, (time - person.times[before]) / gap)) : 0;
  const box = person.boxes[before].map((side, i) => side + part * (person.boxes[next][i] - side));
  return { box, found: person.found[nearer], score: person.scores[nearer] };
}

function startPlayer(root) {
  const data = JSON.parse(root.querySelector("script").textContent);
  const [video, canvas, play, range, now] = ["video", "canvas", "button", "input", ".now"].map(one => root.querySelector(one));
  const pen = canvas.getContext("2d");
  video.controls = false;
  root.querySelectorAll("[hidden]").forEach(part => { part.hidden = false; });
  root.classList.add("ready");
  if (video.readyState === 0) video.load();

  function show() {
    const time = Math.min(data.end, data.start + video.currentTime);
    const scale = devicePixelRatio || 1;
    canvas.width = video.clientWidth * scale;
    canvas.height = video.clientHeight * scale;
    pen.font = `bold ${14 * scale}px system-ui, sans-serif`;
    let said = "";
    for (const person of data.people) {
      const seen = seenAt(person, time);
      if (!seen) continue;
      const [x, y, width, height] = seen.box.map((side, i) => side * (i % 2 ? canvas.height : canvas.width));
      const colour = colourOf(seen.score, data.threshold), thick = (person.decides ? 4 : 2) * scale;
      pen.setLineDash([]);
      pen.strokeStyle = "#000";
      pen.lineWidth = thick + 2 * scale;
      pen.strokeRect(x, y, width, height);
      pen.setLineDash(seen.found ? [] : [8 * scale, 6 * scale]);
      pen.strokeStyle = colour;
      pen.lineWidth = thick;
      pen.strokeRect(x, y, width, height);
      const score = seen.score === null ? "not judged" : seen.score.toFixed(2);
      const label = data.people.length > 1 ? `${person.number}: ${score}` : score;
      const above = Math.max(0, y - 22 * scale);
      pen.fillStyle = "#000";
      pen.fillRect(x, above, pen.measureText(label).width + 8 * scale, 20 * scale);
      pen.fillStyle = "#fff";
      pen.fillText(label, x + 4 * scale, above + 15 * scale);
      if (person.decides) said = `, score ${score}`;
    }
    now.textContent = `${time.toFixed(1)} s${said}`;
    range.value = time;
    range.setAttribute("aria-valuetext", now.textContent);
  }

  function move() { root.classList.add("moved"); }
  function run() { show(); if (!video.paused) requestAnimationFrame(run); }
  function toggle() {
    move();
    if (!video.paused) video.pause();
    else video.play();
  }

  play.addEventListener("click", toggle);
  video.addEventListener("click", toggle);
  root.querySelector(".still").addEventListener("click", toggle);
  function seek() {
    move();
    video.currentTime = Math.min(data.end, Math.max(data.start, Number(range.value))) - data.start;
  }
  // A click on where the handle stands already is no input.
  for (const event of ["input", "click"]) range.addEventListener(event, seek);
  range.addEventListener("keydown", event => {
    if (event.key === " " || event.key === "Enter") { event.preventDefault(); toggle(); }
  });
  video.addEventListener("play", () => { play.textContent = "Pause"; run(); });
  video.addEventListener("pause", () => { play.textContent = "Play"; show(); });
  for (const change of ["seeked", "loadeddata"]) video.addEventListener(change, () => root.matches(".moved") && show());
  addEventListener("resize", () => root.matches(".moved") && show());
}

document.querySelectorAll(".player").forEach(startPlayer);
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(part => { part.open = true; }));

let frame = null;
try { frame = window.frameElement; } catch { /* of another site */ }
if (frame) {  // in a notebook: as high as the page, in the notebook's theme
  const fit = () => { frame.style.height = `${document.documentElement.offsetHeight + 4}px`; };
  new ResizeObserver(fit).observe(document.documentElement);
  const body = parent.document.body;
  const dress = () => {
    if (body.dataset.jpThemeLight) document.documentElement.style.colorScheme = body.dataset.jpThemeLight === "true" ? "light" : "dark";
  };
  dress();
  new MutationObserver(dress).observe(body, { attributeFilter: ["data-jp-theme-light"] });
  // The upload button's dialog hides the old answer: the kernel hears of a file only when it has all of it.
  frame.closest(".dfdc-judge")?.querySelector(".widget-upload").addEventListener("click", () => frame.remove());
}
