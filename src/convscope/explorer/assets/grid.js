// A layer's feature maps, live, as a grid to choose a channel from.

import { $, here, isLeftOut, sides, state, writeAddress } from "./state.js";
import { element, fail, markChosen, roving, short } from "./tools.js";
import { chooseChannel } from "./unit.js";

export async function showLayer() {
  markChosen($("strip"), (part) => part.dataset.layer === state.layer);
  $("strip").querySelector('[aria-selected="true"]')?.scrollIntoView({ inline: "center", block: "nearest" });
  for (const side of sides) {
    const given = { ...side.given, layer: state.layer };
    const { facts, bitmap, png } = await here.ask.picture("maps", given, side.kind("maps"));
    if (side.grid) URL.revokeObjectURL(side.grid.url);
    side.grid = { facts, bitmap, url: URL.createObjectURL(png), layer: state.layer };
  }
  const { facts } = sides[0].grid;
  const layer = here.about.layers.find((one) => one.name === state.layer);
  $("layer-name").textContent = `${state.layer}: ${layer.shape[0]} channels`;
  $("layer-note").textContent =
    `${layer.op}, maps of ${facts.map.join(" x ")}, a unit reads ${layer.field.join(" x ")} pixels; ` +
    `each map on its own scale, ${facts.signed ? "zero is mid-grey" : "zero is black"}`;
  drawGrid();
}

function drawGrid() {
  const { facts } = sides[0].grid, box = $("grid");
  const order = facts.peaks.map((_, number) => number);
  // What channels typically reach is known of some networks and layers only.
  const by = { activation: facts.peaks, relative: facts.relative ?? facts.peaks }[state.sort];
  if (by) order.sort((a, b) => by[b] - by[a]);
  const wanted = $("find").value.trim().toLowerCase();
  const isWanted = (number) => (/^\d+$/.test(wanted)
    ? String(number).startsWith(wanted) : facts.names[number].toLowerCase().includes(wanted));
  box.replaceChildren(...order.filter(isWanted).map((number) => tile(sides[0].grid, number)));
  markChosen(box, (part) => Number(part.dataset.channel) === state.channel);
  roving(box, "button:enabled");
}

function tile({ facts, url }, number) {
  const [height, width] = facts.tile, times = Math.max(1, Math.floor(56 / Math.max(height, width)));
  const title = `${facts.names[number]}, peak ${short(facts.peaks[number])}` +
    (facts.relative ? `, ${short(facts.relative[number])} times its typical peak` : "");
  const map = element("span", { className: "tile" });
  const row = Math.floor(number / facts.columns), column = number % facts.columns;
  Object.assign(map.style, {
    width: `${width * times}px`,
    height: `${height * times}px`,
    backgroundImage: `url(${url})`,
    backgroundSize: `${facts.columns * width * times}px ${facts.rows * height * times}px`,
    backgroundPosition: `${-column * width * times}px ${-row * height * times}px`,
  });
  const name = element("span", { className: "name", textContent: number });
  const button = element("button", { type: "button", role: "option", title, "aria-label": title }, map, name);
  button.dataset.channel = number;
  button.disabled = isLeftOut(state.layer, number);
  button.addEventListener("click", () => {
    markChosen($("grid"), (part) => part === button);
    chooseChannel(number).catch(fail);
  });
  return button;
}

export function listenToGrid() {
  $("sort").value = state.sort;
  $("sort").addEventListener("change", () => { state.sort = $("sort").value; writeAddress(true); drawGrid(); });
  $("find").addEventListener("input", drawGrid);
}
