// The image of each side, and how others come onto the page: by a file, dropped, or pasted.

import { readClean } from "./classes.js";
import { showLayer } from "./grid.js";
import { forgetHeat, moved } from "./patch.js";
import { $, here, sides, state, writeAddress } from "./state.js";
import { element, fail } from "./tools.js";
import { showUnit } from "./unit.js";

let receiver = sides[0]; // the side that a chosen file is for

export function drawPictures(side) {
  const shown = side.picture.origin ?? side.image;
  const buttons = here.about.images.flatMap((textContent, number) => {
    if (textContent === null) return [];
    const given = { type: "button", textContent, "aria-pressed": number === shown };
    const button = element("button", given);
    button.addEventListener("click", () => chooseImage(side, number).catch(fail));
    return [button];
  });
  const more = element("button", { type: "button", textContent: "Add a picture", disabled: Boolean(here.about.ahead) });
  more.addEventListener("click", () => { receiver = side; $("file").click(); });
  side.$("pictures").replaceChildren(...buttons, more);
}

async function addPicture(side, file) {
  $("status").textContent = "Taking in the picture";
  const { image } = await here.ask.send("picture", { title: file.name || "pasted picture" }, file);
  await list();
  await chooseImage(side, image);
}

// Learns what images there are now.
export async function list() {
  here.about.images = (await here.ask.json("state")).images;
}

export async function chooseImage(side, number) {
  side.image = number;
  forgetHeat();
  writeAddress(true);
  await showImages();
}

export async function showImages() {
  $("error").hidden = true;
  $("status").textContent = "The image goes up the network";
  for (const side of sides) {
    const { facts, bitmap } = await here.ask.picture("picture", side.given, side.kind("picture"));
    side.picture = facts;
    drawImage(side, bitmap);
    drawPictures(side);
  }
  $("undo-stroke").disabled = sides.every((side) => side.picture.parent === null);
  await showAnswers();
  $("status").textContent = "";
}

// What follows from the images, the layer and the channel.
export async function showAnswers() {
  await showLayer();
  await Promise.all([readClean(), showUnit()]);
  moved();
}

export function drawImage(side, source) {
  const [height, width] = side.about.size;
  for (const canvas of [side.$("image"), side.$("heat")]) {
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
  }
  side.$("image").getContext("2d").drawImage(source, 0, 0, width, height);
  side.$("marks").setAttribute("viewBox", `0 0 ${width} ${height}`);
}

export function listenToPictures() {
  const add = (side, file) => file && addPicture(side, file).catch(fail);
  $("file").addEventListener("change", () => {
    add(receiver, $("file").files[0]);
    $("file").value = "";
  });
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    const other = event.target.closest?.(".side")?.dataset.number === "1";
    add(sides[other ? 1 : 0], event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => add(sides[0], event.clipboardData.files[0]));
}
