// One channel, large: its map, a unit of it brought down by every rule, and how to change it.

import { showChannel } from "./channel.js";
import { readClean } from "./classes.js";
import { moved, renewHeat, showMarks } from "./patch.js";
import { $, here, placed, sides, state, writeAddress } from "./state.js";
import { ARROWS, during, drawMap, element, fail, paint, pixelAt, short, whileMeasuring } from "./tools.js";
import { Overtaken } from "./transport.js";

export async function chooseChannel(number) {
  Object.assign(state, { channel: number, row: null, column: null });
  writeAddress(true);
  await during("The unit goes down to the pixels", async () => {
    await showUnit();
    await readClean();
  });
  moved();
}

export async function showUnit() {
  drawWatch();
  $("unit").hidden = state.channel === null;
  for (const side of sides) {
    if (state.channel !== null && side.layer) await showUnitOf(side); else side.window = null;
    showMarks(side);
    side.$("unit-note").parentElement.classList.toggle("missing", !side.layer);
    if (!side.layer) side.$("unit-note").textContent = `${side.about.network} has no layer ${state.layer}`;
  }
}

async function showUnitOf(side) {
  const own = { ...state }, box = side.$("rules");
  const rules = [...side.about.rules, ...(state.rule ? [state.rule] : [])];
  if (box.children.length !== rules.length) {
    box.replaceChildren(...rules.map((rule) => {
      const canvas = element("canvas", { role: "img", "aria-label": `what drives the unit, by ${rule}` });
      return element("figure", {}, canvas, element("figcaption"));
    }));
  }
  rules.forEach((rule, number) => { box.children[number].dataset.rule = rule; });
  drawUnitMap(side);
  // Black is minus the number beneath, mid-grey zero, white plus it.
  // Before a camera the first rule is quick enough, and the others would show a frame long gone.
  for (const [number, rule] of rules.entries()) {
    const figure = box.children[number], [canvas, caption] = figure.children;
    figure.hidden = here.live && number > 0;
    if (figure.hidden) continue;
    figure.classList.toggle("older", !here.live); // until its picture is of this unit
    try {
      const ofClass = side.about.methods.includes(rule); // and not of the unit
      const asked = { ...side.given, layer: state.layer };
      Object.assign(asked, ofClass ? { method: rule } : { channel: state.channel, rule, ...placed() });
      const kind = side.kind(`unit-${rule}`);
      if (ofClass) { // which may take long, and comes last
        canvas.hidden = true;
        await showChannel(side);
      }
      const answer = here.ask.picture(ofClass ? "attribution" : "unit", asked, kind);
      const { facts, bitmap } = await (ofClass
        ? whileMeasuring(answer, kind, caption, `${rule}: measuring`) : answer);
      if (["channel", "layer", "row", "column", "rule"].some((name) => own[name] !== state[name])) return;
      paint(canvas, bitmap, 180);
      canvas.hidden = false;
      figure.classList.remove("older");
      caption.textContent = `${rule}${ofClass ? ` of ${facts.name}` : ""}, ±${short(facts.limit)}`;
      if (!ofClass) showFacts(side, facts);
    } catch (error) {
      if (error instanceof Overtaken) return;
      canvas.hidden = true;
      figure.classList.remove("older");
      caption.textContent = `${rule}: ${error.message}`;
    }
  }
  await showChannel(side);
}

function showFacts(side, facts) {
  $("unit-name").textContent = `${state.layer}, ${facts.name}`;
  const [top, left, bottom, right] = facts.window, [row, column] = facts.position;
  const what = state.row === null ? "its peak" : "the unit";
  side.$("unit-note").textContent = `${what} at row ${row}, column ${column} is ${short(facts.activation)} ` +
    `and reads rows ${top} to ${bottom - 1}, columns ${left} to ${right - 1}` +
    (facts.notes.length ? `; ${facts.notes.join("; ")}` : "");
  side.window = facts.window;
  side.grid.position = facts.position;
  drawUnitMap(side);
  const seen = side.$("seen"), [height, width] = [bottom - top, right - left];
  const times = Math.max(1, Math.floor(180 / Math.max(height, width)));
  Object.assign(seen, { width: width * times, height: height * times });
  const context = seen.getContext("2d");
  context.imageSmoothingEnabled = false;
  context.drawImage(side.$("image"), left, top, width, height, 0, 0, seen.width, seen.height);
  showMarks(side);
}

function drawUnitMap(side) {
  const canvas = side.$("map"), { facts, position } = side.grid;
  drawMap(canvas, side.grid, state.channel, 180);
  if (!position) return;
  const context = canvas.getContext("2d");
  const [down, across] = [canvas.height / facts.map[0], canvas.width / facts.map[1]];
  context.strokeStyle = "#ff8c1a";
  context.lineWidth = 2;
  context.strokeRect(position[1] * across, position[0] * down, Math.max(across, 4), Math.max(down, 4));
}

// A position of null is that of the channel's peak.
function choosePosition(side, row, column) {
  if (side.about.ahead) return;
  const [rows, columns] = side.grid.facts.map;
  state.row = row === null ? null : Math.max(0, Math.min(row, rows - 1));
  state.column = row === null ? null : Math.max(0, Math.min(column, columns - 1));
  writeAddress(true);
  during("The unit goes down to the pixels", showUnit).catch(fail);
}

export function listenToMap(side) {
  const map = side.$("map");
  map.addEventListener("click", (event) => choosePosition(side, ...pixelAt(event, map, side.grid.facts.map)));
  map.addEventListener("keydown", (event) => {
    const move = ARROWS[event.key], { position } = side.grid;
    if (event.key === "Enter") choosePosition(side, null);
    if (!move || !position) return;
    event.preventDefault();
    choosePosition(side, position[0] + move[0], position[1] + move[1]);
  });
}

// ---- interventions -----------------------------------------------------------------------------

const scales = () => new Map(state.scale.split(";").filter(Boolean).map((part) => {
  const [channel, factor] = part.split(":");
  return [Number(channel), Number(factor)];
}));

function changeTo(scale, only) {
  Object.assign(state, { scale, only, top: null, left: null });
  writeAddress(true);
  showChange();
  moved();
}

export function undoChanges() {
  Object.assign(state, { scale: "", only: "" });
  showChange();
}

function multiply(factor) {
  const kept = scales();
  if (here.about.ahead) kept.clear();
  if (factor === 1) kept.delete(state.channel); else kept.set(state.channel, factor);
  changeTo([...kept].map(([channel, by]) => `${channel}:${by}`).join(";"), state.only);
}

function showChange() {
  const factor = scales().get(state.channel) ?? 1;
  if (here.about.ahead) [$("factor").max, $("factor").step] = [1, 1];
  $("factor").value = factor;
  $("factor-value").textContent = factor === 0 ? "off" : `× ${factor}`;
  $("only").setAttribute("aria-pressed", state.only === String(state.channel));
  const parts = [...scales()].map(([channel, by]) => (by === 0 ? `${channel} off` : `${channel} × ${by}`));
  if (state.only) parts.push(`only ${state.only} kept`);
  $("changed").textContent = parts.length ? `Changed in ${state.layer}: ${parts.join(", ")}` : "";
}

export function drawRules() {
  const { more = [], methods = [] } = here.about;
  const group = (label, names) => element("optgroup", { label }, ...names.map((name) => new Option(name)));
  const groups = [group("what drives the unit", more), group("what the class hangs on", methods)];
  $("rule").replaceChildren(new Option("none", ""), ...groups.filter((one) => one.children.length));
  $("rule").value = state.rule;
}

// What the heat map may be of.
function drawWatch() {
  const options = [];
  if (sides[0].about.answer) options.push(["answer", "the answer"]);
  if (state.channel !== null && !here.about.ahead) options.push(["channel", "this channel"]);
  if (!options.some(([value]) => value === state.watch)) state.watch = options[0]?.[0] ?? "answer";
  $("watch").replaceChildren(...options.map(([value, words]) => new Option(words, value)));
  $("watch").value = state.watch;
  renewHeat();
  showChange();
}

export function listenToChanges() {
  $("rule").addEventListener("change", () => {
    state.rule = $("rule").value;
    writeAddress(true);
    during("The unit goes down to the pixels", showUnit).catch(fail);
  });
  $("factor").addEventListener("input", () => multiply(Number($("factor").value)));
  $("only").addEventListener("click", () => {
    const own = String(state.channel);
    changeTo(state.scale, state.only === own ? "" : own);
  });
  $("undo").addEventListener("click", () => changeTo("", ""));
}
