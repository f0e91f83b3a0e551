// The image that is shown, and how others come onto the page: by a file, dropped, or pasted.

import { readClean } from "./classes.js";
import { showLayer } from "./grid.js";
import { forgetHeat, moved } from "./patch.js";
import { $, here, sides, state, writeAddress } from "./state.js";
import { element, fail } from "./tools.js";
import { showUnit } from "./unit.js";

function drawPictures() {
  const buttons = here.about.images.map((textContent, number) => {
    const given = { type: "button", textContent, "aria-pressed": number === state.image };
    const button = element("button", given);
    button.addEventListener("click", () => chooseImage(number).catch(fail));
    return button;
  });
  const more = element("button", { type: "button", textContent: "Add a picture", disabled: Boolean(here.about.ahead) });
  more.addEventListener("click", () => $("file").click());
  $("pictures").replaceChildren(...buttons, more);
}

async function addPicture(file) {
  $("status").textContent = "Taking in the picture";
  const { image } = await here.ask.send("picture", { title: file.name || "pasted picture" }, file);
  here.about = await here.ask.json("state");
  await chooseImage(image);
}

async function chooseImage(number) {
  state.image = number;
  forgetHeat();
  writeAddress(true);
  await showImage();
}

export async function showImage() {
  $("error").hidden = true;
  $("status").textContent = "The image goes up the network";
  drawPictures();
  for (const side of sides) {
    const { bitmap } = await here.ask.picture("picture", side.given);
    for (const canvas of [side.$("image"), side.$("heat")]) {
      [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
    }
    side.$("image").getContext("2d").drawImage(bitmap, 0, 0);
    side.$("marks").setAttribute("viewBox", `0 0 ${bitmap.width} ${bitmap.height}`);
    side.clean = null;
  }
  await showLayer();
  await Promise.all([readClean(), showUnit()]);
  moved();
  $("status").textContent = "";
}

export function listenToPictures() {
  const add = (file) => file && addPicture(file).catch(fail);
  $("file").addEventListener("change", () => add($("file").files[0]));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    add(event.dataTransfer.files[0]);
  });
  document.addEventListener("paste", (event) => add(event.clipboardData.files[0]));
}
