"""Training: the same bits again, after a crash, and what is refused."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from convscope.errors import Interrupted, OutputError, TrainError
from convscope.models.plain import NetConfig
from convscope.packing import load_tensors, save_tensors
from convscope.study.checkpoints import checkpoint_paths
from convscope.study.run import Run
from convscope.study.train import train
from study_worker import pictures, small

WORKER = Path(__file__).with_name("study_worker.py")
STEPS = (0, 1, 2, 5, 10, 25, 32)


def environment() -> dict[str, str]:
    paths = [path for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def started(out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(WORKER), str(out), *options]
    return subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str]:
    _, errors = process.communicate(timeout=120)
    return process.returncode, errors.decode()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Run:
    """A training that nothing interrupted."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("whole") / "run"
    return train(small(), pictures(), out, test=pictures(seed=1), device="cpu", precision="float32")


def same_weights(run: Path, other: Run) -> None:
    paths = checkpoint_paths(run)
    assert [path.name for path in paths] == [path.name for path in other.checkpoints]
    for path, twin in zip(paths, other.checkpoints, strict=True):
        assert path.read_bytes() == twin.read_bytes(), path.name


def test_a_run_holds_its_checkpoints_and_its_story(whole):
    assert [path.stem for path in whole.checkpoints] == [f"step-{step:07d}" for step in STEPS]
    assert sorted(path.name for path in whole.folder.iterdir()) == ["checkpoints", "run.json"]
    facts = json.loads((whole.folder / "run.json").read_text())
    assert facts["config"]["augmentation"]["shift"] == 2
    assert facts["units"]["augmentation.shift"] == "pixels"
    assert facts["made_with"]["processes"] == 1
    assert facts["network"]["parameters"] == sum(
        value.numel() for value in whole.module().parameters()
    )
    assert [epoch["step"] for epoch in facts["epochs"]] == [5, 10, 15, 20, 25, 30, 32]
    assert facts["seconds"]["training"] == facts["epochs"][-1]["seconds"] > 0
    assert Run.load(whole.folder) == whole


def test_it_learns(whole):
    assert whole.test_accuracy > 0.9
    assert whole.epochs[-1].accuracy > 0.9
    assert whole.epochs[-1].loss < whole.epochs[0].loss


def test_the_final_weights_give_the_test_accuracy(whole):
    test = pictures(seed=1)
    images = whole.config.inputs(test.images)
    with torch.no_grad():
        right = (whole.module()(images).argmax(1) == test.labels).float().mean()
    assert float(right) == pytest.approx(whole.test_accuracy)


def test_progress_tells_how_far_it_is(tmp_path):
    seen = []
    train(small(), pictures(), tmp_path / "run", progress=seen.append, device="cpu")
    assert [one.step for one in seen] == list(range(1, 33))
    assert {one.steps for one in seen} == {32}
    assert seen[3].accuracy is None
    assert 0 <= seen[6].accuracy <= 1
    assert seen[-1].seconds_left == 0
    assert seen[0].seconds_left > 0
    assert min(one.images_per_second for one in seen) > 0


@pytest.mark.parametrize(
    "after",
    [
        "step-0000010",
        *(pytest.param(f"step-00000{n}", marks=pytest.mark.slow) for n in ("02", "25")),
    ],
)
def test_killed_at_any_moment_it_ends_with_the_same_bits(tmp_path, whole, after):
    out = tmp_path / "run"
    process = started(out, "--pause", "0.05")
    deadline = time.monotonic() + 60
    while not (out / "checkpoints" / f"{after}.safetensors").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    ended(process)
    assert not Run.load(out).finished
    run = train(small(), pictures(), out, test=pictures(seed=1), resume=True, device="cpu")
    same_weights(out, whole)
    assert run.test_accuracy == whole.test_accuracy
    assert [(e.step, e.loss, e.accuracy) for e in run.epochs] == [
        (e.step, e.loss, e.accuracy) for e in whole.epochs
    ]


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)]
)
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(tmp_path, whole, number):
    out = tmp_path / "run"
    process = started(out, "--pause", "0.05")
    while not (out / "checkpoints" / "step-0000010.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    code, errors = ended(process)
    assert code != 0
    assert "Interrupted: stopped after step" in errors
    train(small(), pictures(), out, resume=True, device="cpu")
    same_weights(out, whole)


def test_in_this_process_an_interrupt_is_a_keyboard_interrupt(tmp_path, whole):
    def stop(progress):
        if progress.step == 13:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)  # a shell's background jobs ignore it
    with pytest.raises(Interrupted, match="after step 13 of 32; resume the training in"):
        train(small(), pictures(), out, progress=stop, device="cpu", precision="float32")
    assert signal.getsignal(signal.SIGINT) is before
    train(small(), pictures(), out, resume=True, device="cpu")
    same_weights(out, whole)


# Muon rounds to bfloat16 and makes every direction as long, which soon parts what differs in the
# last digits: SGD shows that the processes do one's work, Muon that it gets the same gradients.
@pytest.mark.slow
@pytest.mark.parametrize(("optimizer", "near", "until"), [("sgd", 1e-5, 4), ("muon", 1e-3, 3)])
def test_two_processes_end_near_one(tmp_path, whole, optimizer, near, until):
    if optimizer == "sgd":
        config = small(optimizer="sgd")
        whole = train(config, pictures(), tmp_path / "one", device="cpu", precision="float32")
    out = tmp_path / "run"
    command = "-m torch.distributed.run --standalone --nproc_per_node 2".split()  # noqa: SIM905
    done = subprocess.run(
        [sys.executable, *command, str(WORKER), str(out), "--optimizer", optimizer],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("in a process group at the end: False") == 2
    run = Run.load(out)
    assert run.made_with["processes"] == 2
    assert run.epochs[0].loss == pytest.approx(whole.epochs[0].loss, abs=near)
    assert run.epochs[-1].loss == pytest.approx(whole.epochs[-1].loss, abs=max(1e-2, 100 * near))
    for path, twin in zip(run.checkpoints[1:until], whole.checkpoints[1:until], strict=True):
        here, there = load_file(path), load_file(twin)
        for name, tensor in here.items():
            torch.testing.assert_close(tensor, there[name], rtol=1e-3, atol=max(1e-4, near))


def test_another_configuration_or_other_images_are_refused(whole):
    with pytest.raises(TrainError, match=r"trained with learning_rate 0\.24, not 0\.3$"):
        train(small(learning_rate=0.3), pictures(), whole.folder, resume=True, device="cpu")
    with pytest.raises(TrainError, match="trained on other images"):
        train(small(), pictures(seed=9), whole.folder, resume=True, device="cpu")
    with pytest.raises(TrainError, match="holds a training already"):
        train(small(), pictures(), whole.folder, device="cpu")


def test_resuming_a_finished_run_returns_it(whole):
    before = (whole.folder / "run.json").read_bytes()
    again = train(small(), pictures(), whole.folder, resume=True, device="cpu")
    assert again == whole
    assert (whole.folder / "run.json").read_bytes() == before


def test_a_loss_that_is_nan_stops_with_the_step_and_the_last_good_checkpoint(tmp_path):
    config = small(
        net=NetConfig(widths=((6,), (8, 8)), batch_norm=False, classes=3),
        optimizer="sgd",
        learning_rate=1e30,
    )
    with pytest.raises(TrainError, match=r"at step \d+ of 32; the last good checkpoint is .*step-"):
        train(config, pictures(), tmp_path / "run", device="cpu")
    for path in checkpoint_paths(tmp_path / "run"):
        assert all(tensor.isfinite().all() for tensor in load_file(path).values())


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path):
    path = tmp_path / "one.safetensors"
    save_tensors(path, {"a": torch.ones(10)}, {"step": "1"})
    # A limit on the size of files makes the kernel refuse in the middle of the writing.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OutputError, match=r"cannot write .*one\.safetensors"):
            save_tensors(path, {"a": torch.zeros(10_000)}, {"step": "2"})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    tensors, facts = load_tensors(path)
    assert torch.equal(tensors["a"], torch.ones(10))
    assert facts == {"step": "1"}
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_run_is_named(tmp_path):
    with pytest.raises(TrainError, match=r"holds no training: it has no run\.json"):
        Run.load(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(TrainError, match=r"run\.json is not a training's"):
        Run.load(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(TrainError, match=r"run\.json cannot be read"):
        Run.load(tmp_path)


def test_in_halves_it_learns_nearly_the_same_and_goes_on_in_halves(tmp_path, whole):
    def stop(seen):
        if seen.step == 12:
            os.kill(os.getpid(), signal.SIGINT)

    out = tmp_path / "run"
    with pytest.raises(Interrupted):
        train(small(), pictures(), out, device="cpu", precision="bfloat16", progress=stop)
    with pytest.raises(TrainError, match=r"run was trained in bfloat16, not float32$"):
        train(small(), pictures(), out, device="cpu", precision="float32", resume=True)
    run = train(small(), pictures(), out, device="cpu", resume=True)
    assert run.made_with["precision"] == "bfloat16"
    assert whole.made_with["precision"] == "float32"
    assert run.epochs[0].loss == pytest.approx(whole.epochs[0].loss, rel=1e-2)
    assert run.epochs[0].loss != whole.epochs[0].loss
    assert run.epochs[-1].loss == pytest.approx(whole.epochs[-1].loss, rel=0.1)
    uninterrupted = train(
        small(), pictures(), tmp_path / "twin", device="cpu", precision="bfloat16"
    )
    same_weights(out, uninterrupted)
    assert run.weights()["features.conv2.weight"].dtype == torch.float32


def test_an_unknown_precision_is_refused(tmp_path):
    with pytest.raises(TrainError, match=r"one of auto, float32, bfloat16, not 'float16'$"):
        train(small(), pictures(), tmp_path / "run", precision="float16")


def test_a_device_that_is_not_there_is_named(tmp_path):
    with pytest.raises(TrainError, match="the device 'tpux' cannot be used"):
        train(small(), pictures(), tmp_path / "run", device="tpux")


def test_images_too_small_for_the_network_are_refused(tmp_path):
    config = small(net=NetConfig(widths=((4, 4), (4,)), padding="valid"), sides=((0.5, 9),))
    with pytest.raises(TrainError, match=r"images of 9 pixels are too small .* it needs 10 at"):
        train(config, pictures(), tmp_path / "run", device="cpu")
    assert not (tmp_path / "run").exists()
