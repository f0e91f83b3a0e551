// What the page shows: all that a bookmark must bring back lies in `state`, and so in the address.

export const here = {
  ask: null, // the transport: json(path, given, kind), picture(path, given, kind), send(path, given, body)
  root: document, // where the page's parts lie
  networks: [], // what is known of each network
  live: false, // whether a camera changes the image all the time

  get about() { return this.networks[0]; },
};

// What is not given is the network's own choice. The other image and network are those of the
// second side, which is there if one of them is.
export const state = {
  image: 0, network: 0, other: null, against: null, checkpoint: null, layer: "", channel: null,
  row: null, column: null, tool: "patch", patch: 32, fill: "gray", top: null, left: null,
  sort: "number", watch: "answer", rule: "", scale: "", only: "",
};
export const defaults = { ...state };
const NUMBERS = new Set([
  "image", "network", "other", "against", "checkpoint", "channel", "row", "column", "patch", "top",
  "left",
]);

export const $ = (id) => here.root.getElementById(id);

// Where the chosen unit lies, if not at its channel's peak.
export const placed = () => (state.row === null ? {} : { row: state.row, column: state.column });

// What is seen of one image by one network.
export class Side {
  clean = null; // what the network says to the image as it is
  grid = null; // the maps of the layer that is shown
  heat = new Map(); // "row,column" of a patch -> how much it took away
  mapped = null; // what that is of
  window = null; // the pixels that the unit reads
  picture = {}; // what is known of the image

  constructor(number) { this.number = number; }

  get image() { return (this.number ? state.other : null) ?? state.image; }

  set image(value) { state[this.number ? "other" : "image"] = value; }

  get network() { return (this.number ? state.against : null) ?? state.network; }

  set network(value) { state[this.number ? "against" : "network"] = value; }

  get about() { return here.networks[this.network]; }

  get layer() { return this.about.layers.find((one) => one.name === state.layer); }

  // What the heat map is of: once that changes, it begins anew.
  get subject() {
    const own = state.watch === "channel" ? [state.layer, state.channel] : [];
    return [this.image, this.network, this.given.checkpoint, state.patch, state.fill, state.watch, ...own].join();
  }

  // What every question of this side says of itself.
  get given() {
    const checkpoint = state.checkpoint ?? this.about.checkpoints?.at(-1).step;
    return { image: this.image, network: this.network || undefined, checkpoint };
  }

  // The first side's network tells how large a patch is; another may take larger images.
  scaled(pixels) { return Math.round((pixels * this.about.size[0]) / sides[0].about.size[0]); }

  $(id) { return $(this.number ? `${id}-${this.number + 1}` : id); }

  kind(word) { return `${word}-${this.number}`; }
}

export const sides = [new Side(0)];

export function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  for (const name of Object.keys(state)) {
    const value = given.get(name);
    if (value === null) state[name] = defaults[name];
    else state[name] = NUMBERS.has(name) ? Number(value) : value;
  }
  return leaveOut();
}

const within = (count, value) => Number.isInteger(value) && value >= 0 && value < count;
const layers = () => here.networks[state.network].layers;
const lengths = () => layers().find(({ name }) => name === state.layer)?.shape ?? [0];
const room = (axis) => here.networks[state.network].size[axis];
const isImage = (value) => within(here.about.images.length, value);
const isNetwork = (value) => within(here.networks.length, value);
const isOffered = (value, name) => [...$(name).children].some((own) => (own.value || own.dataset.tool) === value);
const channels = () => lengths()[0];
const ahead = () => here.about.ahead;

// Whether the page has what a part of the address says, in an order in which each may ask those before.
const FITS = {
  image: isImage,
  other: isImage,
  network: isNetwork,
  against: isNetwork,
  checkpoint: (value) => here.about.checkpoints?.some(({ step }) => step === value),
  layer: (value) => layers().some(({ name }) => name === value) && !isLeftOut(value),
  channel: (value) => within(channels(), value) && !isLeftOut(state.layer, value),
  row: (value) => !ahead() && state.channel !== null && within(lengths()[1] ?? 1, value),
  column: (value) => state.row !== null && within(lengths()[2] ?? 1, value),
  scale: (value) => value.split(";").every((own) => /^\d+:[\d.]+$/.test(own) && parseInt(own, 10) < channels()),
  only: (value) => within(channels(), Number(value)),
  rule: (value) => [...here.about.more, ...here.about.methods].includes(value),
  tool: (value) => isOffered(value, "tools"),
  fill: isOffered,
  sort: isOffered,
  patch: (value) => (ahead() ? value === defaults.patch : value > 0 && within(Math.min(room(0), room(1)), value)),
  // The answers of a changed network are to the image as it is.
  top: (value) => !state.scale && !state.only && (ahead() ? ahead().rows.includes(value) : within(room(0) - state.patch + 1, value)),
  left: (value) => (ahead() ? ahead().columns.includes(value) : within(room(1) - state.patch + 1, value)),
};

// An address may be older than the page, or of another network: what is not there is left out, and
// returned in words.
function leaveOut() {
  const lost = [];
  for (const [name, fits] of Object.entries(FITS)) {
    if (state[name] === defaults[name] || fits(state[name], name)) continue;
    lost.push(`${name} ${state[name]}`);
    state[name] = defaults[name];
  }
  if (state.row === null || state.column === null) state.row = state.column = null;
  if (state.top === null || state.left === null) state.top = state.left = null;
  return lost.join(", ");
}

// A step is one that the back button returns to.
export function writeAddress(step) {
  if (location.protocol === "about:") return; // a notebook's frame has no address
  const kept = new URLSearchParams();
  for (const [name, value] of Object.entries(state)) {
    if (value !== defaults[name] && value !== null) kept.set(name, value);
  }
  const address = `#${kept}`;
  if (address === location.hash || (address === "#" && !location.hash)) return;
  history[step ? "pushState" : "replaceState"](null, "", address);
}

// Whether a page of files has no answers of a layer, or of a channel of it.
export function isLeftOut(layer, channel) {
  const own = here.about.ahead?.channels[layer];
  return Boolean(here.about.ahead) && !(channel === undefined ? own : own?.includes(channel));
}

// What is open of a layer before one is chosen: of files its strongest channel, else nothing.
export const firstChannel = () => ahead()?.channels[state.layer]?.[0] ?? null;

export const watched = (side) => (side.layer && state.channel !== null
  ? { layer: state.layer, channel: state.channel } : {});
