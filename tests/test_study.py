"""The comparison of the four variants: its numbers, its resumption, its page."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from browsing import SCREENS, check_in_browser
from convscope.errors import DataError, Interrupted, OutputError, TrainError
from convscope.figures.style import WIDTHS
from convscope.models.plain import NetConfig, build
from convscope.outputs import claim_folder
from convscope.packing import load_tensors, save_tensors
from convscope.study import findings, study_result
from convscope.study import run_study as run_study_module
from convscope.study.checkpoints import checkpoint_paths
from convscope.study.config import PRESETS
from convscope.study.data import split
from convscope.study.run import Run
from convscope.study.study_result import Study, Summary, measured
from convscope.study.variants import VARIANTS, Variant
from letters import letters
from products import some
from study_worker import pictures, small
from whole_study_worker import CONFIG, compared

WORKER = Path(__file__).with_name("whole_study_worker.py")
FOLDERS = [f"{v.folder}-seed-{seed}" for v in VARIANTS for seed in (0, 1)]


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A study that nothing interrupted: its folder, and what it found."""
    torch.set_num_threads(1)
    out = tmp_path_factory.mktemp("study") / "out"
    return out, compared(out)


@pytest.fixture(scope="module")
def page(study):
    out, found = study
    found.save(out)
    return out / "index.html"


def test_it_draws_sums_up_and_comes_back(study, tmp_path):
    _, found = study
    assert len(repr(found)) < 1000
    assert "  batch norm, same padding: test accuracy " in repr(found)
    assert [row["variant"] for row in found.table()] == [v.name for v in VARIANTS]
    found.save(tmp_path / "it.safetensors")
    loaded = Study.load(tmp_path / "it.safetensors")
    assert loaded.to_json() == found.to_json()
    assert torch.equal(
        loaded.results[3].evolution.filters[0].pixels,
        found.results[3].evolution.filters[0].pixels,
    )
    with pytest.raises(OutputError, match=r"figure of a study 'lost'; did you mean 'last'"):
        found.plot(shown="lost")


@pytest.mark.parametrize("shown", some(["dead"], ["accuracy", "dead", "weights", "first", "last"]))
def test_letters_of_its_figures_can_be_read(study, tmp_path, shown):
    study[1].save(tmp_path / "it.pdf", width="column", shown=shown, caption="full")
    smallest, inches = letters(tmp_path / "it.pdf")
    assert smallest >= 7 - 1e-3
    assert inches == pytest.approx(WIDTHS["column"])


def run_facts(out, folder):
    return json.loads((out / "runs" / folder / "run.json").read_text())


def test_each_variant_is_trained_with_each_seed_alike_but_for_its_name(study):
    out, _ = study
    assert sorted(p.name for p in (out / "runs").iterdir()) == sorted(FOLDERS)
    for variant in VARIANTS:
        for seed in (0, 1):
            facts = run_facts(out, f"{variant.folder}-seed-{seed}")
            expected = CONFIG.to_json() | {"seed": seed}
            if not variant.batch_norm:
                expected |= {"learning_rate": 0.1, "other_learning_rate": 0.05}
            expected["net"] |= {"batch_norm": variant.batch_norm, "padding": variant.padding}
            assert facts["finished"]
            assert facts["config"] == expected


def test_means_and_deviations_are_those_of_the_runs(study, page):
    out, _ = study
    results = json.loads((out / "numbers.json").read_text())
    rows = list(csv.DictReader((out / "table.csv").read_text().splitlines()))
    text = page.read_text()
    for variant, found, row in zip(VARIANTS, results["variants"], rows, strict=True):
        runs = [run_facts(out, f"{variant.folder}-seed-{seed}") for seed in (0, 1)]
        accuracies = [run["test_accuracy"] for run in runs]
        mean, std = np.mean(accuracies), np.std(accuracies, ddof=1)
        assert found["test_accuracy"]["n"] == 2
        assert found["test_accuracy"]["mean"] == pytest.approx(mean)
        assert found["test_accuracy"]["std"] == pytest.approx(std)
        assert row["variant"] == found["variant"] == variant.name
        assert float(row["test_accuracy_mean"]) == pytest.approx(mean)
        assert float(row["test_accuracy_std"]) == pytest.approx(std)
        assert f"<td>{100 * mean:.2f}% ± {100 * std:.2f} (2)</td>" in text
        assert [point["epoch"] for point in found["curve"]] == [1, 1.2]
        for moment, point in enumerate(found["curve"]):
            heights = [run["epochs"][moment]["accuracy"] for run in runs]
            assert point["mean"] == pytest.approx(np.mean(heights))
            assert point["std"] == pytest.approx(np.std(heights, ddof=1))
        seconds = [run["seconds"]["training"] for run in runs]
        assert found["seconds"]["mean"] == pytest.approx(np.mean(seconds))
        assert [run["made_with"]["torch"] for run in found["runs"]] == [torch.__version__] * 2
    assert set(results["definitions"]) >= {"accuracy", "std", "dead", "mean_peak", "window"}


def slow_maps(weights, images, padding):
    """Each rectifier's maps [I, K, H, W] of a net without batch norm, in float64, by loops."""
    maps, found = images, []
    for number, pooled in ((1, True), (2, False), (3, False)):
        kernel = weights[f"features.conv{number}.weight"].double().numpy()
        bias = weights[f"features.conv{number}.bias"].double().numpy()
        if padding == "same":
            maps = np.pad(maps, ((0, 0), (0, 0), (1, 1), (1, 1)))
        rows, columns = maps.shape[2] - 2, maps.shape[3] - 2
        out = np.zeros((len(maps), len(kernel), rows, columns))
        for row in range(rows):
            for column in range(columns):
                window = maps[:, :, row : row + 3, column : column + 3]
                out[:, :, row, column] = np.einsum("ncij,kcij->nk", window, kernel) + bias
        if pooled:
            half = out[:, :, : rows // 2 * 2, : columns // 2 * 2]
            out = half.reshape(len(maps), -1, rows // 2, 2, columns // 2, 2).max((3, 5))
        maps = np.maximum(out, 0)
        found.append(maps)
    return found


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dead_and_strongest_filters_are_those_of_a_slow_count(
    study, tmp_path, padding, monkeypatch
):
    out, _ = study
    monkeypatch.setattr(study_result, "evolve", lambda *_: None)  # has tests of its own
    variant = Variant(False, padding)
    folder = tmp_path / "run"
    shutil.copytree(out / "runs" / f"{variant.folder}-seed-0", folder)
    path = checkpoint_paths(folder)[-1]
    weights, facts = load_tensors(path)
    weights["features.conv1.bias"][2] = -1e3
    weights["features.conv3.bias"][[0, 5]] = -1e3
    save_tensors(path, weights, facts)
    training, held_out = split(pictures(), CONFIG.held_out, CONFIG.split_seed)
    inputs = CONFIG.inputs(held_out.images)
    result = measured(variant, [Run.load(folder)], training, inputs, 3)

    for found in (result.first, result.last):
        shown = found.projection.preprocess.to_pixels(found.projection.images)
        pixels = held_out.images[found.image].float() / 255
        torch.testing.assert_close(shown, pixels, atol=1e-6, rtol=0)

    maps = slow_maps(weights, inputs.double().numpy(), padding)
    dead = [(layer == 0).all((0, 2, 3)) for layer in maps]
    assert dead[0][2]
    assert dead[2][[0, 5]].all()
    assert list(result.dead.values()) == [(int(layer.sum()),) for layer in dead]
    assert list(result.filters.values()) == [6, 8, 8]
    first = next(iter(result.dead))
    assert result.dead_share(first).mean == pytest.approx(dead[0].mean())

    for place, found in ((0, result.first), (-1, result.last)):
        peaks = maps[place].max((2, 3))
        strength = peaks.mean(0)
        expected = sorted(range(len(strength)), key=lambda k: -strength[k])[:3]
        assert found.channels == expected
        for k, channel in enumerate(expected):
            image = int(peaks[:, channel].argmax())
            assert int(found.image[k]) == image
            assert torch.equal(found.projection.images[k], inputs[image])
            assert found.strength[k].item() == pytest.approx(strength[channel], rel=1e-4)
            assert found.projection.activation[k, 0].item() == pytest.approx(
                peaks[image, channel], rel=1e-4
            )
            place_in_map = np.unravel_index(
                maps[place][image, channel].argmax(), maps[place].shape[2:]
            )
            assert found.projection.position[k, 0].tolist() == [int(i) for i in place_in_map]
    shown = result.weights
    assert bool(shown.dead[shown.channels.tolist().index(2)])
    assert torch.equal(shown.weights, weights["features.conv1.weight"][shown.channels])


def environment():
    paths = [path for path in sys.path if path]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


@pytest.mark.slow
def test_killed_in_the_second_training_it_ends_with_the_same_bits(study, tmp_path, monkeypatch):
    out, whole = study
    here = tmp_path / "out"
    command = [sys.executable, str(WORKER), str(here), "--pause", "0.2"]
    process = subprocess.Popen(command, env=environment(), stderr=subprocess.DEVNULL)
    second = here / "runs" / f"{VARIANTS[1].folder}-seed-0" / "checkpoints"
    deadline = time.monotonic() + 120
    while not (second / "step-0000002.safetensors").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.wait()
    first = here / "runs" / f"{VARIANTS[0].folder}-seed-0" / "run.json"
    kept = first.stat().st_mtime_ns
    seen = []
    # The same weights look the same: looking at them again would only take time.
    monkeypatch.setattr(run_study_module, "measured", lambda _, runs, *__: runs)
    again = compared(here, progress=seen.append)
    assert first.stat().st_mtime_ns == kept
    assert seen[0].number == 2
    assert seen[0].training.step >= 2
    for folder in FOLDERS:
        paths, twins = checkpoint_paths(here / "runs" / folder), checkpoint_paths(
            out / "runs" / folder
        )  # fmt: skip
        assert len(paths) == len(twins)
        assert paths[-1].read_bytes() == twins[-1].read_bytes()
    for runs, expected in zip(again.results, whole.results, strict=True):
        assert [run.test_accuracy for run in runs] == expected.test_accuracies


def test_nets_with_and_without_batch_norm_start_alike():
    kinds = [NetConfig(((6,), (8, 8)), batch_norm=b, identity_start=False) for b in (True, False)]
    for number in (2, 3):
        # He et al.: normal, with a variance of two over the inputs of a filter.
        for kind in kinds:
            weight = dict(build(kind, 0).named_parameters())[f"features.conv{number}.weight"]
            assert weight.std().item() == pytest.approx((2 / weight[0].numel()) ** 0.5, rel=0.15)
    passing = build(NetConfig(((6,), (8, 8))), 0).features.conv3.weight
    assert torch.equal(passing[:, :, 1, 1], torch.eye(8))


def test_progress_is_that_of_the_whole_study(tmp_path):
    seen = []

    def stop(progress):
        seen.append(progress)
        if progress.number == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        compared(tmp_path / "out", progress=stop)
    assert [one.number for one in seen] == [1] * 6 + [2] * 6 + [3]
    assert {one.trainings for one in seen} == {8}
    assert (seen[0].variant, seen[6].variant) == (VARIANTS[0], VARIANTS[1])
    assert min(one.seconds_left for one in seen) > 0
    # At the end of a training only the others are left: here, six of them.
    assert seen[11].training.seconds_left == 0
    runs = [Run.load(tmp_path / "out" / "runs" / f"{v.folder}-seed-0") for v in VARIANTS[:2]]
    assert seen[11].seconds_left > runs[0].seconds["training"]


def test_another_study_or_other_files_are_refused(study, tmp_path):
    out, _ = study
    with pytest.raises(TrainError, match=r"was trained with epochs 1\.2, not 3$"):
        compared(out, config=replace(CONFIG, epochs=3))
    with pytest.raises(TrainError, match="was trained on other images"):
        run_study_module.run_study(pictures(seed=9), out, config=CONFIG, test=pictures(seed=1))
    begun = run_facts(out, FOLDERS[0])["made_with"]["precision"]
    other = "float32" if begun == "bfloat16" else "bfloat16"
    for seeds in (2, 3):
        with pytest.raises(TrainError, match=f"was trained in {begun}, not {other}"):
            compared(out, precision=other, seeds=seeds)
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(OutputError, match="holds other files, and no study"):
        compared(tmp_path)
    damaged = claim_folder(tmp_path / "damaged", "study")
    (damaged / "runs" / FOLDERS[0]).mkdir(parents=True)
    (damaged / "runs" / FOLDERS[0] / "run.json").write_text("[]")
    with pytest.raises(TrainError, match=r"run\.json is not a training's"):
        compared(damaged)


def test_what_cannot_be_studied_is_refused_before_anything_is_written(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(TrainError, match="at least one seed, not 0"):
        compared(out, seeds=0)
    with pytest.raises(TrainError, match="at least one filter to show, not 0"):
        compared(out, filters=0)
    with pytest.raises(DataError, match="none were given"):
        compared(out, test=None)
    net = NetConfig(widths=((4, 4), (4, 4), (4,)), classes=3)
    with pytest.raises(TrainError, match=r"images of 16 pixels are too small .*'valid'"):
        compared(out, config=small(net=net, optimizer="sgd", sides=()))
    assert not out.exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot make the folder"):
        compared(tmp_path / "file" / "out")


def test_the_figures_are_pictures(page):
    names = [f"evolution-{variant.folder}" for variant in VARIANTS]
    names += ["accuracy", "dead", "weights", "first", "last"]
    found = sorted((page.parent / "figures").iterdir())
    # Each for paper, in parts if it is long, and for phones, with its photographs apart.
    plain = {re.sub(r"(-narrow)?(-\d)?(-photographs)?$", "", path.stem) for path in found}
    assert plain == set(names)
    for path in found:
        with Image.open(path) as picture:
            assert np.asarray(picture.convert("RGBA")).std() > 5


def results_of(whole, accuracies):
    """Return *whole* with other test accuracies, one list a variant."""
    results = []
    for result, values in zip(whole.results, accuracies, strict=True):
        runs = [replace(result.runs[0], test_accuracy=value) for value in values]
        results.append(replace(result, runs=tuple(runs)))
    return replace(whole, results=tuple(results))


def test_the_sentences_say_what_the_numbers_do(study):
    _, whole = study
    told = results_of(whole, [[0.8, 0.82], [0.7, 0.72], [0.79, 0.83], [0.81, 0.81]])
    assert findings.lead(told).startswith(
        "Same padding with batch norm reached 81.00% ± 1.41 on the test images"
    )
    assert "valid padding with batch norm reached 71.00% ± 1.41, the lowest" in findings.lead(told)
    same, valid, with_norm, without = findings.effects(told)
    assert same == "With same padding, batch norm changes nothing in the mean."
    # sqrt(0.0141421² / 2) = 0.01
    assert valid == "With valid padding, batch norm loses 10.00 points ± 1.00 (standard error)."
    assert with_norm.startswith("With batch norm, same padding instead of valid gains 10.00 points")
    assert (
        without == "Without batch norm, same padding instead of valid changes nothing in the mean."
    )
    near = results_of(whole, [[0.8, 0.82], [0.7, 0.72], [0.79, 0.82], [0.81, 0.81]])
    assert "less than twice the error" in findings.effects(near)[0]
    one = results_of(whole, [[0.8], [0.7], [0.6], [0.5]])
    assert "one run each cannot tell this from chance" in findings.effects(one)[0]
    assert "(one run each)" in findings.lead(one)


def test_dead_filters_are_told_where_they_are(study):
    _, whole = study
    layers = whole.layers
    none = dict.fromkeys(layers, (0, 0))
    alive = [replace(r, dead=none) for r in whole.results]
    told = replace(whole, results=tuple(alive))
    assert findings.dead(told) == ["No filter of any layer is dead in any of the 8 runs."]
    some = none | {layers[1]: (2, 4)}
    alive[3] = replace(alive[3], dead=some)
    told = replace(whole, results=tuple(alive))
    where, rest = findings.dead(told)
    # 2 and 4 of 8: 37.5% ± 17.7
    assert "valid padding without batch norm, layer 2: 37.5% ± 17.7 (2)" in where
    assert rest.startswith("In all other layers and variants, none is dead")


def test_summaries_and_differences():
    values = [0.3, 0.5, 0.4]
    summary = Summary.of(values)
    assert (summary.n, summary.mean) == (3, pytest.approx(0.4))
    assert summary.std == pytest.approx(np.std(values, ddof=1))
    value, error = summary.above(Summary(12, 0.1, 0.3))
    assert value == pytest.approx(0.3)
    assert error == pytest.approx((0.01 / 3 + 0.09 / 12) ** 0.5)


def test_the_command_goes_on_and_tells_the_numbers(study, tmp_path, monkeypatch, answer):
    out, whole = study
    here = tmp_path / "out"
    shutil.copytree(out, here)
    shutil.rmtree(here / "runs" / FOLDERS[-1])
    monkeypatch.setitem(PRESETS, "study", CONFIG)
    monkeypatch.setattr(
        run_study_module, "load_cifar10", lambda _, part="train": pictures(seed=int(part == "test"))
    )
    monkeypatch.setattr(
        run_study_module,
        "measured",
        lambda variant, runs, *_: replace(
            whole.result(variant.batch_norm, variant.padding), runs=tuple(runs)
        ),
    )
    monkeypatch.setattr("convscope.pages.study.write_study", lambda *_, **__: None)  # has tests
    arguments = ["study", "--data", "x", "-o", here, "--seeds", "2", "--device", "cpu"]
    status, told, error = answer(*arguments, "--filters", "3", "--json")
    assert status == 0, error
    numbers = json.loads(told)
    assert numbers["output"] == str(here)
    expected = [result.test_accuracies for result in whole.results]
    found = [[run["test_accuracy"] for run in v["runs"]] for v in numbers["variants"]]
    assert found == expected
    assert re.search(r"8 of 8: no batch norm, valid padding, seed 1, epoch \d", error)
    assert "1 of 8" not in error


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--seeds", "0"], "at least one seed, not 0"),
        ([], "data_batch_1.bin is missing"),
    ],
)
def test_mistakes_are_one_sentence(tmp_path, monkeypatch, answer, options, sentence):
    monkeypatch.chdir(tmp_path)
    status, out, error = answer("study", "--data", "nowhere", "-o", "out", *options)
    assert (status, out) == (2, "")
    assert len(error.splitlines()) == 1
    assert sentence in error
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("width", "colours"), SCREENS)
def test_the_page_is_whole_in_a_browser(browser, page, width, colours):
    check_in_browser(browser, page, width, colours, pictures=9)
