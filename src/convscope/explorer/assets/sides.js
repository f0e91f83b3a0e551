// One side or two: two images, or two networks, of which the patch and the unit are one.

import { brushTool } from "./brush.js";
import { listenToQuestions } from "./channel.js";
import { patchTool } from "./patch.js";
import { showImages } from "./picture.js";
import { $, here, Side, sides, state, writeAddress } from "./state.js";
import { drawStrip } from "./strip.js";
import { fail, pixelAt } from "./tools.js";
import { listenToMap } from "./unit.js";

const tool = () => (state.tool === "patch" ? patchTool : brushTool);

export function listenToSide(side) {
  const image = side.$("image");
  let pressed = false;
  const at = (event) => pixelAt(event, image, (tool() === patchTool ? sides[0] : side).about.size);
  image.addEventListener("pointerdown", (event) => {
    pressed = true;
    image.setPointerCapture(event.pointerId);
    tool().press(side, at(event));
  });
  image.addEventListener("pointermove", (event) => pressed && tool().move(side, at(event)));
  image.addEventListener("pointerup", () => { pressed = false; tool().release(); });
  image.addEventListener("keydown", (event) => tool().key(side, event));
  listenToMap(side);
  listenToQuestions(side);
  const choose = side.$("choose");
  choose.replaceChildren(...here.networks.map(({ network }, number) => new Option(network, number)));
  choose.addEventListener("change", () => {
    side.network = Number(choose.value);
    change(true).catch(fail);
  });
}

// Makes the page's parts as many as the address says.
export function arrange() {
  const two = state.other !== null || state.against !== null;
  here.root.querySelector("main").classList.toggle("split", two);
  $("split").setAttribute("aria-pressed", two);
  if (two && sides.length === 1) {
    sides.push(new Side(1));
    for (const one of here.root.querySelectorAll(".side")) {
      const other = one.cloneNode(true);
      other.dataset.number = 1;
      for (const part of other.querySelectorAll("[id]")) part.id += "-2";
      one.after(other);
    }
    listenToSide(sides[1]);
  } else if (!two && sides.length === 2) {
    sides.pop();
    for (const other of here.root.querySelectorAll('.side[data-number="1"]')) other.remove();
  }
  for (const side of sides) {
    side.$("whose").hidden = here.networks.length === 1;
    side.$("choose").value = side.network;
  }
}

// The other network, if there is one; else what was painted on, or the next image.
function split() {
  const { picture, image } = sides[0];
  if (sides.length === 2) Object.assign(state, { other: null, against: null });
  else if (here.networks.length > 1) state.against = (state.network + 1) % here.networks.length;
  else {
    const listed = here.about.images.flatMap((title, number) => (title === null ? [] : [number]));
    state.other = picture.origin ?? listed.find((number) => number > image) ?? listed[0];
  }
  return change(true);
}

async function change(step) {
  writeAddress(step);
  arrange();
  drawStrip();
  await showImages();
}

export function showTool() {
  for (const button of $("tools").children) {
    button.setAttribute("aria-pressed", button.dataset.tool === state.tool);
  }
}

export function listenToTools() {
  for (const button of $("tools").children) {
    button.addEventListener("click", () => {
      Object.assign(state, { tool: button.dataset.tool, top: null, left: null });
      writeAddress(true);
      showTool();
      showImages().catch(fail);
    });
  }
  $("split").addEventListener("click", () => split().catch(fail));
}
