// The page as a whole: it starts by any transport.

import { listenToUndo } from "./brush.js";
import { listenToCamera } from "./camera.js";
import { listenToGrid } from "./grid.js";
import { listenToPatchControls, showPatchControls } from "./patch.js";
import { listenToPictures, showImages } from "./picture.js";
import { arrange, listenToSide, listenToTools, showTool } from "./sides.js";
import { $, defaults, here, readAddress, sides, writeAddress } from "./state.js";
import { drawStrip } from "./strip.js";
import { listenToTraining, showTraining } from "./training.js";
import { fail } from "./tools.js";
import { drawRules, listenToChanges } from "./unit.js";

async function show() {
  const lost = readAddress();
  arrange();
  drawStrip();
  showTool();
  drawRules();
  showPatchControls();
  showTraining();
  await showImages();
  if (!lost) return;
  writeAddress(false);
  throw new Error(`The address asks for what is not here: ${lost}`);
}

export async function begin(ask) {
  here.ask = ask;
  const about = await ask.json("state");
  const others = about.networks.slice(1).map((_, number) => ask.json("state", { network: number + 1 }));
  here.networks = [about, ...await Promise.all(others)];
  const { networks, notes, answer, patch, ahead } = about;
  document.title = `${networks.join(", ")}: convscope`;
  $("network").textContent = networks.join(" and ");
  $("notes").textContent = notes.join("; ");
  $("notes").hidden = !notes.length;
  // Where the network gives no answer, nothing shows what a changed channel does.
  for (const part of here.root.querySelectorAll(".change")) part.hidden = !answer;
  defaults.patch = patch;
  // Of files what was not answered ahead cannot be chosen.
  $("ahead").hidden = !ahead;
  for (const part of here.root.querySelectorAll("[data-live]")) part.disabled = Boolean(ahead);
  for (const part of here.root.querySelectorAll(".live")) part.hidden = Boolean(ahead);
  $("ask-trust").disabled = Boolean(ahead && !ahead.trust);
  listenToSide(sides[0]);
  for (const listen of [listenToTools, listenToPatchControls, listenToGrid, listenToChanges]) listen();
  for (const listen of [listenToPictures, listenToUndo, listenToCamera, listenToTraining]) listen();
  window.addEventListener("popstate", () => show().catch(fail));
  // What went wrong is read by the time that something else is done.
  for (const act of ["pointerdown", "keydown"]) {
    document.addEventListener(act, () => { $("error").hidden = true; }, true);
  }
  await show().catch(fail);
}
