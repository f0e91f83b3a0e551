// A training's checkpoints, on a slider; while it goes on, new ones come by themselves.

import { showAnswers } from "./picture.js";
import { $, here, state, writeAddress } from "./state.js";
import { fail, latest } from "./tools.js";

const again = latest(showAnswers);

// Where no checkpoint is chosen, the newest is shown.
export function showTraining() {
  const { checkpoints, finished } = here.about;
  $("training").hidden = !checkpoints;
  if (!checkpoints) return;
  const place = checkpoints.findIndex((one) => one.step === state.checkpoint);
  const shown = place < 0 ? checkpoints.length - 1 : place;
  $("checkpoint").max = checkpoints.length - 1;
  $("checkpoint").value = shown;
  const { step, epoch, accuracy } = checkpoints[shown];
  const parts = [`${shown + 1} of ${checkpoints.length}`, `step ${step}`];
  if (epoch !== null) parts.push(`epoch ${epoch.toFixed(2)}`);
  if (accuracy !== null) parts.push(`${(100 * accuracy).toFixed(1)}% of the held-out images right`);
  if (!finished) parts.push(place < 0 ? "following the training" : "the training goes on");
  $("checkpoint-name").textContent = parts.join(", ");
}

export function listenToTraining() {
  $("checkpoint").addEventListener("input", () => {
    const { checkpoints } = here.about, place = Number($("checkpoint").value);
    state.checkpoint = place === checkpoints.length - 1 ? null : checkpoints[place].step;
    writeAddress(false);
    showTraining();
    again();
  });
  if (!here.about.checkpoints || here.about.finished) return;
  const stop = here.ask.watch(latest(async () => {
    const before = here.about.checkpoints.length;
    here.networks[0] = await here.ask.json("state");
    showTraining();
    $("notes").hidden = !here.about.notes.length; // one of them: that the training is not finished
    if (here.about.finished) stop();
    if (state.checkpoint === null && here.about.checkpoints.length > before) again();
  }), fail);
}
