// The patch on the image, its trail, and what the network says with it there.

import { classesOf, showReading } from "./classes.js";
import { $, here, sides, state, watched, writeAddress } from "./state.js";
import { ARROWS, during, fail, latest, short } from "./tools.js";
import { undoChanges } from "./unit.js";

const WAIT = 150; // milliseconds that filling in may hold up another question

let filling = 0; // which run of filling in the heat map is the latest

export const moved = latest(async () => {
  renewHeat();
  for (const side of sides) {
    showMarks(side);
    if (side.clean) await (state.scale || state.only ? intervened(side) : hidden(side));
  }
});

async function hidden(side) {
  if (state.top === null) { showReading(side, side.clean); return; }
  const { heat } = side, place = [side.scaled(state.top), side.scaled(state.left)];
  const [reading] = await ask(side, [place], side.kind("patch"));
  if (state.top === null || !side.clean || heat !== side.heat) return;
  showReading(side, reading);
  heat.set(place.join(","), dropOf(side, reading));
  drawHeat(side);
}

async function intervened(side) {
  if (!side.layer) { showReading(side, side.clean); return; }
  const reading = await here.ask.json("intervention", {
    ...side.given, layer: state.layer, scale: state.scale,
    only: state.only === "" ? undefined : state.only, classes: classesOf(side),
  }, side.kind("change"));
  showReading(side, reading);
}

const ask = (side, places, kind) => here.ask.json("reading", {
  ...side.given, places: places.map((place) => place.join(",")).join(";"), patch: side.scaled(state.patch),
  fill: state.fill, classes: classesOf(side), ...watched(side),
}, kind);

const dropOf = (side, reading) => (state.watch === "channel"
  ? side.clean.activation - reading.activation
  : side.clean.classes.length ? side.clean.classes[0].value - reading.classes[0].value : 0);

function forgetHeat() {
  filling += 1;
  $("complete").checked = false;
  for (const side of sides) {
    Object.assign(side, { heat: new Map(), mapped: side.subject });
    drawHeat(side);
  }
}

// Begins the heat map anew where it is of something else by now.
export function renewHeat() {
  if (sides.some((side) => side.mapped !== side.subject)) forgetHeat();
}

// Each pixel shows the mean drop over the patches that covered it: red what the answer needs, blue
// what speaks against it.
function drawHeat(side) {
  const canvas = side.$("heat"), context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  side.$("scale").textContent = "";
  if (!side.heat.size) return;
  const patch = side.scaled(state.patch);
  const sum = new Float32Array(width * height), count = new Uint16Array(width * height);
  for (const [place, drop] of side.heat) {
    const [top, left] = place.split(",").map(Number);
    for (let row = Math.max(top, 0); row < Math.min(top + patch, height); row += 1) {
      for (let column = Math.max(left, 0); column < Math.min(left + patch, width); column += 1) {
        sum[row * width + column] += drop;
        count[row * width + column] += 1;
      }
    }
  }
  const means = sum.map((value, place) => (count[place] ? value / count[place] : 0));
  const limit = means.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  const of = state.watch === "channel" ? "of the channel's sum" : "of the answer";
  side.$("scale").textContent = `Heat map: full red takes ${short(limit)} ${of} away, full blue adds as much`;
  const pixels = context.createImageData(width, height);
  means.forEach((value, place) => {
    const share = value / limit;
    pixels.data.set(share > 0 ? [220, 40, 20] : [20, 90, 220], 4 * place);
    pixels.data[4 * place + 3] = 200 * Math.abs(share);
  });
  context.putImageData(pixels, 0, 0);
}

function fillIn() {
  const own = ++filling;
  return during("Filling in the heat map", async (say) => {
    for (const side of sides) await fillInOf(side, own, say);
  });
}

async function fillInOf(side, own, say) {
  const [height, width] = side.about.size, patch = side.scaled(state.patch);
  const stride = Math.max(1, Math.round(patch / 2));
  const firsts = (side) => Array.from(
    { length: Math.ceil((side - patch) / stride) + 1 },
    (_, number) => Math.min(number * stride, side - patch),
  );
  const { rows = firsts(height), columns = firsts(width) } = side.about.ahead ?? {};
  const places = rows.flatMap((row) => columns.map((column) => [row, column]))
    .filter((place) => !side.heat.has(place.join(",")));
  const total = places.length;
  let several = 1; // as many as are answered in the time that others may have to wait
  while (places.length && own === filling && side.clean) {
    const part = places.splice(0, several), begun = performance.now();
    say(`Filling in the heat map: ${total - places.length} of ${total}`);
    const readings = await ask(side, part);
    const each = (performance.now() - begun) / part.length;
    several = Math.max(1, Math.min(Math.floor(WAIT / each), 16));
    if (own !== filling) return;
    readings.forEach((reading, place) => side.heat.set(part[place].join(","), dropOf(side, reading)));
    drawHeat(side);
  }
}

// By the first side's pixels.
function placePatch(row, column) {
  const { size: [height, width], ahead } = sides[0].about;
  const near = (places, to) => places.reduce((a, b) => (Math.abs(b - to) < Math.abs(a - to) ? b : a), places[0]);
  const within = (to, side) => Math.max(0, Math.min(Math.round(to), side - state.patch));
  state.top = ahead ? near(ahead.rows, row) : within(row, height);
  state.left = ahead ? near(ahead.columns, column) : within(column, width);
  undoChanges(); // the answers of a changed network are to the image as it is
  writeAddress(false);
  moved();
}

function takeOff() {
  state.top = state.left = null;
  writeAddress(false);
  moved();
}

export function showMarks(side) {
  const marks = side.$("marks");
  marks.replaceChildren();
  const box = (x, y, width, height, kind) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x, y, width, height, class: kind })) {
      rect.setAttribute(name, value);
    }
    marks.append(rect);
  };
  if (side.window) {
    const [top, left, bottom, right] = side.window;
    box(left, top, right - left, bottom - top, "field");
  }
  if (state.top === null || state.tool !== "patch") return;
  box(...[state.left, state.top, state.patch, state.patch].map((own) => side.scaled(own)), "patch");
}

export function showPatchControls() {
  const most = Math.max(1, Math.min(...sides[0].about.size) - 1);
  $("patch").max = most;
  state.patch = Math.min(state.patch, most);
  $("patch").value = state.patch;
  $("patch-size").textContent = `${state.patch} px`;
  $("fill").value = state.fill;
}

// What the mouse and the keys do on a side's image where the patch is the tool.
export const patchTool = {
  press: (side, at) => patchTool.move(side, at),
  move: (_, [row, column]) => placePatch(row - state.patch / 2, column - state.patch / 2),
  release: () => {},
  key: (_, event) => {
    const step = Math.max(1, Math.round(state.patch / (event.shiftKey ? 16 : 4)));
    const move = ARROWS[event.key], [height, width] = sides[0].about.size;
    if (event.key === "Escape") takeOff();
    if (!move) return;
    event.preventDefault();
    if (state.top === null) placePatch((height - state.patch) / 2, (width - state.patch) / 2);
    else placePatch(state.top + step * move[0], state.left + step * move[1]);
  },
};

export function listenToPatchControls() {
  $("patch").addEventListener("input", () => {
    state.patch = Number($("patch").value);
    showPatchControls();
    if (state.top !== null) placePatch(state.top, state.left);
    writeAddress(false);
    moved();
  });
  for (const name of ["fill", "watch"]) {
    $(name).addEventListener("change", () => {
      state[name] = $(name).value;
      writeAddress(true);
      moved();
    });
  }
  $("complete").addEventListener("change", () => ($("complete").checked ? fillIn().catch(fail) : (filling += 1)));
  $("clear").addEventListener("click", () => { forgetHeat(); takeOff(); });
}
