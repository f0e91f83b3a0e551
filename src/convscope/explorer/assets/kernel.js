// The page in a notebook's frame, whose questions the notebook passes on to its kernel.

import { begin } from "./page.js";
import { during, fail } from "./tools.js";
import { Overtaken, texts, Transport } from "./transport.js";

const POLLED = 2000; // milliseconds after which a training is asked about again
const SILENT = 2000; // and after which a kernel that has not answered is said to be busy

class Kernel extends Transport {
  #port;
  #frame = Math.random().toString(36).slice(2); // of several that one kernel answers
  #waiting = []; // a kernel answers in turn: of what it has not been asked yet, the oldest first
  #asked = null;
  #long = new Map(); // kind -> a question that takes long, while others are answered
  #count = 0;

  constructor() {
    super();
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    port1.onmessage = ({ data }) => this.#answered(data);
    window.parent.postMessage("convscope", "*", [port2]);
    const root = document.documentElement;
    new ResizeObserver(() => port1.postMessage({ height: root.offsetHeight })).observe(root);
  }

  async ask(path, given, kind, sent) {
    const body = sent === undefined ? undefined : await new Response(sent).arrayBuffer();
    this.stop(kind);
    const older = this.#waiting.findIndex((one) => kind && one.kind === kind);
    if (older >= 0) this.#waiting.splice(older, 1)[0].reject(new Overtaken("overtaken by a newer question"));
    const own = { kind, question: { id: `${this.#frame}-${++this.#count}`, path, given: texts(given), body } };
    own.answer = new Promise((resolve, reject) => Object.assign(own, { resolve, reject }));
    this.#waiting.push(own);
    this.#next();
    return own.answer;
  }

  #next() {
    if (this.#asked || !this.#waiting.length) return;
    const own = this.#asked = this.#waiting.shift();
    this.#port.postMessage(own.question);
    const words = "The kernel is busy; if it was restarted, run this cell again";
    own.timer = setTimeout(() => during(words, () => own.answer).catch(() => {}), SILENT);
  }

  #answered({ id, done, error, content }) {
    const own = [this.#asked, ...this.#long.values()].find((one) => one?.question.id === id);
    if (!own) return;
    clearTimeout(own.timer);
    if (done) {
      this.#long.set(own.kind, Object.assign(own, { done }));
      if (this.#waiting.some(({ kind }) => kind === own.kind)) this.stop(own.kind);
    } else if (error) own.reject(new Error(error));
    else own.resolve(content);
    if (!done) this.#long.delete(own.kind);
    if (own === this.#asked) this.#asked = null;
    this.#next();
  }

  async progress(kind) { return this.#long.get(kind)?.done ?? null; }

  stop(kind) {
    const own = this.#long.get(kind);
    if (!own) return;
    this.#long.delete(kind);
    own.reject(new Overtaken("stopped"));
    this.#port.postMessage({ id: own.question.id, path: "stop" });
  }

  watch(told) {
    const timer = setInterval(told, POLLED);
    return () => clearInterval(timer);
  }
}

begin(new Kernel()).then(() => { document.body.dataset.ready = "yes"; }).catch(fail);
