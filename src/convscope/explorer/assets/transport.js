// How the page asks: over HTTP, by relative addresses, so that it also works behind a proxy's path.

export class Overtaken extends Error {}

async function checked(response) {
  if (response.status === 204) throw new Overtaken("overtaken by a newer question");
  if (response.ok) return response;
  const { error } = await response.json().catch(() => ({ error: response.statusText }));
  throw new Error(error);
}

export class Http {
  #turn = 0;
  #tab = Math.random().toString(36).slice(2);

  #ask(path, given, kind, sent = {}) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(given)) {
      if (value !== undefined && value !== null && value !== "") query.set(name, value);
    }
    if (kind) {
      query.set("kind", `${this.#tab}-${kind}`);
      query.set("turn", ++this.#turn);
    }
    return fetch(`${path}?${query}`, { credentials: "same-origin", ...sent }).then(checked);
  }

  async json(path, given = {}, kind = "") {
    return (await this.#ask(path, given, kind)).json();
  }

  // A picture with what is known of it: four bytes of length, JSON, and a PNG.
  async picture(path, given = {}, kind = "") {
    const bytes = await (await this.#ask(path, given, kind)).arrayBuffer();
    const length = new DataView(bytes).getUint32(0);
    const facts = JSON.parse(new TextDecoder().decode(new Uint8Array(bytes, 4, length)));
    const png = new Blob([new Uint8Array(bytes, 4 + length)], { type: "image/png" });
    return { facts, bitmap: await createImageBitmap(png), png };
  }

  async send(path, given, body, kind = "") {
    return (await this.#ask(path, given, kind, { method: "POST", body })).json();
  }
}
