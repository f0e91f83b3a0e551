// What the network says: bars of the classes that the clean image is taken for most.

import { here, sides, state, watched } from "./state.js";
import { element, short } from "./tools.js";

export const classesOf = (side) => side.clean.classes.map((one) => one.number).join(",");

export async function readClean() {
  for (const side of sides) {
    const given = { ...side.given, ...watched(side) };
    [side.clean] = await here.ask.json("reading", given, side.kind("clean"));
    // With a patch or a changed channel the bars wait for that, and do not jump.
    if (state.top === null && !state.scale && !state.only) showReading(side, side.clean);
  }
}

function line() {
  const bar = element("span", { className: "bar" }, element("i"), element("b"));
  const [name, value] = ["name", "value"].map((className) => element("span", { className }));
  return element("div", {}, name, bar, value);
}

export function showReading(side, reading) {
  const box = side.$("classes"), { clean, about } = side, number = about.answer === "number";
  side.$("answer-head").hidden = !clean.classes.length;
  if (box.children.length !== reading.classes.length) {
    box.replaceChildren(...reading.classes.map(line));
  }
  const scale = number ? Math.max(...clean.classes.map((one) => Math.abs(one.value)), 1e-9) : 1;
  const share = (one) => `${(100 * Math.abs(one.value)) / scale}%`;
  reading.classes.forEach((one, place) => {
    const own = box.children[place];
    const name = own.querySelector(".name");
    name.textContent = name.title = one.name;
    own.querySelector(".value").textContent = number ? short(one.value) : one.value.toFixed(3);
    own.querySelector("i").style.width = share(one);
    own.querySelector("b").style.left = share(clean.classes[place]);
    own.querySelector("b").hidden = reading === clean;
    own.dataset.number = one.number;
  });
  const parts = [];
  const ticked = reading !== clean && reading.classes.length;
  if (ticked) parts.push(`tick: without the ${state.top === null ? "change" : "patch"}`);
  if (state.top !== null && reading !== clean) parts.push(`patch at row ${state.top}, column ${state.left}`);
  if (reading.name) {
    const best = reading.classes.find((one) => one.number === reading.predicted);
    parts.push(`most probable: ${reading.name}${best ? ` (${best.value.toFixed(3)})` : ""}`);
  }
  if (reading.activation !== null) {
    const before = clean.activation;
    const left = before && reading !== clean
      ? `, ${Math.round((100 * reading.activation) / before)}% of the clean` : "";
    parts.push(`this channel's sum ${short(reading.activation)}${left}`);
  }
  side.$("said").textContent = parts.join("; ");
}
