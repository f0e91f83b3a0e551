// What is known of a channel beyond the image: its kernel, its strongest patches, and on demand its
// layer's faults and how far its pictures are to be trusted.

import { here, placed, state } from "./state.js";
import { element, fail, paint, short, whileMeasuring } from "./tools.js";

const given = (side) => ({ ...side.given, layer: state.layer, channel: state.channel });

export async function showChannel(side) {
  const own = `${side.network}/${state.layer}/${state.channel}/${state.row}/${state.column}/${side.image}/${state.checkpoint}`;
  if (side.channel !== own) side.$("told").replaceChildren();
  side.channel = own;
  if (here.live) return;
  await Promise.all([showKernel(side), showPatches(side)]);
}

async function showKernel(side) {
  const figure = side.$("kernel"), [box, caption] = figure.children;
  figure.hidden = !side.layer.convolution;
  if (figure.hidden) return;
  const { facts, bitmap } = await here.ask.picture("kernel", given(side), side.kind("kernel"));
  const { size: [height, width], inputs, of, limit, convolution } = facts;
  const names = inputs.length ? inputs : [""];
  box.replaceChildren(...names.map((name, place) => {
    const canvas = element("canvas", { role: "img", "aria-label": `kernel of input channel ${name}` });
    const times = Math.max(1, Math.floor((inputs.length ? 40 : 96) / Math.max(height, width)));
    Object.assign(canvas, { width: width * times, height: height * times });
    const context = canvas.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(bitmap, place * width, 0, width, height, 0, 0, canvas.width, canvas.height);
    return element("span", {}, canvas, element("span", { className: "name", textContent: name }));
  }));
  const what = inputs.length && of > inputs.length ? `, the ${inputs.length} strongest of ${of} inputs` : "";
  caption.textContent = `kernel of ${convolution}, ${height}×${width}${what}; ±${short(limit)}`;
}

async function showPatches(side) {
  const figure = side.$("patches"), [{ children: halves }, caption] = figure.children;
  figure.hidden = !side.about.atlas.includes(side.layer.convolution);
  if (figure.hidden) return;
  const { facts, bitmap } = await here.ask.picture("patches", given(side), side.kind("patches"));
  await paintHalves(bitmap, halves);
  for (const [place, canvas] of [...halves].entries()) {
    const what = place ? `projections by ${facts.rule}` : "strongest patches";
    canvas.setAttribute("aria-label", `${what}: ${facts.titles.join(", ")}`);
  }
  caption.textContent = facts.count
    ? `its strongest in ${facts.images.toLocaleString("en")} images of ${facts.data}, and their projections`
    : `off in all of ${facts.images.toLocaleString("en")} images of ${facts.data}`;
}

async function paintHalves(bitmap, canvases) {
  const width = bitmap.width / 2;
  for (const [place, canvas] of [...canvases].entries()) {
    paint(canvas, await createImageBitmap(bitmap, place * width, 0, width, bitmap.height), 180);
  }
}

// What takes seconds, and is then of the channel that was asked about.
async function tell(side, question, drawn, form = "json", more = {}) {
  const own = side.channel, box = side.$("told"), said = line("", "quiet"), kind = side.kind(question);
  box.replaceChildren(said);
  try {
    const asked = here.ask[form](question, { ...given(side), ...more }, kind);
    const parts = await drawn(await whileMeasuring(asked, kind, said));
    if (own === side.channel) box.replaceChildren(...parts);
  } catch (error) {
    if (own === side.channel) box.replaceChildren();
    fail(error);
  }
}

const line = (textContent, className = "") => element("p", { textContent, className });

function trustTable({ changes, rules, note }) {
  const row = (kind, cells) => element("tr", {}, ...cells.map((textContent, place) => (
    element(place ? kind : "th", { textContent, scope: place ? "col" : "row" }))));
  const rows = Object.entries(rules).map(([rule, cells]) => row("td", [rule, ...cells]));
  return [...(rows.length ? [element("table", {}, row("th", ["", ...changes]), ...rows)] : []), line(note, "quiet")];
}

const faultLines = ({ faults, elsewhere, note }) => [
  ...faults.map(({ sentence, own }) => line(own ? `${sentence} Channel ${state.channel} is one of them.` : sentence)),
  ...(faults.length ? [] : [line("No fault found in this layer.")]),
  ...(elsewhere.length ? [line(`Faults elsewhere: ${elsewhere.join(", ")}.`)] : []),
  line(note, "quiet"),
];

async function wantedPair({ facts: { activation, real, title, steps }, bitmap }) {
  const captions = [`made up in ${steps} steps: ${short(activation)}`, `real, in ${title}: ${short(real)}`];
  const canvases = captions.map((words) => element("canvas", { role: "img", "aria-label": words }));
  await paintHalves(bitmap, canvases);
  const figures = captions.map((textContent, place) => (
    element("figure", {}, canvases[place], element("figcaption", { textContent }))));
  const note = "How strongly the channel answers stands beneath. A made-up picture alone misleads.";
  return [element("div", { className: "pair" }, ...figures), line(note, "quiet")];
}

// The tree's pictures lie over its letters, which a dark page turns light.
async function treePicture({ facts: { said }, bitmap }) {
  const layers = [element("canvas"), element("canvas")];
  await paintHalves(bitmap, layers);
  return [element("div", { role: "img", "aria-label": said, className: "drawn" }, ...layers)];
}

export function listenToQuestions(side) {
  side.$("ask-tree").addEventListener("click", () => tell(side, "tree", treePicture, "picture", placed()));
  side.$("ask-wanted").addEventListener("click", () => tell(side, "wanted", wantedPair, "picture"));
  side.$("ask-trust").addEventListener("click", () => tell(side, "trust", trustTable, "json", { rule: state.rule }));
  side.$("ask-faults").addEventListener("click", () => tell(side, "faults", faultLines));
}
