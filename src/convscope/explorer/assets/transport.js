// How the page asks. Each way of asking has an `ask` of its own, from which all else here follows.

export class Overtaken extends Error {}

// What is given in a question, as text.
export const texts = (values) => Object.fromEntries(Object.entries(values)
  .filter(([, value]) => value !== undefined && value !== null && value !== "")
  .map(([name, value]) => [name, String(value)]));

export class Transport {
  // ask(path, given, kind, body) answers with bytes; of a kind only the newest question counts.

  async json(path, given = {}, kind = "", body = undefined) {
    return JSON.parse(new TextDecoder().decode(await this.ask(path, given, kind, body)));
  }

  // A picture with what is known of it: four bytes of length, JSON, and a PNG.
  async picture(path, given = {}, kind = "") {
    const bytes = await this.ask(path, given, kind);
    const length = new DataView(bytes).getUint32(0);
    const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    const png = new Blob([new Uint8Array(bytes, 4 + length)], { type: "image/png" });
    return { facts, bitmap: await createImageBitmap(png) };
  }

  // Calls back whenever a training may have something new, until what it returns is called; and
  // with an error where nobody tells any more.
  watch() { return () => {}; }

  send(path, given, body, kind = "") { return this.json(path, given, kind, body); }

  // What is done of a question that takes long, and all of it; null where nobody can tell.
  async progress() { return null; }

  stop() {}
}

const ENDED = "Nobody answers here any more: run convscope explore again, and open the address that it prints";

// Over HTTP, by relative addresses, so that it also works behind a proxy's path.
export class Http extends Transport {
  #turn = 0;
  #tab = Math.random().toString(36).slice(2);

  async ask(path, given, kind, body) {
    const query = new URLSearchParams({ ...texts(given), ...(kind ? this.#newest(kind) : {}) });
    const method = body === undefined ? "GET" : "POST";
    const response = await fetch(`${path}?${query}`, { credentials: "same-origin", method, body })
      .catch(() => { throw new Error(ENDED); });
    if (response.status === 204) throw new Overtaken("overtaken by a newer question");
    if (response.ok) return response.arrayBuffer();
    const { error } = await response.json().catch(() => ({ error: response.statusText }));
    throw new Error(error);
  }

  #newest(kind) { return { kind: `${this.#tab}-${kind}`, turn: ++this.#turn }; }

  async progress(kind) {
    return (await fetch(`progress?${new URLSearchParams({ kind: `${this.#tab}-${kind}` })}`)).json();
  }

  stop(kind) { fetch(`stop?${new URLSearchParams(this.#newest(kind))}`).catch(() => {}); }

  watch(told, ended) {
    const events = new EventSource("events");
    let lost = 0; // once where a training has ended, and again where nobody can be reached
    events.onopen = () => { lost = 0; };
    events.onmessage = told;
    events.onerror = () => {
      lost += 1;
      if (lost > 1 || events.readyState === EventSource.CLOSED) ended(new Error(ENDED));
    };
    return () => events.close();
  }
}
