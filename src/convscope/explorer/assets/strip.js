// The network as a strip of volumes, from the image up, to choose a layer from.

import { readClean } from "./classes.js";
import { showLayer } from "./grid.js";
import { moved } from "./patch.js";
import { $, firstChannel, isLeftOut, sides, state, writeAddress } from "./state.js";
import { during, element, fail, roving } from "./tools.js";
import { showUnit } from "./unit.js";

// The middle of the network is where maps can be looked at and units already know something.
function firstLayer(about) {
  const layers = about.layers.filter((one) => !isLeftOut(one.name));
  const maps = layers.filter((one) => one.shape.length === 3 && one.shape[1] >= 8);
  return (maps[Math.floor(maps.length / 2)] ?? layers[0]).name;
}

export function drawStrip() {
  if (!sides[0].layer) state.layer = firstLayer(sides[0].about);
  state.channel ??= firstChannel();
  const most = Math.log2(Math.max(...sides[0].about.size) + 1);
  $("strip").replaceChildren(...sides[0].about.layers.map((layer) => volume(layer, most)));
  roving($("strip"), "button:enabled");
}

function volume(layer, most) {
  const [channels, height = 1] = layer.shape;
  const title = `${layer.name}: ${layer.op}, ${layer.shape.join("×")}, reads ${layer.field.join("×")} pixels`;
  const drawn = element("span", { className: `volume ${layer.op.replace(/[^a-z]+/g, "-")}` });
  drawn.style.height = `${12 + (64 * Math.log2(height + 1)) / most}px`;
  drawn.style.width = `${4 + 2.2 * Math.log2(channels + 1)}px`;
  // The end of a long name tells it from its neighbours': as many of its words as there is room for.
  const end = layer.name.match(/(?<=[._]).{1,22}$/)?.[0] ?? layer.name.slice(-22);
  const textContent = layer.name.length > 22 ? `…${end}` : layer.name;
  const name = element("span", { className: "name", textContent });
  const button = element("button", { type: "button", role: "option", title, "aria-label": title }, drawn, name);
  button.dataset.layer = layer.name;
  button.disabled = isLeftOut(layer.name);
  button.addEventListener("click", () => chooseLayer(layer.name).catch(fail));
  return button;
}

async function chooseLayer(name) {
  Object.assign(state, { layer: name, row: null, column: null, scale: "", only: "" });
  state.channel = firstChannel();
  writeAddress(true);
  await during("The layer's maps are drawn", async () => {
    await Promise.all([showLayer(), showUnit()]);
    await readClean();
  });
  moved();
}
