"""Training in a folder: it learns, it stops and goes on as if it had not, and what is no number ends it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.runs import metrics_of, numbers_of, resume, start, tiny_config, tiny_dataset
from tinyresnet import checkpoints, ops, use, use_backend
from tinyresnet.training import Diverged, Listener, Trainer, dataset_of, loop, open_run
from tinyresnet.training.run import BEST, CONFIG, LAST, METRICS

pytest.importorskip("safetensors")
pytest.importorskip("threadpoolctl")


def after(calls: int) -> Callable[[], bool]:
    """A `stop` that says yes from its call number `calls` on: steps and the batches of tests both ask."""
    left = [calls]

    def stop() -> bool:
        left[0] -= 1
        return left[0] <= 0

    return stop


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trainer:
    """A run without a break."""
    trainer = start(tmp_path_factory.mktemp("runs") / "whole")
    assert trainer.run()
    return trainer


# ---- a run ---------------------------------------------------------------------------------------------------------------
def test_it_learns_and_leaves_what_the_docs_say(whole: Trainer) -> None:
    folder = whole.folder
    assert sorted(path.name for path in folder.iterdir()) == sorted([CONFIG, METRICS, LAST, BEST])
    lines = metrics_of(folder)
    assert [line["kind"] for line in lines] == ["start", *(["step"] * 3 + ["epoch"]) * 3, "end"]
    steps = [line for line in lines if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, 10))
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert epochs[2]["loss"] < 0.85 * epochs[0]["loss"]
    assert whole.progress.finished and whole.progress.best_value == max(line["test_accuracy"] for line in epochs)


def test_an_epochs_numbers_are_those_of_its_steps(whole: Trainer) -> None:
    lines = metrics_of(whole.folder)
    sizes = [32, 32, 16]  # 80 pictures
    steps = [line for line in lines if line["kind"] == "step" and line["epoch"] == 2]
    (epoch,) = [line for line in lines if line["kind"] == "epoch" and line["epoch"] == 2]
    for name in ("loss", "accuracy"):
        mean = sum(size * line[name] for size, line in zip(sizes, steps, strict=True)) / 80
        assert epoch[name] == pytest.approx(mean, rel=1e-12)


def test_the_run_can_be_opened_and_predicts_as_it_was_tested(whole: Trainer) -> None:
    run = open_run(whole.folder)
    images, labels = tiny_dataset().test
    probabilities = run.predict(images)
    assert probabilities.shape == (40, 4) and np.allclose(probabilities.sum(1), 1, atol=1e-5)
    assert (probabilities.argmax(1) == labels).mean() == whole.progress.best_value
    assert run.class_names == ("a", "b", "c", "d") and run.image_shape == (8, 8, 1)
    with pytest.raises(ValueError, match=r"images must be uint8 \[N, 8, 8, 1\], not float32"):
        run.predict(images.astype(np.float32))


def test_best_has_the_averages_and_last_has_both(whole: Trainer) -> None:
    best, last = (checkpoints.load(whole.folder / name) for name in (BEST, LAST))
    assert set(best.arrays) == set(whole.state.variables)
    variables, slots = checkpoints.split_slots(last.arrays)
    assert set(slots) == {"Momentum", "ExponentialMovingAverage"}
    name = "resnet_v2_small/block1/unit_1/bottleneck_v2/conv2/weights"
    average = open_run(whole.folder, "last").variables[name]
    assert (average == slots["ExponentialMovingAverage"][name]).all() and (average != variables[name]).any()


def test_the_config_in_the_folder_is_the_whole_of_it(whole: Trainer) -> None:
    from tinyresnet.training import read_config

    assert read_config(whole.folder / CONFIG) == tiny_config(source="corners") == whole.about.config


def test_a_folder_with_a_run_in_it_is_refused(whole: Trainer) -> None:
    before = {path: path.read_bytes() for path in whole.folder.iterdir()}
    with pytest.raises(FileExistsError, match="holds a run already"):
        start(whole.folder)
    assert before == {path: path.read_bytes() for path in whole.folder.iterdir()}


# ---- breaks --------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("calls", [1, 2, 3, 4, 5, 8, 11, 12])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(calls: int, whole: Trainer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert start(folder).run(after(calls)) is False
    middle = resume(folder)
    assert 0 < middle.progress.step < 9 or calls >= 11
    assert middle.run()
    assert numbers_of(middle) == numbers_of(whole)
    assert metrics_of(folder) == metrics_of(whole.folder)
    best, wholes_best = (checkpoints.load(f / BEST).arrays for f in (folder, whole.folder))
    assert all((best[name] == wholes_best[name]).all() for name in wholes_best)


def test_many_breaks_one_after_the_other(whole: Trainer, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    finished, breaks = start(folder).run(after(1)), 0
    while not finished:
        breaks += 1
        trainer = resume(folder)
        finished = trainer.run(after(2))
    assert breaks > 4
    assert numbers_of(trainer) == numbers_of(whole) and metrics_of(folder) == metrics_of(whole.folder)


def test_what_was_written_after_the_last_checkpoint_is_forgotten(whole: Trainer, tmp_path: Path) -> None:
    """As a kill leaves it: lines of steps that the checkpoint does not know of, the last one torn."""
    folder = tmp_path / "run"
    start(folder).run(after(2))
    with (folder / METRICS).open("ab") as file:
        file.write(b'{"kind": "step", "epoch": 1, "step": 3}\n{"kind": "st')
    trainer = resume(folder)
    assert trainer.run() and metrics_of(folder) == metrics_of(whole.folder)


def test_a_checkpoint_without_its_momentum_is_refused(tmp_path: Path) -> None:
    """As best.safetensors in the place of last.safetensors is one."""
    start(tmp_path / "run").run(after(2))
    found = checkpoints.load(tmp_path / "run" / LAST)
    variables, slots = checkpoints.split_slots(found.arrays)
    for kept in ("Momentum", "ExponentialMovingAverage"):
        arrays = checkpoints.join_slots(variables, {kept: slots[kept]})
        checkpoints.save(tmp_path / "run" / LAST, arrays, found.metadata)
        with pytest.raises(checkpoints.CheckpointMismatch, match="averages|momentum"):
            resume(tmp_path / "run")


@pytest.mark.parametrize("forgets", ["momentum", "averages", "epoch sums"])
def test_planted_mistake_a_resume_that_forgets_something_is_noticed(
    forgets: str, whole: Trainer, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    start(folder).run(after(2))
    trainer = resume(folder)
    if forgets == "momentum":
        trainer.state.optimizer.slots = {}
    elif forgets == "averages":
        trainer.state.averages.averages = {}
    else:
        trainer.progress.loss_sum = 0.0
    trainer.run()
    assert numbers_of(trainer) != numbers_of(whole) or metrics_of(folder) != metrics_of(whole.folder)


def test_other_data_is_refused(tmp_path: Path) -> None:
    start(tmp_path / "run").run(after(2))
    with pytest.raises(ValueError, match="is not the one that the run was trained on"):
        Trainer.resume(tmp_path / "run", dataset=tiny_dataset(seed=1))


def test_another_environment_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path / "run").run(after(2))
    told: list[str] = []

    class Ear(Listener):
        def noticed(self, text: str) -> None:
            told.append(text)

    resume(tmp_path / "run", Ear())
    assert told == []
    real = loop.environment

    def newer() -> dict[str, Any]:
        found = real()
        return {**found, "packages": {**found["packages"], "numpy": "9.9"}}

    monkeypatch.setattr(loop, "environment", newer)
    resume(tmp_path / "run", Ear())
    assert len(told) == 1 and "numpy was" in told[0] and told[0].endswith("is 9.9")


def test_a_finished_run_stays_as_it_is(whole: Trainer) -> None:
    trainer = resume(whole.folder)
    assert trainer.run() and numbers_of(trainer) == numbers_of(whole)


def test_checkpoints_in_the_middle_of_an_epoch(tmp_path: Path) -> None:
    """checkpoint_seconds passes at every step here; a checkpoint never changes what is computed."""
    trainer = start(tmp_path / "run", checkpoint_seconds=1e-9, epochs=1)
    saved = []
    save = trainer.state.save
    trainer.state.save = lambda path, about, progress: (saved.append(progress.step), save(path, about, progress))
    assert trainer.run() and saved == [1, 2, 3, 3]


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl", reason="Windows has no fcntl")
    trainer = start(tmp_path / "run")
    with (tmp_path / "run" / METRICS).open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)  # a second opening of the file counts as another process
        with pytest.raises(BlockingIOError, match="is being trained by another process"):
            trainer.run()
    assert trainer.run()


def test_it_trains_on_a_function_of_the_callers(whole: Trainer, tmp_path: Path) -> None:
    calls = []

    def mine(dy: Any, saved: Any) -> Any:
        calls.append(dy.shape)
        return ops.relu_backward(dy, saved)

    with use_backend("numpy"), use(relu_backward=mine):
        trainer = start(tmp_path / "run", epochs=1)
        assert trainer.run()
    assert len(calls) == 3 * 7  # steps, and the batch norms with a ReLU: 3 a unit, and the last one


# ---- what is no number -----------------------------------------------------------------------------------------------------
def broken_after(steps: int, name: str, scope: str) -> dict[str, Any]:
    """An op that gives infinity in one layer, from training step `steps` on."""
    from tinyresnet.slim import current_scope

    calls = [0]
    function = getattr(ops, name)

    def broken(*args: Any, **kwargs: Any) -> Any:
        y, saved = function(*args, **kwargs)
        here = current_scope()
        if here is not None and here.name == scope:
            calls[0] += 1
            if calls[0] >= steps:
                y = y.copy()
                y[0, 0, 0, 0] = np.inf
        return y, saved

    return {name: broken}


@pytest.mark.parametrize("layer", ["conv1", "block1/unit_1/bottleneck_v2/conv3", "logits"])
def test_a_loss_that_is_no_number_is_traced_to_its_layer(layer: str, tmp_path: Path) -> None:
    scope = f"resnet_v2_small/{layer}"
    trainer = start(tmp_path / "run", checkpoint_seconds=1e-9)
    with use_backend("numpy"), use(**broken_after(3, "conv2d_forward", scope)), pytest.raises(Diverged) as caught:
        trainer.run()
    assert caught.value.step == 3 and caught.value.where == f"{scope} (conv2d)"
    assert "step 3 (epoch 1)" in str(caught.value) and "the last good checkpoint, of step 2," in str(caught.value)
    assert checkpoints.load(trainer.folder / LAST).arrays
    progress = json.loads(checkpoints.load(trainer.folder / LAST).metadata["progress"])
    assert progress["step"] == 2
    assert metrics_of(trainer.folder)[-1] == {"kind": "diverged", "epoch": 1, "step": 3, "where": f"{scope} (conv2d)"}


def test_a_gradient_that_is_no_number_changes_no_weight(tmp_path: Path) -> None:
    calls = [0]

    def broken(dy: Any, saved: Any) -> Any:
        dx, dw = ops.conv2d_backward(dy, saved)
        calls[0] += 1
        return dx, dw * (np.inf if calls[0] > 9 and dw.shape[0] == 3 else 1)

    trainer = start(tmp_path / "run")
    with (
        use_backend("numpy"),
        use(conv2d_backward=broken),
        pytest.raises(Diverged, match="the gradient is no longer a number at step"),
    ):
        trainer.run()
    assert all(np.isfinite(array).all() for array in trainer.state.variables.values())


def test_a_learning_rate_that_is_far_too_high(tmp_path: Path) -> None:
    trainer = start(tmp_path / "run", learning_rate=1e30)
    with pytest.raises(Diverged, match=r"first in .*try a learning_rate smaller than 1e\+30"):
        trainer.run()
    saved = checkpoints.load(tmp_path / "run" / LAST)
    assert all(np.isfinite(array).all() for array in saved.arrays.values())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path: Path) -> None:
    """The loss is finite, and the step from it is not: weight decay alone overflows."""
    trainer = start(tmp_path / "run", weight_decay=1e300, checkpoint_seconds=1e-9)
    with pytest.raises(Diverged, match="a weight is no longer a number at step 1"):
        trainer.run()
    assert all(np.isfinite(array).all() for array in checkpoints.load(tmp_path / "run" / LAST).arrays.values())


# ---- what is handed over -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d._replace(test=type(d.test)(d.test.images[:0], d.test.labels[:0])), "test pictures must be uint8"),
        (lambda d: d._replace(train=d.train._replace(images=d.train.images / 255)), "train pictures must be uint8"),
        (lambda d: d._replace(train=d.train._replace(labels=d.train.labels[:-1])), "80 train pictures, but 79 labels"),
        (lambda d: d._replace(class_names=("a", "a", "b", "c")), "two classes have the same name"),
        (lambda d: d._replace(class_names=("a", "b")), "train labels must be from 0 to 1"),
    ],
)
def test_a_data_set_of_the_callers_is_checked(change: Callable[[Any], Any], said: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=said):
        Trainer.start(tiny_config(), tmp_path / "run", dataset=change(tiny_dataset()))
    assert list(tmp_path.iterdir()) == []


def test_pixels_of_the_callers_can_be_opened_and_gone_on_with(tmp_path: Path) -> None:
    config = tiny_config(
        task="segment", source="scenes", limit=24, image_size=33, root_stride=2, epochs=1, batch_size=8
    )
    mine = dataset_of(config.data, 0)._replace(name="mine")
    assert Trainer.start(config, tmp_path / "run", dataset=mine).run(after(2)) is False
    assert Trainer.resume(tmp_path / "run", dataset=mine).run()
    assert (
        open_run(tmp_path / "run").progress.finished is False and open_run(tmp_path / "run", "last").progress.finished
    )


def test_a_name_that_no_config_could_have_is_refused(tmp_path: Path) -> None:
    for name in ("", "scenes"):
        with pytest.raises(ValueError, match="source"):
            Trainer.start(tiny_config(), tmp_path / "run", dataset=tiny_dataset()._replace(name=name))
    assert list(tmp_path.iterdir()) == []


def test_a_shift_beyond_the_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="shift must be less than the side of a picture, 8, not 8"):
        start(tmp_path / "run", shift=8)


# ---- segmentation ----------------------------------------------------------------------------------------------------------
def test_pixels_are_learnt_the_same_way(tmp_path: Path) -> None:
    changes = {
        "task": "segment",
        "source": "scenes",
        "limit": 24,
        "image_size": 33,
        "output_stride": 4,
        "root_stride": 2,
    }
    trainer = Trainer.start(tiny_config(**{**changes, "batch_size": 8, "epochs": 1}), tmp_path / "run")
    assert trainer.run()
    (epoch,) = [line for line in metrics_of(trainer.folder) if line["kind"] == "epoch"]
    assert 0 < epoch["test_mean_iou"] == trainer.progress.best_value < epoch["test_accuracy"]
    run = open_run(trainer.folder)
    images = run.dataset().test.images[:2]
    assert run.predict(images).shape == (2, 33, 33, 11)


# ---- the learning rate ---------------------------------------------------------------------------------------------------
def test_epochs_become_steps() -> None:
    config = tiny_config(schedule="piecewise", boundaries=(1, 2.5), factors=(1, 0.1, 0.01), warmup_epochs=0.5)
    rate = loop.schedule_of(config, steps_an_epoch=4)
    expected = [0.05, 0.1, 0.1, 0.1, *[0.01] * 6, 0.001, 0.001]
    assert [rate(step) for step in range(12)] == pytest.approx(expected)


def test_boundaries_within_one_step_are_refused_in_epochs() -> None:
    config = tiny_config(schedule="piecewise", boundaries=(1, 1.1), factors=(1, 0.1, 0.01))
    with pytest.raises(ValueError, match=r"\[1.0, 1.1\] epochs are steps \[4, 4\], as an epoch has 4"):
        loop.schedule_of(config, steps_an_epoch=4)


def test_a_warm_up_leaves_a_step_for_the_cosine() -> None:
    rate = loop.schedule_of(tiny_config(epochs=1, warmup_epochs=0.9), steps_an_epoch=1)
    assert rate(0) == 0.1
