import { Http, Overtaken } from "./transport.js";

const ask = new Http();
const $ = (id) => document.getElementById(id);

// All that a bookmark must bring back. What is not given is the network's own choice.
const state = {
  image: 0, layer: "", channel: null, row: null, column: null, patch: 32, fill: "gray",
  top: null, left: null, sort: "number", watch: "answer", scale: "", only: "",
};
const NUMBERS = new Set(["image", "channel", "row", "column", "patch", "top", "left"]);

let about = null; // what the server says of the network
let clean = null; // what the network says to the image as it is
let grid = null; // the maps of the layer that is shown
let heat = new Map(); // "row,column" of a patch -> how much it took away
let filling = 0; // which run of filling in the heat map is the latest

// ---- small tools -------------------------------------------------------------------------------

function fail(error) {
  if (error instanceof Overtaken) return;
  $("error").textContent = error.message;
  $("error").hidden = false;
}

// One question of a kind at a time: while it is being answered only the newest next one is kept.
function latest(work) {
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

function paint(canvas, bitmap, width) {
  const times = Math.max(1, Math.floor(width / bitmap.width));
  canvas.width = bitmap.width * times;
  canvas.height = bitmap.height * times;
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
}

const short = (value) => (value === 0 ? "0" : Number(value.toPrecision(3)).toString());
const said = (value) => (about.answer === "number" ? short(value) : value.toFixed(3));

// ---- the address -------------------------------------------------------------------------------

function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) {
    const value = given.get(name);
    if (value === null) state[name] = defaults[name];
    else state[name] = NUMBERS.has(name) ? Number(value) : value;
  }
}

function writeAddress(step) {
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== defaults[name] && value !== null) kept.set(name, value);
  }
  const address = `#${kept}`;
  if (address === location.hash || (address === "#" && !location.hash)) return;
  history[step ? "pushState" : "replaceState"](null, "", address);
}

const defaults = { ...state };

// ---- the network as a strip of volumes ---------------------------------------------------------

function drawStrip() {
  const strip = $("strip");
  strip.replaceChildren();
  const most = Math.log2(Math.max(...about.size) + 1);
  for (const layer of about.layers) {
    const [channels, height = 1] = layer.shape;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.layer = layer.name;
    button.setAttribute("role", "option");
    button.title = `${layer.name}: ${layer.op}, ${layer.shape.join(" x ")}, ` +
      `reads ${layer.field.join(" x ")} pixels`;
    button.setAttribute("aria-label", button.title);
    const volume = document.createElement("span");
    volume.className = `volume ${layer.op.replace(/[^a-z]+/g, "-")}`;
    volume.style.height = `${12 + (64 * Math.log2(height + 1)) / most}px`;
    volume.style.width = `${4 + 2.2 * Math.log2(channels + 1)}px`;
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = layer.name;
    button.append(volume, name);
    button.addEventListener("click", () => chooseLayer(layer.name));
    strip.append(button);
  }
  roving(strip, "button");
}

// Arrow keys move among the parts of a box, which the tab key enters and leaves as one.
function roving(box, selector) {
  box.onkeydown = (event) => {
    const parts = [...box.querySelectorAll(selector)].filter((part) => !part.hidden);
    const at = parts.indexOf(document.activeElement);
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

function markChosen(box, isChosen) {
  let some = false;
  for (const part of box.children) {
    const chosen = isChosen(part);
    part.setAttribute("aria-selected", chosen);
    part.tabIndex = chosen ? 0 : -1;
    some ||= chosen;
  }
  if (!some && box.firstElementChild) box.firstElementChild.tabIndex = 0;
}

// ---- images ------------------------------------------------------------------------------------

function drawPictures() {
  const box = $("pictures");
  box.replaceChildren();
  about.images.forEach((title, number) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = title;
    button.setAttribute("aria-pressed", number === state.image);
    button.addEventListener("click", () => chooseImage(number));
    box.append(button);
  });
  const more = document.createElement("button");
  more.type = "button";
  more.textContent = "Add a picture";
  more.addEventListener("click", () => $("file").click());
  box.append(more);
}

async function addPicture(file) {
  try {
    $("status").textContent = "Taking in the picture";
    const { image } = await ask.upload(file);
    about = await ask.json("state");
    await chooseImage(image);
  } catch (error) { fail(error); }
}

async function chooseImage(number) {
  state.image = number;
  forgetHeat();
  writeAddress(true);
  await showImage();
}

async function showImage() {
  $("error").hidden = true;
  $("status").textContent = "The image goes up the network";
  drawPictures();
  const { bitmap } = await ask.picture("picture", { image: state.image });
  const canvas = $("image");
  [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
  const context = canvas.getContext("2d");
  context.drawImage(bitmap, 0, 0);
  [$("heat").width, $("heat").height] = [bitmap.width, bitmap.height];
  $("marks").setAttribute("viewBox", `0 0 ${bitmap.width} ${bitmap.height}`);
  clean = null;
  await showLayer();
  await Promise.all([readClean(), showUnit()]);
  $("status").textContent = "";
}

// ---- what the network says ---------------------------------------------------------------------

const watched = () => (state.layer && state.channel !== null
  ? { layer: state.layer, channel: state.channel } : {});

async function readClean() {
  [clean] = await ask.json("reading", { image: state.image, ...watched() }, "clean");
  showReading(clean);
  moved();
}

function showReading(reading) {
  const box = $("classes");
  if (!clean.classes.length) {
    $("answer-head").hidden = true;
  } else if (box.children.length !== reading.classes.length) {
    box.replaceChildren(...reading.classes.map(() => {
      const line = document.createElement("div");
      line.innerHTML = '<span class="name"></span><span class="bar"><i></i><b></b></span><span class="value"></span>';
      return line;
    }));
  }
  const scale = about.answer === "number"
    ? Math.max(...clean.classes.map((one) => Math.abs(one.value)), 1e-9) : 1;
  reading.classes.forEach((one, place) => {
    const line = box.children[place];
    line.querySelector(".name").textContent = one.name;
    line.querySelector(".value").textContent = said(one.value);
    line.querySelector("i").style.width = `${(100 * Math.abs(one.value)) / scale}%`;
    line.querySelector("b").style.left = `${(100 * Math.abs(clean.classes[place].value)) / scale}%`;
    line.dataset.number = one.number;
  });
  const parts = [];
  if (reading.name) parts.push(`most probable: ${reading.name}`);
  if (reading.activation !== null) {
    const before = clean.activation;
    const share = before ? `, ${Math.round((100 * reading.activation) / before)} % of the clean` : "";
    parts.push(`this channel's sum ${short(reading.activation)}${share}`);
  }
  $("said").textContent = parts.join("; ");
}

// ---- the patch ---------------------------------------------------------------------------------

const moved = latest(async () => {
  showMarks();
  if (!clean) return;
  if (state.scale || state.only) return intervened();
  if (state.top === null) { showReading(clean); return; }
  const [reading] = await ask.json("reading", {
    image: state.image, places: `${state.top},${state.left}`, patch: state.patch, fill: state.fill,
    classes: clean.classes.map((one) => one.number).join(","), ...watched(),
  }, "patch");
  if (state.top === null || !clean) return;
  showReading(reading);
  remember(state.top, state.left, reading);
});

const dropOf = (reading) => (state.watch === "channel"
  ? clean.activation - reading.activation
  : clean.classes.length ? clean.classes[0].value - reading.classes[0].value : 0);

function remember(row, column, reading) {
  heat.set(`${row},${column}`, dropOf(reading));
  drawHeat();
}

function forgetHeat() {
  heat = new Map();
  filling += 1;
  $("complete").checked = false;
  drawHeat();
}

// Each pixel shows the mean drop over the patches that covered it: red what the answer needs, blue
// what speaks against it.
function drawHeat() {
  const canvas = $("heat"), context = canvas.getContext("2d");
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  if (!heat.size) return;
  const sum = new Float32Array(width * height), count = new Uint16Array(width * height);
  for (const [place, drop] of heat) {
    const [top, left] = place.split(",").map(Number);
    for (let row = Math.max(top, 0); row < Math.min(top + state.patch, height); row += 1) {
      for (let column = Math.max(left, 0); column < Math.min(left + state.patch, width); column += 1) {
        sum[row * width + column] += drop;
        count[row * width + column] += 1;
      }
    }
  }
  const means = sum.map((value, place) => (count[place] ? value / count[place] : 0));
  const limit = means.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-12);
  const pixels = context.createImageData(width, height);
  means.forEach((value, place) => {
    const share = value / limit;
    pixels.data.set(share > 0 ? [220, 40, 20] : [20, 90, 220], 4 * place);
    pixels.data[4 * place + 3] = 200 * Math.abs(share);
  });
  context.putImageData(pixels, 0, 0);
}

async function fillIn() {
  const own = ++filling;
  const [height, width] = about.size, stride = Math.max(1, Math.round(state.patch / 2));
  const places = [];
  for (let row = 0; row <= height - state.patch + stride - 1; row += stride) {
    for (let column = 0; column <= width - state.patch + stride - 1; column += stride) {
      const place = [Math.min(row, height - state.patch), Math.min(column, width - state.patch)];
      if (!heat.has(place.join(","))) places.push(place);
    }
  }
  const total = places.length;
  while (places.length && own === filling && clean) {
    const part = places.splice(0, 8);
    $("status").textContent = `Filling in the heat map: ${total - places.length} of ${total}`;
    const readings = await ask.json("reading", {
      image: state.image, places: part.map((p) => p.join(",")).join(";"), patch: state.patch,
      fill: state.fill, classes: clean.classes.map((one) => one.number).join(","), ...watched(),
    });
    if (own !== filling) return;
    readings.forEach((reading, place) => heat.set(part[place].join(","), dropOf(reading)));
    drawHeat();
  }
  if (own === filling) $("status").textContent = "";
}

function placePatch(row, column) {
  const [height, width] = about.size;
  state.top = Math.max(0, Math.min(Math.round(row), height - state.patch));
  state.left = Math.max(0, Math.min(Math.round(column), width - state.patch));
  writeAddress(false);
  moved();
}

function showMarks() {
  const marks = $("marks");
  marks.replaceChildren();
  const box = (left, top, width, height, kind) => {
    const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
    for (const [name, value] of Object.entries({ x: left, y: top, width, height })) {
      rect.setAttribute(name, value);
    }
    rect.setAttribute("class", kind);
    marks.append(rect);
  };
  if (unitWindow) {
    const [top, left, bottom, right] = unitWindow;
    box(left, top, right - left, bottom - top, "field");
  }
  if (state.top !== null) box(state.left, state.top, state.patch, state.patch, "patch");
}

// ---- a layer's feature maps --------------------------------------------------------------------

async function chooseLayer(name) {
  Object.assign(state, { layer: name, channel: null, row: null, column: null, scale: "", only: "" });
  writeAddress(true);
  await Promise.all([showLayer(), showUnit()]).catch(fail);
  await readClean().catch(fail);
}

async function showLayer() {
  markChosen($("strip"), (part) => part.dataset.layer === state.layer);
  $("strip").querySelector('[aria-selected="true"]')?.scrollIntoView({ inline: "center", block: "nearest" });
  const { facts, bitmap, png } = await ask.picture("maps", { image: state.image, layer: state.layer }, "maps");
  if (grid) URL.revokeObjectURL(grid.url);
  grid = { facts, bitmap, url: URL.createObjectURL(png), layer: state.layer };
  const layer = about.layers.find((one) => one.name === state.layer);
  $("layer-name").textContent = `${state.layer}: ${layer.shape[0]} channels`;
  $("layer-note").textContent =
    `${layer.op}, maps of ${facts.map.join(" x ")}, a unit reads ${layer.field.join(" x ")} pixels; ` +
    `each map on its own scale, ${facts.signed ? "zero is mid-grey" : "zero is black"}`;
  drawGrid();
}

function drawGrid() {
  const { facts, url } = grid;
  const box = $("grid"), [height, width] = facts.tile;
  const times = Math.max(1, Math.floor(56 / Math.max(height, width)));
  const order = facts.peaks.map((_, number) => number);
  // What channels typically reach is known of some networks and layers only.
  const by = { activation: facts.peaks, relative: facts.relative ?? facts.peaks }[state.sort];
  if (by) order.sort((a, b) => by[b] - by[a]);
  const wanted = $("find").value.trim().toLowerCase();
  box.replaceChildren();
  for (const number of order) {
    const name = facts.names[number];
    if (wanted && !(/^\d+$/.test(wanted) ? String(number).startsWith(wanted) : name.toLowerCase().includes(wanted))) continue;
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.channel = number;
    button.setAttribute("role", "option");
    button.title = `${name}, peak ${short(facts.peaks[number])}` +
      (facts.relative ? `, ${short(facts.relative[number])} times its typical peak` : "");
    button.setAttribute("aria-label", button.title);
    const tile = document.createElement("span");
    tile.className = "tile";
    tile.style.width = `${width * times}px`;
    tile.style.height = `${height * times}px`;
    tile.style.backgroundImage = `url(${url})`;
    tile.style.backgroundSize = `${facts.columns * width * times}px ${facts.rows * height * times}px`;
    const row = Math.floor(number / facts.columns), column = number % facts.columns;
    tile.style.backgroundPosition = `${-column * width * times}px ${-row * height * times}px`;
    const label = document.createElement("span");
    label.className = "name";
    label.textContent = number;
    button.append(tile, label);
    button.addEventListener("click", () => chooseChannel(number));
    box.append(button);
  }
  markChosen(box, (part) => Number(part.dataset.channel) === state.channel);
  roving(box, "button");
}

// ---- one channel -------------------------------------------------------------------------------

let unitWindow = null;

async function chooseChannel(number) {
  Object.assign(state, { channel: number, row: null, column: null });
  if (state.watch === "channel") forgetHeat();
  writeAddress(true);
  markChosen($("grid"), (part) => Number(part.dataset.channel) === number);
  await showUnit().catch(fail);
  await readClean().catch(fail);
}

async function showUnit() {
  drawWatch();
  $("unit").hidden = state.channel === null;
  unitWindow = null;
  if (state.channel === null) { showMarks(); return; }
  const own = { ...state };
  const place = state.row === null ? {} : { row: state.row, column: state.column };
  const rules = $("rules");
  if (rules.children.length !== about.rules.length) {
    rules.replaceChildren(...about.rules.map((rule) => {
      const figure = document.createElement("figure");
      figure.dataset.rule = rule;
      figure.append(document.createElement("canvas"), document.createElement("figcaption"));
      return figure;
    }));
  }
  drawMap();
  // Black is minus the number beneath, mid-grey zero, white plus it.
  for (const rule of about.rules) {
    const figure = rules.querySelector(`[data-rule="${rule}"]`);
    const caption = figure.querySelector("figcaption");
    try {
      const { facts, bitmap } = await ask.picture("unit", {
        image: state.image, layer: state.layer, channel: state.channel, rule, ...place,
      }, `unit-${rule}`);
      if (own.channel !== state.channel || own.layer !== state.layer || own.row !== state.row) return;
      paint(figure.querySelector("canvas"), bitmap, 180);
      caption.textContent = `${rule}, ±${short(facts.limit)}`;
      showFacts(facts);
    } catch (error) {
      if (error instanceof Overtaken) return;
      const canvas = figure.querySelector("canvas");
      [canvas.width, canvas.height] = [1, 1];
      caption.textContent = `${rule}: ${error.message}`;
    }
  }
  drawMap();
}

function showFacts(facts) {
  $("unit-name").textContent = `${state.layer}, ${facts.name}`;
  const [top, left, bottom, right] = facts.window, [row, column] = facts.position;
  const what = state.row === null ? "its peak" : "the unit";
  $("unit-note").textContent = `${what} at row ${row}, column ${column} is ${short(facts.activation)} ` +
    `and reads rows ${top} to ${bottom - 1}, columns ${left} to ${right - 1}` +
    (facts.notes.length ? `; ${facts.notes.join("; ")}` : "");
  unitWindow = facts.window;
  grid.position = facts.position;
  showMarks();
}

function drawMap() {
  if (!grid || grid.layer !== state.layer) return;
  const { facts, bitmap } = grid, [height, width] = facts.tile;
  const canvas = $("map"), times = Math.max(1, Math.floor(180 / Math.max(height, width)));
  [canvas.width, canvas.height] = [width * times, height * times];
  const context = canvas.getContext("2d");
  context.imageSmoothingEnabled = false;
  const row = Math.floor(state.channel / facts.columns), column = state.channel % facts.columns;
  context.drawImage(bitmap, column * width, row * height, width, height, 0, 0, canvas.width, canvas.height);
  if (grid.position) {
    const [down, across] = [canvas.height / facts.map[0], canvas.width / facts.map[1]];
    context.strokeStyle = "#ff8c1a";
    context.lineWidth = 2;
    context.strokeRect(grid.position[1] * across, grid.position[0] * down, Math.max(across, 4), Math.max(down, 4));
  }
}

function choosePosition(row, column) {
  const [rows, columns] = grid.facts.map;
  state.row = Math.max(0, Math.min(row, rows - 1));
  state.column = Math.max(0, Math.min(column, columns - 1));
  writeAddress(true);
  showUnit().catch(fail);
}

// ---- interventions -----------------------------------------------------------------------------

const scales = () => new Map(state.scale.split(";").filter(Boolean).map((part) => {
  const [channel, factor] = part.split(":");
  return [Number(channel), Number(factor)];
}));

function change(factor) {
  const kept = scales();
  if (factor === 1) kept.delete(state.channel); else kept.set(state.channel, factor);
  state.scale = [...kept].map(([channel, by]) => `${channel}:${by}`).join(";");
  state.top = null;
  writeAddress(true);
  showChange();
  moved();
}

function showChange() {
  const factor = scales().get(state.channel) ?? 1;
  $("factor").value = factor;
  $("factor-value").textContent = factor === 0 ? "off" : `× ${factor}`;
  $("only").setAttribute("aria-pressed", state.only === String(state.channel));
  const parts = [...scales()].map(([channel, by]) => (by === 0 ? `${channel} off` : `${channel} × ${by}`));
  if (state.only) parts.push(`only ${state.only} kept`);
  $("changed").textContent = parts.length ? `Changed in ${state.layer}: ${parts.join(", ")}` : "";
}

async function intervened() {
  showMarks();
  const reading = await ask.json("intervention", {
    image: state.image, layer: state.layer, scale: state.scale,
    only: state.only === "" ? undefined : state.only,
    classes: clean.classes.map((one) => one.number).join(","),
  }, "change");
  showReading(reading);
}

// ---- what is chosen by menus, mouse and keys -----------------------------------------------------

function drawWatch() {
  const options = [];
  if (about.answer) options.push(["answer", "the answer"]);
  if (state.channel !== null) options.push(["channel", "this channel"]);
  if (!options.some(([value]) => value === state.watch)) state.watch = options[0]?.[0] ?? "answer";
  $("watch").replaceChildren(...options.map(([value, words]) => new Option(words, value)));
  $("watch").value = state.watch;
  showChange();
}

function showControls() {
  const most = Math.max(1, Math.min(...about.size) - 1);
  $("patch").max = most;
  state.patch = Math.min(state.patch, most);
  $("patch").value = state.patch;
  $("patch-size").textContent = `${state.patch} pixels`;
  $("fill").value = state.fill;
  $("sort").value = state.sort;
}

function pixelAt(event, canvas, rows, columns) {
  const box = canvas.getBoundingClientRect();
  return [
    Math.floor(((event.clientY - box.top) / box.height) * rows),
    Math.floor(((event.clientX - box.left) / box.width) * columns),
  ];
}

function listen() {
  const image = $("image"), map = $("map");
  let dragging = false;
  const drag = (event) => {
    const [row, column] = pixelAt(event, image, ...about.size);
    placePatch(row - state.patch / 2, column - state.patch / 2);
  };
  image.addEventListener("pointerdown", (event) => {
    dragging = true;
    image.setPointerCapture(event.pointerId);
    drag(event);
  });
  image.addEventListener("pointermove", (event) => dragging && drag(event));
  image.addEventListener("pointerup", () => { dragging = false; writeAddress(false); });
  image.addEventListener("keydown", (event) => {
    const step = Math.max(1, Math.round(state.patch / (event.shiftKey ? 16 : 4)));
    const move = { ArrowUp: [-step, 0], ArrowDown: [step, 0], ArrowLeft: [0, -step], ArrowRight: [0, step] }[event.key];
    if (event.key === "Escape") {
      state.top = state.left = null;
      writeAddress(false);
      moved();
    } else if (move) {
      event.preventDefault();
      const [height, width] = about.size;
      const [top, left] = state.top === null ? [(height - state.patch) / 2, (width - state.patch) / 2] : [state.top + move[0], state.left + move[1]];
      placePatch(top, left);
    }
  });
  map.addEventListener("click", (event) => choosePosition(...pixelAt(event, map, ...grid.facts.map)));
  map.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (event.key === "Enter") {
      state.row = state.column = null;
      writeAddress(true);
      showUnit().catch(fail);
    } else if (move && grid.position) {
      event.preventDefault();
      choosePosition(grid.position[0] + move[0], grid.position[1] + move[1]);
    }
  });
  $("patch").addEventListener("input", () => {
    state.patch = Number($("patch").value);
    forgetHeat();
    showControls();
    if (state.top !== null) placePatch(state.top, state.left);
    writeAddress(false);
  });
  $("fill").addEventListener("change", () => { state.fill = $("fill").value; forgetHeat(); writeAddress(true); moved(); });
  $("watch").addEventListener("change", () => { state.watch = $("watch").value; forgetHeat(); writeAddress(true); moved(); });
  $("complete").addEventListener("change", () => ($("complete").checked ? fillIn().catch(fail) : (filling += 1)));
  $("clear").addEventListener("click", () => { state.top = state.left = null; forgetHeat(); writeAddress(false); moved(); });
  $("sort").addEventListener("change", () => { state.sort = $("sort").value; writeAddress(true); drawGrid(); });
  $("find").addEventListener("input", drawGrid);
  $("factor").addEventListener("input", () => change(Number($("factor").value)));
  $("only").addEventListener("click", () => {
    state.only = state.only === String(state.channel) ? "" : String(state.channel);
    state.top = null;
    writeAddress(true);
    showChange();
    moved();
  });
  $("undo").addEventListener("click", () => { state.scale = state.only = ""; writeAddress(true); showChange(); moved(); });
  $("file").addEventListener("change", () => $("file").files[0] && addPicture($("file").files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) addPicture(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => {
    const file = [...event.clipboardData.files][0];
    if (file) addPicture(file);
  });
  window.addEventListener("popstate", () => { readAddress(); start().catch(fail); });
}

async function start() {
  if (!about.layers.some((one) => one.name === state.layer)) state.layer = firstLayer();
  showControls();
  await showImage();
}

// The middle of the network is where maps can be looked at and units already know something.
function firstLayer() {
  const maps = about.layers.filter((one) => one.shape.length === 3 && one.shape[1] >= 8);
  return (maps[Math.floor(maps.length / 2)] ?? about.layers[0]).name;
}

async function begin() {
  about = await ask.json("state");
  document.title = `${about.network}: convscope`;
  $("network").textContent = about.network;
  $("notes").textContent = about.notes.join("; ");
  $("notes").hidden = !about.notes.length;
  // Where the network gives no answer, nothing shows what a changed channel does.
  for (const part of document.querySelectorAll(".change")) part.hidden = !about.answer;
  defaults.patch = state.patch = about.patch;
  readAddress();
  drawStrip();
  listen();
  await start();
  document.body.dataset.ready = "yes";
}

begin().catch(fail);
