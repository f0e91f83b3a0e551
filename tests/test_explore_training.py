"""The live page of a training: a slider over its checkpoints, and new ones by themselves."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

import convscope as cs
from browsing import watched
from convscope.atlas.atlas import Atlas
from convscope.atlas.commands import ModelNames
from convscope.explorer.training import TrainingSession
from convscope.samples import SAMPLES
from convscope.study.run import parts_of_run
from study_worker import pictures

CONFIG = cs.preset(
    "tiny", net=replace(cs.preset("tiny").net, classes=3), batch_size=40, held_out=60, epochs=2.5
)
HELD_AT = 3


class Paused:
    """A training in a thread, which waits after its third step until it is let go on."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.go_on = folder, threading.Event()
        self.thread = threading.Thread(target=self._train, daemon=True)

    def _train(self) -> None:
        data = pictures(side=32)
        cs.train(CONFIG, data, self.folder, device="cpu", precision="float32", progress=self._wait)

    def _wait(self, progress: cs.TrainProgress) -> None:
        if progress.step == HELD_AT:
            self.go_on.wait(120)

    def checkpoints(self) -> list[Path]:
        return cs.Run.load(self.folder).checkpoints


@pytest.fixture
def training(tmp_path) -> Iterator[Paused]:
    training = Paused(tmp_path / "run")
    training.thread.start()
    while not list(training.folder.glob("checkpoints/*2.safetensors")):
        time.sleep(0.05)
    yield training
    training.go_on.set()
    training.thread.join()


@pytest.fixture
def picture(tmp_path) -> Path:
    path = tmp_path / "cat.jpg"
    path.write_bytes(SAMPLES[0].content())
    return path


@pytest.fixture
def address(training, picture) -> str:
    ready: Queue[str] = Queue()
    given = {"port": 0, "browser": False, "ready": ready.put}
    run = cs.Run.load(training.folder)
    threading.Thread(target=lambda: cs.explore(run, picture, **given), daemon=True).start()
    return ready.get(timeout=60)


SAYS = """values => values.every((value, place) =>
    document.querySelectorAll('#classes .value')[place]?.textContent === value)"""


def said(reading: cs.Reading, of: cs.Reading) -> list[str]:
    """Return what the bars say of a reading, in the order of another."""
    assert of.probability is not None
    assert reading.probability is not None
    return [f"{reading.probability[n].item():.3f}" for n in of.probability.argsort(descending=True)]


def test_a_page_follows_a_training_and_goes_back_in_it(browser, training, address, picture):
    page = browser.new_page()
    complaints, _ = watched(page)
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    early = training.checkpoints()
    assert int(page.get_attribute("#checkpoint", "max")) == len(early) - 1
    assert "following the training" in page.inner_text("#checkpoint-name")
    kept = cs.look(parts_of_run(training.folder, checkpoint=early[-1]).network("run"), picture)
    page.wait_for_function(SAYS, arg=said(kept.read(), kept.read()))

    training.go_on.set()
    training.thread.join()
    whole = training.checkpoints()
    assert len(whole) > len(early)
    last = "last => Number(document.querySelector('#checkpoint').max) === last"
    page.wait_for_function(last, arg=len(whole) - 1)
    kept = cs.look(cs.load(training.folder), picture)
    page.wait_for_function(SAYS, arg=said(kept.read(), kept.read()))
    words = "() => document.querySelector('#checkpoint-name').textContent"
    page.wait_for_function(f"({words})().endsWith('right')")

    page.fill("#checkpoint", "2")
    kept = cs.look(parts_of_run(training.folder, checkpoint=whole[2]).network("run"), picture)
    page.wait_for_function(SAYS, arg=said(kept.read(), kept.read()))
    page.focus("#image")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => location.hash.includes('top=')")
    place = dict(part.split("=") for part in page.url.partition("#")[2].split("&"))
    hidden = kept.occlude(int(place["top"]), int(place["left"]))
    page.wait_for_function(SAYS, arg=said(hidden, kept.read()))
    assert place["checkpoint"] == whole[2].stem.removeprefix("step-").lstrip("0")
    assert page.text_content("#error") == ""
    page.close()
    assert complaints == []


@pytest.mark.slow
def test_each_checkpoint_answers_as_its_network_does(training, address, picture):
    with httpx.Client(base_url=address.partition("?")[0], timeout=60) as client:
        client.get(address)
        state = client.get("state").json()
        paths = training.checkpoints()
        steps = [int(path.stem.removeprefix("step-")) for path in paths]
        assert [one["step"] for one in state["checkpoints"]] == steps
        assert not state["finished"]
        for step, path in zip(steps, paths, strict=True):
            kept = cs.look(parts_of_run(training.folder, checkpoint=path).network("run"), picture)
            given = {"image": 0, "checkpoint": step}
            found = client.get("reading", params=given).json()[0]["classes"]
            expected = kept.read().probability.sort(descending=True).values.tolist()
            assert [one["value"] for one in found] == expected
        for wrong in (99, -1, "../run.json", "1" * 5000):
            answer = client.get("reading", params={"image": 0, "checkpoint": wrong})
            assert answer.status_code == 400, wrong
        # The event that there is something new comes at once, and then when there is.
        with client.stream("GET", "events") as events:
            lines = events.iter_lines()
            assert next(lines) == "data: new"
            training.go_on.set()
            assert [line for line in lines if line]
        assert client.get("state").json()["finished"]


@pytest.mark.slow
@pytest.mark.parametrize("of", ["the pictures given", "an atlas of another checkpoint"])
def test_the_faults_of_a_checkpoint_are_of_all_images_that_are_there(of, training, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, values in enumerate(torch.rand(6, 32, 32, 3, generator=torch.manual_seed(0))):
        Image.fromarray((values * 255).byte().numpy()).save(folder / f"{number}.png")
    first, newest = training.checkpoints()[0], training.checkpoints()[-1]
    nets = [
        parts_of_run(training.folder, checkpoint=path).network("run") for path in (first, newest)
    ]
    images, atlas = sorted(folder.iterdir()), None
    if of != "the pictures given":
        names = ModelNames(str(training.folder), {}, str(folder))
        cs.scan(nets[1], folder).save(tmp_path / "atlas", model=names)
        images, atlas = images[:1], Atlas(tmp_path / "atlas")
    session = TrainingSession(cs.Run.load(training.folder), images, atlas=atlas)
    found = session.at(int(first.stem.removeprefix("step-"))).diagnosis(lambda done, total: None)
    expected = cs.diagnose(nets[0], folder)
    assert found.images == expected.images == 6
    assert found.to_dict()["layers"] == expected.to_dict()["layers"]
    assert first != newest


@pytest.fixture
def cifar(tmp_path) -> Path:
    """A folder in CIFAR-10's format, of noise."""
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    draw = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]:
        records = draw.integers(0, 256, (10_000, 3073), dtype=np.uint8)
        records[:, 0] %= 10
        (folder / name).write_bytes(records.tobytes())
    return tmp_path


@pytest.mark.slow
def test_train_opens_the_page_and_ctrl_c_ends_both_to_be_resumed(cifar, tmp_path):
    command = [sys.executable, "-m", "convscope", "train", "--data", str(cifar)]
    command += ["-o", str(tmp_path / "run"), "--epochs", "0.2"]
    environment = {**os.environ, "BROWSER": "true"}
    process = subprocess.Popen(
        [*command, "--explore"], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    lines = iter(process.stderr.readline, "")
    address = next(line.strip() for line in lines if line.startswith("http://"))
    with httpx.Client(base_url=address.partition("?")[0], timeout=60) as client:
        client.get(address)
        assert client.get("state").json()["checkpoints"]
        process.send_signal(signal.SIGINT)
        rest = process.stderr.read()
        process.stderr.close()
        assert process.wait(60) in (0, 130)
        with pytest.raises(httpx.ConnectError):
            client.get("state")
    assert "Traceback" not in rest
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=True)
    assert re.search(r"test accuracy \d", resumed.stdout)
    assert cs.Run.load(tmp_path / "run").finished
    assert torch.isfinite(cs.load(tmp_path / "run")(torch.zeros(1, 3, 32, 32))).all()
