// What the page shows: all that a bookmark must bring back lies in `state`, and so in the address.

export const here = {
  ask: null, // the transport: json(path, given, kind), picture(path, given, kind), send(path, given, body)
  root: document, // where the page's parts lie
  about: null, // what is known of the network
};

// What is not given is the network's own choice.
export const state = {
  image: 0, layer: "", channel: null, row: null, column: null, patch: 32, fill: "gray",
  top: null, left: null, sort: "number", watch: "answer", scale: "", only: "",
};
export const defaults = { ...state };
const NUMBERS = new Set(["image", "channel", "row", "column", "patch", "top", "left"]);

export const $ = (id) => here.root.getElementById(id);

// What is seen of one image by one network.
export class Side {
  clean = null; // what the network says to the image as it is
  grid = null; // the maps of the layer that is shown
  heat = new Map(); // "row,column" of a patch -> how much it took away
  window = null; // the pixels that the unit reads

  constructor(number) { this.number = number; }

  get about() { return here.about; }

  // What every question of this side says of itself.
  get given() { return { image: state.image }; }

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
}

// A step is one that the back button returns to.
export function writeAddress(step) {
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

export const watched = () => (state.layer && state.channel !== null
  ? { layer: state.layer, channel: state.channel } : {});
