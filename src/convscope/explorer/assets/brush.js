// A brush that hides what it touches as the patch does, and an eraser that brings it back.

import { chooseImage, list } from "./picture.js";
import { $, here, sides, state } from "./state.js";
import { ARROWS, fail } from "./tools.js";

const SHOWN = { black: "#000" }; // until the answer is there; what else hides is shown grey

let stroke = null; // a byte a pixel of the first network's input, and where the brush was last

function begin(side, at) {
  const [height, width] = side.about.size;
  stroke = { side, height, width, mask: new Uint8Array(height * width), at };
  dab(at);
}

// Every pixel whose middle lies within the brush; one at least.
function dab([row, column]) {
  const { side, height, width, mask } = stroke, radius = side.scaled(state.patch) / 2;
  const context = side.$("image").getContext("2d");
  context.fillStyle = state.tool === "eraser" ? "rgb(255 255 255 / 30%)" : SHOWN[state.fill] ?? "#808080";
  const reach = Math.ceil(radius);
  for (let y = Math.max(0, row - reach); y <= Math.min(height - 1, row + reach); y += 1) {
    for (let x = Math.max(0, column - reach); x <= Math.min(width - 1, column + reach); x += 1) {
      const near = (y - row) ** 2 + (x - column) ** 2 < Math.max(radius ** 2, 1);
      if (!near || mask[y * width + x]) continue;
      mask[y * width + x] = 1;
      context.fillRect(x, y, 1, 1);
    }
  }
}

function drawTo(at) {
  const [rows, columns] = [at[0] - stroke.at[0], at[1] - stroke.at[1]];
  const steps = Math.max(Math.abs(rows), Math.abs(columns), 1);
  for (let step = 1; step <= steps; step += 1) {
    dab([stroke.at[0] + Math.round((rows * step) / steps), stroke.at[1] + Math.round((columns * step) / steps)]);
  }
  stroke.at = at;
}

async function send() {
  const { side, mask } = stroke;
  stroke = null;
  if (!mask.includes(1)) return;
  const { image } = await here.ask.send("stroke", {
    ...side.given, fill: state.tool === "eraser" ? "erase" : state.fill, patch: side.scaled(state.patch),
  }, mask);
  await list();
  await chooseImage(side, image);
}

// Where the keys hold the brush, a side each.
const held = new Map();

function mark(side) {
  side.$("marks").querySelector(".brush")?.remove();
  if (!held.has(side)) return;
  const [cy, cx] = held.get(side);
  const circle = document.createElementNS("http://www.w3.org/2000/svg", "circle");
  const given = { cx: cx + 0.5, cy: cy + 0.5, r: side.scaled(state.patch) / 2, class: "brush" };
  for (const [name, value] of Object.entries(given)) circle.setAttribute(name, value);
  side.$("marks").append(circle);
}

export const brushTool = {
  press: begin,
  move: (_, at) => stroke && drawTo(at),
  release: () => stroke && send().catch(fail),
  key: (side, event) => {
    const [height, width] = side.about.size, move = ARROWS[event.key];
    const at = held.get(side) ?? [Math.floor(height / 2), Math.floor(width / 2)];
    if (event.key === "Escape") held.delete(side);
    else if (event.key === " ") { begin(side, at); send().catch(fail); }
    else if (move) {
      const step = Math.max(1, Math.round(side.scaled(state.patch) / (event.shiftKey ? 16 : 4)));
      const [row, column] = [at[0] + step * move[0], at[1] + step * move[1]];
      held.set(side, [Math.max(0, Math.min(row, height - 1)), Math.max(0, Math.min(column, width - 1))]);
    } else return;
    event.preventDefault();
    mark(side);
  },
};

// Back to the image before the newest stroke.
export function listenToUndo() {
  const undo = () => {
    const side = [...sides].reverse().find((own) => own.picture.parent != null);
    if (side) chooseImage(side, side.picture.parent).catch(fail);
  };
  $("undo-stroke").addEventListener("click", undo);
  document.addEventListener("keydown", (event) => {
    const writing = event.target.matches?.("input[type=search]");
    if (!writing && event.key === "z" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); undo(); }
  });
}
