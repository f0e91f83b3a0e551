// Small tools of the page.

import { $, here } from "./state.js";
import { Overtaken } from "./transport.js";

export function fail(error) {
  if (error instanceof Overtaken) return;
  $("error").textContent = error.message;
  $("error").hidden = false;
}

const underway = []; // the words for all that goes on, of which the newest stand on the page

// Says what goes on until it is done; the work is given a function that says it anew.
export async function during(words, work) {
  const own = { words };
  const show = () => { $("status").textContent = underway.at(-1)?.words ?? ""; };
  const say = (now) => { own.words = now; show(); };
  underway.push(own);
  show();
  try { return await work(say); } finally { underway.splice(underway.indexOf(own), 1); show(); }
}

const ASKED = 500; // milliseconds after which is asked how far a question has come

// Says how far the answer of a kind has come, with a button to stop it, where that can be known.
export async function whileMeasuring(answer, kind, said, words = "Measuring") {
  const count = new Text(words);
  const stop = element("button", { type: "button", textContent: "Stop" });
  stop.addEventListener("click", () => {
    here.ask.stop(kind);
    said.textContent = words.replace(/measuring/i, "stopped");
  });
  said.replaceChildren(count);
  const timer = setInterval(async () => {
    const done = await here.ask.progress(kind).catch(() => null);
    if (!done || !said.contains(count)) return;
    if (!stop.isConnected) said.append(" ", stop);
    if (done[1]) count.data = `${words}: ${Math.floor((100 * done[0]) / done[1])}%`;
  }, ASKED);
  try { return await answer; } finally { clearInterval(timer); }
}

// One question of a kind at a time: while it is being answered only the newest next one is kept.
export function latest(work) {
  let busy = false, again = false;
  return async function run() {
    if (busy) { again = true; return; }
    busy = true;
    do {
      again = false;
      try { await work(); } catch (error) { fail(error); }
    } while (again);
    busy = false;
  };
}

export function element(tag, given = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name in made) made[name] = value; else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

export function paint(canvas, bitmap, width) {
  const times = Math.max(1, Math.floor(width / bitmap.width));
  canvas.width = bitmap.width * times;
  canvas.height = bitmap.height * times;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
}

// A channel's map, each of its pixels enlarged as often as fits.
export function drawMap(canvas, { facts, bitmap }, number, side) {
  const [height, width] = facts.tile, times = Math.max(1, Math.floor(side / Math.max(height, width)));
  Object.assign(canvas, { width: width * times, height: height * times });
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const row = Math.floor(number / facts.columns), column = number % facts.columns;
  context.drawImage(bitmap, column * width, row * height, width, height, 0, 0, canvas.width, canvas.height);
}

export const short = (value) => (value === 0 ? "0" : Number(value.toPrecision(3)).toString());

// Arrow keys move among the parts of a box, which the tab key enters and leaves as one.
export function roving(box, selector) {
  box.onkeydown = (event) => {
    const parts = [...box.querySelectorAll(selector)].filter((part) => !part.hidden);
    const at = parts.indexOf(event.target);
    if (at < 0) return;
    const perRow = parts.filter((part) => part.offsetTop === parts[0].offsetTop).length || 1;
    const move = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: perRow, ArrowUp: -perRow }[event.key];
    const to = event.key === "Home" ? 0 : event.key === "End" ? parts.length - 1 : at + move;
    if (!parts[to]) return;
    event.preventDefault();
    parts[at].tabIndex = -1;
    parts[to].tabIndex = 0;
    parts[to].focus();
  };
}

export function markChosen(box, isChosen) {
  let some = false;
  for (const part of box.children) {
    const chosen = isChosen(part);
    part.setAttribute("aria-selected", chosen);
    part.tabIndex = chosen ? 0 : -1;
    some ||= chosen;
  }
  if (!some && box.firstElementChild) box.firstElementChild.tabIndex = 0;
}

export const ARROWS = {
  ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1],
};

// The row and column that a mouse points at, of a canvas of so many.
export function pixelAt(event, canvas, [rows, columns]) {
  const box = canvas.getBoundingClientRect();
  return [
    Math.floor(((event.clientY - box.top) / box.height) * rows),
    Math.floor(((event.clientX - box.left) / box.width) * columns),
  ];
}
