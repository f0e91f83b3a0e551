// The camera: its newest frame goes up the network as soon as the one before is shown.

import { readClean } from "./classes.js";
import { showLayer } from "./grid.js";
import { moved } from "./patch.js";
import { drawImage, drawPictures, list, showImages } from "./picture.js";
import { $, here, sides, state, writeAddress } from "./state.js";
import { during, fail } from "./tools.js";
import { showUnit } from "./unit.js";

const WHY = {
  NotFoundError: "there is no camera",
  NotAllowedError: "the browser did not allow the camera",
  NotReadableError: "another program has the camera",
};

let stream = null;

async function start() {
  if (!navigator.mediaDevices) throw new Error("a browser gives the camera to 127.0.0.1 or https alone");
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  } catch (error) {
    throw new Error(WHY[error.name] ?? `the camera cannot be used: ${error.message}`);
  }
  const video = Object.assign(document.createElement("video"), { srcObject: stream, muted: true, playsInline: true });
  await video.play();
  show(true);
  const own = stream;
  try { await during("The camera is on", (say) => run(video, own, say)); } finally { stop(own); }
  await showImages();
}

function show(on) {
  $("camera").setAttribute("aria-pressed", on);
  $("camera").textContent = on ? "Stop the camera" : "Camera";
}

async function run(video, own, say) {
  const side = sides[0], [height, width] = side.about.size;
  const canvas = Object.assign(document.createElement("canvas"), { height, width });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  let image, last = performance.now(), rate = 0;
  here.live = true;
  while (stream === own) {
    drawMiddle(context, video, canvas);
    const frame = context.getImageData(0, 0, width, height).data;
    const sent = await here.ask.send("frame", { image }, frame);
    if (image === undefined) {
      side.image = image = sent.image;
      side.picture = { parent: null, origin: null };
      await list();
      drawPictures(side);
      writeAddress(true);
    } else if (side.image !== image) break; // another image was chosen
    drawImage(side, canvas);
    await Promise.all([showLayer(), readClean(), showUnit()]);
    await moved();
    const now = performance.now();
    rate = rate ? 0.8 * rate + 200 / (now - last) : 1000 / (now - last);
    last = now;
    say(`${rate.toFixed(rate < 10 ? 1 : 0)} images a second`);
    await new Promise(requestAnimationFrame);
  }
}

// The largest middle of the picture that has the network's shape.
function drawMiddle(context, video, { width, height }) {
  const scale = Math.min(video.videoWidth / width, video.videoHeight / height);
  const [across, down] = [width * scale, height * scale];
  const [left, top] = [(video.videoWidth - across) / 2, (video.videoHeight - down) / 2];
  context.drawImage(video, left, top, across, down, 0, 0, width, height);
}

function stop(own) {
  for (const track of own.getTracks()) track.stop();
  if (stream === own) stream = null;
  here.live = false;
  show(false);
}

export function listenToCamera() {
  $("camera").addEventListener("click", () => {
    if (!stream) { start().catch(fail); return; }
    stream = null; // the frame that is under way is the last, and stays
  });
  window.addEventListener("pagehide", () => stream && stop(stream));
}
