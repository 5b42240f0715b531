"""`tinyresnet evaluate`: the numbers of the run again, class by class, on its own pictures or on others."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.outcome import TINY, Call, assert_refused
from tests.data.small_sources import write_npz
from tinyresnet.cli import evaluate, train
from tinyresnet.data import load
from tinyresnet.training import open_run

pytest.importorskip("safetensors")
pytest.importorskip("tqdm")


def epochs_of(folder: Path) -> list[dict[str, Any]]:
    return [line for line in open_run(folder).metrics if line["kind"] == "epoch"]


def as_json(call: Call, *arguments: object) -> dict[str, Any]:
    code, out, err = call("evaluate", *arguments, "--json")
    assert code == 0 and err == ""
    told = json.loads(out)
    assert isinstance(told, dict)
    return told


def test_the_numbers_are_those_that_training_saw(call: Call, tiny_run: Path) -> None:
    last = epochs_of(tiny_run)[-1]
    told = as_json(call, tiny_run, "--which", "last")
    assert told["accuracy"] == last["test_accuracy"] and told["loss"] == pytest.approx(last["test_loss"], rel=1e-5)
    best = max(epochs_of(tiny_run), key=lambda epoch: (float(epoch["test_accuracy"]), -float(epoch["test_loss"])))
    assert (
        as_json(call, tiny_run)["accuracy"] == best["test_accuracy"] and as_json(call, tiny_run)["step"] == best["step"]
    )


def test_the_confusion_matrix_and_the_accuracies_are_one_count(call: Call, tiny_run: Path) -> None:
    told = as_json(call, tiny_run)
    confusion = np.array(told["confusion"])
    test = open_run(tiny_run).dataset().test
    assert confusion.sum(1).tolist() == np.bincount(test.labels, minlength=10).tolist()
    assert told["accuracy"] == pytest.approx(np.trace(confusion) / 359)
    assert told["accuracy_of_classes"] == pytest.approx((np.diag(confusion) / confusion.sum(1)).tolist())
    assert told["class_names"] == list("0123456789") and told["folder"] == str(tiny_run)


def test_a_line_a_class_and_all_of_them_last(call: Call, tiny_run: Path) -> None:
    code, out, err = call("evaluate", tiny_run)
    told, lines = as_json(call, tiny_run), out.splitlines()
    assert code == 0 and err == "" and len(lines) == 12
    for k in range(10):
        name, count, accuracy = lines[k + 1].split()
        assert (name, int(count)) == (str(k), sum(told["confusion"][k]))
        assert float(accuracy) == pytest.approx(told["accuracy_of_classes"][k], abs=5e-5)
    assert lines[-1] == f"loss {told['loss']:.4f}   accuracy {told['accuracy']:.4f}"


def test_the_parts(call: Call, tiny_run: Path) -> None:
    train, test, everything = (
        np.array(as_json(call, tiny_run, "--part", part)["confusion"]) for part in ("train", "test", "all")
    )
    assert train.sum() == 120 and test.sum() == 359
    assert (everything == train + test).all()


def test_the_runs_own_source_is_divided_as_it_was(call: Call, tiny_run: Path) -> None:
    """Its seed is 3: by any other one, pictures that the net has learnt from would be in the test part."""
    assert open_run(tiny_run).config.training.seed == 3
    assert as_json(call, tiny_run, "digits")["confusion"] == as_json(call, tiny_run)["confusion"]


def test_planted_mistake_another_seed_is_noticed(call: Call, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "load", lambda source, seed, **others: load(source, seed=0, **others))
    assert as_json(call, tiny_run, "digits")["confusion"] != as_json(call, tiny_run)["confusion"]


def write_digits(path: Path, keep: Any, class_names: str = "0123456789", side: int = 8, channels: int = 1) -> None:
    data = load("digits", image_size=side, channels=channels)
    images, labels = (np.concatenate(pair) for pair in zip(data.train, data.test, strict=True))
    chosen = keep(labels)
    np.savez(path, train_images=images[chosen], train_labels=labels[chosen], test_images=images[chosen],
             test_labels=labels[chosen], class_names=np.array(list(class_names)))  # fmt: skip


def test_a_class_that_does_not_occur_is_no_zero(call: Call, tiny_run: Path) -> None:
    write_digits(Path("no_4.npz"), lambda labels: labels != 4)
    told = as_json(call, tiny_run, "no_4.npz")
    assert told["accuracy_of_classes"][4] is None and sum(told["confusion"][4]) == 0
    line = call("evaluate", tiny_run, "no_4.npz").out.splitlines()[5]
    assert line.split() == ["4", "0", "-"]


def test_pictures_of_another_size_and_colour_are_brought_to_the_nets(call: Call, tiny_run: Path) -> None:
    pytest.importorskip("PIL")
    write_digits(Path("large.npz"), lambda labels: labels >= 0, side=16, channels=3)
    write_digits(Path("same.npz"), lambda labels: labels >= 0)
    large, small = (as_json(call, tiny_run, name)["accuracy"] for name in ("large.npz", "same.npz"))
    assert abs(large - small) < 0.1


def test_other_classes_are_refused(call: Call, tiny_run: Path) -> None:
    write_digits(Path("letters.npz"), lambda labels: labels >= 0, class_names="abcdefghij")
    assert_refused(
        call("evaluate", tiny_run, "letters.npz"),
        "the classes of letters.npz are a, b, c, d, e, f, g, h, i, j, but ",
        "was trained on 0, 1, 2, 3, 4, 5, 6, 7, 8, 9",
    )


def test_a_run_whose_data_set_is_gone_can_still_be_tested_on_others(call: Call) -> None:
    write_digits(Path("other.npz"), lambda labels: labels >= 0)
    write_npz(Path("mine.npz"), class_names=np.array(["a", "b", "c"]))
    assert call("train", "mine.npz", *TINY[3:], "--batch-size", 4, "--no-report", "--out", "run").code == 0
    Path("mine.npz").rename("moved.npz")
    assert_refused(call("evaluate", "run"), "mine.npz. A source is")
    assert np.sum(as_json(call, "run", "moved.npz")["confusion"]) == 3
    assert_refused(
        call("evaluate", "run", "other.npz"), "the classes of other.npz are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, but run was"
    )


def test_a_run_that_has_not_ended_an_epoch(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no best checkpoint yet: the last one is taken."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(train.Bar, "stepped", interrupted)
    assert call("train", *TINY, "--out", "run").code == 130
    told = as_json(call, "run")
    assert told["step"] == 0 and told["checkpoint"] == "run/last.safetensors"


@pytest.mark.parametrize("folder", ["nowhere", "a_file", "empty"])
def test_what_is_no_run(folder: str, call: Call) -> None:
    Path("a_file").touch()
    Path("empty").mkdir()
    assert_refused(
        call("evaluate", folder), f"{folder} is not the folder of a training run: it has no best.safetensors"
    )


def test_a_source_that_is_not_there(call: Call, tiny_run: Path) -> None:
    assert_refused(call("evaluate", tiny_run, "nowhere"), "there is no file or folder nowhere")


def test_a_checkpoint_that_is_damaged(call: Call, tiny_run: Path) -> None:
    Path("run").mkdir()
    Path("run/best.safetensors").write_bytes((tiny_run / "best.safetensors").read_bytes()[:-5])
    assert_refused(call("evaluate", "run"), "run/best.safetensors is damaged: ")


def test_safetensors_is_named(call: Call, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    assert_refused(
        call("evaluate", tiny_run), 'this needs safetensors, which is not installed: pip install "tinyresnet[train]"'
    )
