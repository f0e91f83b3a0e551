// The image of each side, and how others come onto the page: by a file, dropped, or pasted.

import { readClean } from "./classes.js";
import { showLayer } from "./grid.js";
import { moved, renewHeat } from "./patch.js";
import { $, here, sides, state, writeAddress } from "./state.js";
import { during, element, fail } from "./tools.js";
import { showUnit } from "./unit.js";

let receiver = sides[0]; // the side that a chosen file is for

export function drawPictures(side) {
  const shown = side.picture.origin ?? side.image, box = side.$("pictures");
  const listed = here.about.images.flatMap((title, number) => (title === null ? [] : [number]));
  // Buttons that are there already stay, and with them what the keys are at.
  if (box.dataset.listed !== `${listed}`) {
    const buttons = listed.map((number) => {
      const button = element("button", { type: "button", textContent: here.about.images[number] });
      button.addEventListener("click", () => chooseImage(side, number).catch(fail));
      return button;
    });
    const more = element("button", { type: "button", textContent: "Add a picture", disabled: Boolean(here.about.ahead) });
    more.addEventListener("click", () => { receiver = side; $("file").click(); });
    box.replaceChildren(...buttons, more);
    box.dataset.listed = listed;
  }
  listed.forEach((number, place) => box.children[place].setAttribute("aria-pressed", number === shown));
}

async function addPicture(side, file) {
  const { image } = await during("Taking in the picture", async () => {
    const taken = await here.ask.send("picture", { title: file.name || "pasted picture" }, file);
    await list();
    return taken;
  });
  await chooseImage(side, image);
}

// Learns what images there are now.
export async function list() {
  here.about.images = (await here.ask.json("state")).images;
}

export async function chooseImage(side, number) {
  side.image = number;
  writeAddress(true);
  await showImages();
}

export async function showImages() {
  $("error").hidden = true;
  renewHeat();
  await during("The image goes up the network", async () => {
    for (const side of sides) {
      side.clean = null; // what is asked of a patch waits for it
      const { facts, bitmap } = await here.ask.picture("picture", side.given, side.kind("picture"));
      side.picture = facts;
      drawImage(side, bitmap);
      drawPictures(side);
    }
    $("undo-stroke").disabled = sides.every((side) => side.picture.parent === null);
    await showAnswers();
  });
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
  side.$("image").parentElement.style.setProperty("--shape", width / height); // a high one must not fill the page
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
