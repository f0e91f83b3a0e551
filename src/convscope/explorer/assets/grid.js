// A layer's feature maps, live, as a grid to choose a channel from.

import { $, here, isLeftOut, sides, state, writeAddress } from "./state.js";
import { drawMap, element, fail, markChosen, roving, short } from "./tools.js";
import { chooseChannel } from "./unit.js";

export async function showLayer() {
  markChosen($("strip"), (part) => part.dataset.layer === state.layer);
  $("strip").querySelector('[aria-selected="true"]')?.scrollIntoView({ inline: "center", block: "nearest" });
  for (const side of sides) {
    if (!side.layer) { side.grid = null; continue; }
    const given = { ...side.given, layer: state.layer };
    const { facts, bitmap } = await here.ask.picture("maps", given, side.kind("maps"));
    const position = side.grid?.layer === state.layer ? side.grid.position : null;
    side.grid = { facts, bitmap, layer: state.layer, position };
  }
  const [{ grid: { facts }, layer }] = sides;
  $("layer-name").textContent = `${state.layer}: ${layer.shape[0]} channels`;
  $("layer-note").textContent =
    `${layer.op}, maps of ${facts.map.join("×")}, a unit reads ${layer.field.join("×")} pixels; ` +
    `each map on its own scale, ${facts.signed ? "zero is mid-grey" : "zero is black"}`;
  drawGrid();
}

function drawGrid() {
  const { facts } = sides[0].grid, box = $("grid");
  $("sort").value = state.sort;
  const order = facts.peaks.map((_, number) => number);
  // What channels typically reach is known of some networks and layers only.
  const by = { activation: facts.peaks, relative: facts.relative ?? facts.peaks }[state.sort];
  if (by) order.sort((a, b) => by[b] - by[a]);
  order.sort((a, b) => isLeftOut(state.layer, a) - isLeftOut(state.layer, b));
  const wanted = $("find").value.trim().toLowerCase();
  const isWanted = (number) => (/^\d+$/.test(wanted)
    ? String(number).startsWith(wanted) : facts.names[number].toLowerCase().includes(wanted));
  const shown = order.filter(isWanted);
  // Before a camera the channels keep their places, and their buttons.
  if (!here.live || box.children.length !== shown.length) {
    box.replaceChildren(...shown.map(tile));
    roving(box, "button:enabled");
  }
  for (const button of box.children) drawTile(button, sides[0].grid);
  markChosen(box, (part) => Number(part.dataset.channel) === state.channel);
}

function tile(number) {
  const name = element("span", { className: "name", textContent: number });
  const button = element("button", { type: "button", role: "option" }, element("canvas"), name);
  button.dataset.channel = number;
  button.disabled = isLeftOut(state.layer, number);
  button.addEventListener("click", () => {
    markChosen($("grid"), (part) => part === button);
    chooseChannel(number).catch(fail);
  });
  return button;
}

function drawTile(button, grid) {
  const number = Number(button.dataset.channel), { facts } = grid;
  drawMap(button.firstElementChild, grid, number, 64);
  button.title = `${facts.names[number]}, peak ${short(facts.peaks[number])}` +
    (facts.relative ? `, ${short(facts.relative[number])} times its typical peak` : "");
  button.setAttribute("aria-label", button.title);
}

export function listenToGrid() {
  $("sort").addEventListener("change", () => { state.sort = $("sort").value; writeAddress(true); drawGrid(); });
  $("find").addEventListener("input", drawGrid);
}
