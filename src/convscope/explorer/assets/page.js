// The page as a whole: it starts by any transport.

import { listenToGrid } from "./grid.js";
import { listenToPatch, listenToPatchControls, showPatchControls } from "./patch.js";
import { listenToPictures, showImage } from "./picture.js";
import { $, defaults, here, isLeftOut, readAddress, sides, state } from "./state.js";
import { drawStrip } from "./strip.js";
import { fail } from "./tools.js";
import { listenToChanges, listenToMap } from "./unit.js";

// The middle of the network is where maps can be looked at and units already know something.
function firstLayer() {
  const layers = here.about.layers.filter((one) => !isLeftOut(one.name));
  const maps = layers.filter((one) => one.shape.length === 3 && one.shape[1] >= 8);
  return (maps[Math.floor(maps.length / 2)] ?? layers[0]).name;
}

async function show() {
  readAddress();
  if (!here.about.layers.some((one) => one.name === state.layer)) state.layer = firstLayer();
  showPatchControls();
  await showImage();
}

export async function begin(ask) {
  here.ask = ask;
  here.about = await ask.json("state");
  const { network, notes, answer, patch, ahead } = here.about;
  document.title = `${network}: convscope`;
  $("network").textContent = network;
  $("notes").textContent = notes.join("; ");
  $("notes").hidden = !notes.length;
  // Where the network gives no answer, nothing shows what a changed channel does.
  for (const part of here.root.querySelectorAll(".change")) part.hidden = !answer;
  defaults.patch = patch;
  // Of files what was not answered ahead is grey.
  $("ahead").hidden = !ahead;
  for (const part of here.root.querySelectorAll("[data-live]")) part.disabled = Boolean(ahead);
  drawStrip();
  for (const side of sides) { listenToPatch(side); listenToMap(side); }
  for (const listen of [listenToPatchControls, listenToGrid, listenToChanges, listenToPictures]) listen();
  window.addEventListener("popstate", () => show().catch(fail));
  await show();
}
