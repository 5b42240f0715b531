"""`tinyresnet train`: what it prints and leaves, what it takes from where, and everything that it refuses before it begins."""

from __future__ import annotations

import json
import math
import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.outcome import TINY, Call, assert_refused, numbers_in
from tests.data.small_sources import labels_of, pictures, write_npz
from tinyresnet import report
from tinyresnet.cli import options, train
from tinyresnet.training import Config, changed, read_config, recipe
from tinyresnet.training import config as config_module
from tinyresnet.training.config import settings

pytest.importorskip("safetensors")
pytest.importorskip("tqdm")
pytest.importorskip("threadpoolctl")


# ---- a run ---------------------------------------------------------------------------------------------------------------
def test_what_is_printed_and_left(call: Call, empty_folder: Path) -> None:
    code, out, err = call("train", *TINY, "--no-report")
    lines = out.splitlines()
    assert code == 0 and err == "", "no bar where there is no terminal"
    assert (
        lines[0].startswith("resnet_v2_small, ") and "learns 10 classes from 120 pictures of 8x8x1; 359 are" in lines[0]
    )
    assert lines[1] == "run: runs/digits"
    for number, line in enumerate(lines[2:4], 1):
        assert re.fullmatch(
            rf"epoch {number}/2   loss \d\.\d{{3}}   accuracy train 0\.\d{{3}}   test 0\.\d{{3}}(   best)?", line
        )
    assert re.fullmatch(r"best test accuracy 0\.\d{4}, in epoch [12]; 8 steps in \d+ s", lines[4])
    assert re.fullmatch(r"test accuracy 0\.\d{4}", lines[5]) and len(lines) == 6
    left = {path.name for path in (empty_folder / "runs" / "digits").iterdir()}
    assert left == {"config.toml", "metrics.jsonl", "last.safetensors", "best.safetensors"}


@pytest.mark.parametrize("folder", ["a b", 'it\'s "mine"', "运行/甲", "new/below/it", "$HOME;ls", " "])
def test_folders_of_any_name(folder: str, call: Call, empty_folder: Path) -> None:
    assert call("train", *TINY, "--epochs", 1, "--no-report", "--out", folder).code == 0
    assert (empty_folder / folder / "best.safetensors").exists()
    assert call("evaluate", folder).code == 0


def test_json_is_one_value_on_stdout_and_the_rest_is_on_stderr(call: Call, tiny_run: Path) -> None:
    code, out, err = call("train", *TINY, "--seed", 3, "--no-report", "--json", "--out", "here")
    assert code == 0 and "run: here\n" in err and "epoch 2/2" in err and "test accuracy" in err
    told = json.loads(out)
    assert told.keys() == {
        *("folder", "finished", "epoch", "step", "measure", "value", "best_value", "best_epoch", "seconds", "report")
    }
    assert (told["folder"], told["finished"], told["epoch"], told["step"]) == ("here", True, 2, 8)
    assert told["measure"] == "test accuracy" and told["report"] is None
    assert f"test accuracy {told['value']:.4f}\n" in err
    assert numbers_in(Path("here")) == numbers_in(tiny_run), "the same options, the same run"


def test_without_matplotlib_it_trains_and_says_how_to_get_the_report(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, out, err = call("train", *TINY, "--epochs", 1, "--out", "a run")
    assert code == 0 and out.splitlines()[-1].startswith("test accuracy 0.") and "report:" not in out
    assert err == (
        'note: no report was written: this needs matplotlib, which is not installed: pip install "tinyresnet[plot]"; '
        "then: tinyresnet report 'a run'\n"
    )


def test_a_report_that_fails_does_not_take_the_run_with_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> Path:
        raise OSError(28, "No space left on device", str(folder / "index.html"))

    monkeypatch.setattr(train, "write_report", full)
    code, out, err = call("train", *TINY, "--epochs", 1)
    assert code == 0 and out.splitlines()[-1].startswith("test accuracy 0.")
    assert err == (
        "note: no report was written: runs/digits/index.html: No space left on device. "
        "To try again: tinyresnet report runs/digits\n"
    )


def test_with_the_report(call: Call) -> None:
    pytest.importorskip("matplotlib")
    code, out, err = call("train", *TINY, "--epochs", 1)
    assert code == 0 and err == "" and "\nreport: runs/digits/index.html\n" in out
    assert "<html" in Path("runs/digits/index.html").read_text(encoding="utf-8")
    assert report.write_report is train.write_report


# ---- settings ------------------------------------------------------------------------------------------------------------
def config_of(call: Call, *arguments: object) -> Config:
    """The config that would be trained: one epoch of it is."""
    code, _, err = call("train", *arguments, "--no-report", "--out", "configured")
    assert code == 0, err
    return read_config("configured/config.toml")


def test_what_is_not_said_is_the_recipe_of_the_source(call: Call) -> None:
    config = config_of(call, "digits", "--epochs", 1, "--limit", 64)
    assert config.net == recipe("digits").net and config.data.shift == recipe("digits").data.shift == 1
    assert config.training.epochs == 1 and config.training.nesterov


def test_options_of_every_kind_reach_the_config(call: Call) -> None:
    config = config_of(
        call, *TINY, "--units", "1,2", "--base-depths", "4, 5", "--strides", "2,1", "--flip", "--no-nesterov",
        "--learning-rate", "3e-2", "--schedule", "piecewise", "--boundaries", "0.5,1", "--factors", "1,.1,1e-2",
        "--warmup-epochs", 0.25, "--ema-decay", 0.5, "--crop", "0.75", "--micro-batch-size", 16, "--clip-norm", 1,
    )  # fmt: skip
    assert config.net.units == (1, 2) and config.net.base_depths == (4, 5) and config.net.strides == (2, 1)
    assert config.data.flip is True and config.data.crop == 0.75
    training = config.training
    assert training.nesterov is False and training.learning_rate == 0.03 and training.schedule == "piecewise"
    assert training.boundaries == (0.5, 1.0) and training.factors == (1.0, 0.1, 0.01) and training.warmup_epochs == 0.25
    assert training.ema_decay == 0.5 and training.micro_batch_size == 16 and training.clip_norm == 1.0


def test_a_runs_config_makes_the_same_run_and_options_come_after_it(call: Call, tiny_run: Path) -> None:
    assert call("train", "--config", tiny_run / "config.toml", "--no-report", "--out", "again").code == 0
    assert numbers_in(Path("again")) == numbers_in(tiny_run)
    config = config_of(call, "--config", tiny_run / "config.toml", "--epochs", 1)
    assert config.training.epochs == 1 and config.training.seed == 3 and config.data.source == "digits"


def test_a_config_of_some_lines_changes_the_recipe_of_the_source_that_is_given(call: Call) -> None:
    Path("some.toml").write_text("[training]\nepochs = 1\n[data]\nlimit = 64\n")
    config = config_of(call, "digits", "--config", "some.toml")
    assert config.training.epochs == 1 and config.net == recipe("digits").net
    assert config.data.flip is False and config.training.weight_decay == recipe("digits").training.weight_decay


def test_a_data_set_of_ones_own(call: Call) -> None:
    write_npz(Path("mine.v2.npz"))
    code, out, _ = call("train", "mine.v2.npz", *TINY[3:], "--batch-size", 4, "--no-report")
    assert code == 0 and "learns 3 classes from 9 pictures of 6x6x1; 3 are kept" in out
    assert "\nrun: runs/mine\n" in out


def test_a_run_that_is_shorter_than_the_recipes_warm_up(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries one epoch first has said nothing of warming up."""
    long = changed(recipe("digits"), {"warmup_epochs": 3})
    monkeypatch.setattr(config_module, "recipe", lambda source, task: long)
    assert config_of(call, *TINY).training.warmup_epochs == 1.0
    assert config_module.on_recipe({"epochs": 4}).training.warmup_epochs == 3
    assert_refused(call("train", *TINY, "--warmup-epochs", 3), "warmup_epochs must be less than epochs, 2, not 3")
    assert_refused(call("train", *TINY, "--epochs", 0), "epochs must be an integer >= 1, not 0")


# ---- refused before anything is made ----------------------------------------------------------------------------------------
SETTINGS = [
    (["--epochs", "0"], "epochs must be an integer >= 1, not 0"),
    (["--epochs", "1.5"], "epochs must be an integer >= 1, not '1.5'"),
    (["--batch-size", "many"], "batch_size must be an integer >= 1, not 'many'"),
    (["--learning-rate", "0"], "learning_rate must be a number > 0, not 0"),
    (["--learning-rate", "nan"], "learning_rate must be a number > 0, not nan"),
    (["--momentum", "1"], "momentum must be a number from 0 to less than 1, not 1"),
    (["--seed", "-1"], "seed must be an integer >= 0, not -1"),
    (["--units", "1,2"], "base_depths, units and strides must have one number for each block, but have 1, 2 and 1"),
    (["--units", "1,,2"], "units must be integers >= 1, at least one, not [1, '', 2]"),
    (["--units", "one"], "units must be integers >= 1, at least one, not ['one']"),
    (["--units", ""], "units must be integers >= 1, at least one, not []"),
    (["--name", "resnet_v1"], "name must be one of resnet_v2_small, "),
    (["--task", "segment"], "task segment and source 'digits' do not go together"),
    (["--output-stride", "8"], "output_stride 8 is for task segment"),
    (["--channels", "2"], "channels must be 0, 1 or 3, not 2"),
    (["--schedule", "piecewise"], "schedule piecewise needs boundaries"),
    (["--warmup-epochs", "2"], "warmup_epochs must be less than epochs, 2, not 2"),
    (["--limit", "1439"], "limit must be at most 1438, the number of training pictures, not 1439"),
    (["--backend", "tpu"], "backend must be one of numpy, numba, cupy, not 'tpu'"),
    (["--config", "nowhere.toml"], "nowhere.toml: No such file or directory"),
    (["--out", ""], "--out must be the path of a folder, not ''"),
]


@pytest.mark.parametrize(("arguments", "said"), SETTINGS, ids=[" ".join(arguments) for arguments, _ in SETTINGS])
def test_settings_that_cannot_be(arguments: list[str], said: str, call: Call, empty_folder: Path) -> None:
    assert_refused(call("train", *TINY, *arguments), said)
    assert list(empty_folder.iterdir()) == []


@pytest.mark.parametrize("text", ["", "-1", "nothing", "1e999", "nan", "运", "[1]", "0x10"])
def test_whatever_is_written_after_an_option_is_a_value_or_one_line(
    text: str, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def reached(*_: object) -> None:
        raise ValueError("reached")

    monkeypatch.setattr(train.Trainer, "start", reached)
    refused = 0
    for name, (_, option) in settings().items():
        if name != "source" and not isinstance(option.default, bool):
            outcome = call("train", "digits", f"{options.flag_of(name)}={text}")
            assert_refused(outcome)
            refused += name in outcome.err
    assert refused > 25, "most options take none of these"


FILES = [
    ("x = 3", "there is no setting 'x'"),
    ("[training]\nepoch = 3", "there is no setting 'epoch'; did you mean epochs"),
    ("[net]\nepochs = 3", "epochs belongs into section [training]"),
    ("epochs = 3", "epochs belongs into section [training]"),
    ("[trainig]\nepochs = 3", "there is no section [trainig]; did you mean training?"),
    ("[training]\nepochs = '3'", "epochs must be an integer >= 1, not '3'"),
    ("[training]\nepochs = ", "Invalid value (at "),
    ("[training]\nepochs = 1\nepochs = 2", "Cannot overwrite a value"),
    ("[net]\nunits = [1, 1.5]", "units must be integers >= 1"),
    (b"\xff\xfe", "can't decode byte 0xff"),
]


@pytest.mark.parametrize(("text", "said"), FILES, ids=[said for _, said in FILES])
def test_a_config_file_that_cannot_be(text: str | bytes, said: str, call: Call, empty_folder: Path) -> None:
    Path("c.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    assert_refused(call("train", "digits", "--config", "c.toml"), "c.toml: ", said)
    assert [path.name for path in empty_folder.iterdir()] == ["c.toml"]


def test_a_config_file_that_is_nested_without_end(call: Call) -> None:
    Path("c.toml").write_text("x = " + "[" * 50_000)
    assert_refused(call("train", "digits", "--config", "c.toml"), "c.toml: its lists or tables are nested too deeply")


def test_a_folder_is_no_config(call: Call) -> None:
    Path("c").mkdir()
    assert_refused(call("train", "digits", "--config", "c"), "c: Is a directory")


@pytest.mark.parametrize("source", ["nowhere", "digit", "", "no.npz"])
def test_a_source_that_is_not_there(source: str, call: Call, empty_folder: Path) -> None:
    assert_refused(call("train", source, "--out", "run"), source or "SOURCE must be fashion, digits, scenes or a path")
    assert list(empty_folder.iterdir()) == []


def test_a_source_whose_name_is_no_utf_8(call: Call) -> None:
    os.mkdir(b"d\xff")
    assert_refused(call("train", os.fsdecode(b"d\xff")), "SOURCE must be a path in UTF-8, not 'd\\udcff'")
    assert os.listdir(b".") == [b"d\xff"]


def test_a_source_that_is_damaged_or_has_labels_that_do_not_fit(call: Call, empty_folder: Path) -> None:
    Path("a.npz").write_bytes(write_npz(Path("b.npz")).read_bytes()[:-200])
    assert_refused(call("train", "a.npz"), "a.npz cannot be read as")
    write_npz(Path("b.npz"), labels=labels_of(11).astype(np.int64), images=pictures(12)[..., 0])
    assert_refused(call("train", "b.npz"), "there are 12 images, but 11 labels")
    assert {path.name for path in empty_folder.iterdir()} == {"a.npz", "b.npz"}


@pytest.mark.parametrize("out", ["a_file", "a_file/below/it", "dangling"])
def test_an_out_that_cannot_be(out: str, call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("a_file").write_text("mine")
    Path("dangling").symlink_to("nowhere")
    monkeypatch.setattr(train.Trainer, "start", None)  # it is refused before the pictures are read
    assert_refused(call("train", *TINY, "--out", out), "--out must be a folder, or a path at which one can be made")
    assert Path("a_file").read_text() == "mine" and len(list(empty_folder.iterdir())) == 2


def test_an_out_that_is_not_ours_to_write(call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The administrator may write anywhere, and tests run as one in some places: the answer of the system is given here."""
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != empty_folder)
    assert_refused(call("train", *TINY, "--out", "x/y"), f"can be written to, but {empty_folder} cannot")
    assert list(empty_folder.iterdir()) == []


def test_a_folder_with_a_run_is_left_alone(call: Call, tiny_run: Path) -> None:
    before = {path: path.read_bytes() for path in tiny_run.iterdir()}
    assert_refused(
        call("train", *TINY, "--out", tiny_run), "holds a run already: go on with it by tinyresnet train --resume "
    )
    assert before == {path: path.read_bytes() for path in tiny_run.iterdir()}


@pytest.mark.parametrize("package", ["tqdm", "threadpoolctl", "safetensors"])
def test_a_missing_package_is_named(
    package: str, call: Call, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    assert_refused(
        call("train", *TINY), f'this needs {package}, which is not installed: pip install "tinyresnet[train]"'
    )
    assert list(empty_folder.iterdir()) == []


def test_pillow_is_named_where_pictures_are_files(
    call: Call, chinese_pictures: Path, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert_refused(
        call("train", chinese_pictures), 'this needs pillow, which is not installed: pip install "tinyresnet[train]"'
    )
    assert list(empty_folder.iterdir()) == []
    assert call("train", *TINY, "--no-report").code == 0, "and not asked for elsewhere"


# ---- --resume ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--epochs", "3"], "--epochs"),
        (["--flip"], "--flip"),
        (["--no-flip"], "--flip"),
        (["digits"], "SOURCE"),
        (["--out", "x"], "--out"),
        (["--config", "x"], "--config"),
        (["--units", "1", "--learning-rate", "1"], "--learning-rate, --units"),
    ],
)
def test_resume_takes_no_other_settings(given: list[str], named: str, call: Call, tiny_run: Path) -> None:
    before = {path: path.read_bytes() for path in tiny_run.iterdir()}
    assert_refused(call("train", "--resume", tiny_run, *given), f"so it does not go with {named}: ")
    assert before == {path: path.read_bytes() for path in tiny_run.iterdir()}


@pytest.mark.parametrize("folder", ["nowhere", "", "a_file"])
def test_resume_of_what_is_no_run(folder: str, call: Call, empty_folder: Path) -> None:
    Path("a_file").touch()
    assert_refused(
        call("train", "--resume", folder),
        f"--resume: {folder!r} has no last.safetensors, and no config.toml: it is no run's folder",
    )
    assert len(list(empty_folder.iterdir())) == 1


def test_resume_of_a_run_that_has_lost_its_state(call: Call) -> None:
    assert call("train", *TINY, "--out", "run", "--no-report").code == 0
    Path("run/last.safetensors").unlink()
    assert_refused(call("train", "--resume", "run"), "--resume: 'run' has no last.safetensors, so it cannot go on")


def test_a_run_inside_its_own_pictures_is_refused(call: Call, empty_folder: Path) -> None:
    """It would be a class of its own the next time."""
    for name in ("a", "b"):
        Path("photos", name).mkdir(parents=True)
    assert_refused(call("train", "photos", "--out", "photos/run"), "the run's folder must not be inside its data set")
    assert not Path("photos/run").exists()


def test_what_was_changed_in_the_folder_meanwhile_is_told(call: Call) -> None:
    assert call("train", *TINY, "--out", "run", "--no-report").code == 0
    Path("run/config.toml").write_text("[training]\nepochs = 99\n")
    Path("run/best.safetensors").unlink()
    _, _, err = call("train", "--resume", "run", "--no-report")
    assert "config.toml is not the config that the run began with" in err and "best.safetensors is gone" in err


def test_resume_of_a_run_that_was_killed_before_its_first_checkpoint(call: Call, tiny_run: Path) -> None:
    Path("run").mkdir()
    Path("run/config.toml").write_bytes((tiny_run / "config.toml").read_bytes())
    assert call("train", "--resume", "run", "--no-report").code == 0
    assert numbers_in(Path("run")) == numbers_in(tiny_run)


def test_resume_of_a_finished_run_says_what_it_came_to(call: Call) -> None:
    _, out, _ = call("train", *TINY, "--no-report", "--out", "run")
    before = numbers_in(Path("run"))
    again = call("train", "--resume", "run", "--no-report")
    assert again.code == 0 and again.out.splitlines()[-2:] == out.splitlines()[-2:]
    assert numbers_in(Path("run")) == before


@pytest.mark.parametrize("length", [0, 7, 200, -1])
def test_resume_of_a_damaged_checkpoint(length: int, call: Call, tiny_run: Path) -> None:
    Path("run").mkdir()
    Path("run/last.safetensors").write_bytes((tiny_run / "last.safetensors").read_bytes()[:length])
    assert_refused(call("train", "--resume", "run"), "run/last.safetensors is ")


def test_resume_of_data_that_has_changed(call: Call) -> None:
    write_npz(Path("mine.npz"))
    assert call("train", "mine.npz", *TINY[3:], "--batch-size", 4, "--no-report", "--out", "run").code == 0
    write_npz(Path("mine.npz"), images=pictures(12, seed=5)[..., 0])
    assert_refused(call("train", "--resume", "run"), "mine.npz' is not the one that the run was trained on")
    Path("mine.npz").unlink()
    assert_refused(call("train", "--resume", "run"), "mine.npz. A source is")


# ---- a loss that is no number ----------------------------------------------------------------------------------------------
def test_a_learning_rate_that_is_far_too_high_exits_with_1(call: Call) -> None:
    code, out, err = call("train", *TINY, "--learning-rate", "1e30", "--out", "run")
    assert code == 1 and err.count("\n") == 1
    assert re.match(
        r"tinyresnet: the loss became (nan|inf) at step \d \(epoch 1\), first in resnet_v2_small/\S+ \(\w+\)", err
    )
    assert "try a learning_rate smaller than 1e+30" in err and err.rstrip().endswith("is run/last.safetensors")
    saved, _ = numbers_in(Path("run"))
    assert all(np.isfinite(np.frombuffer(array, np.float32)).all() for array in saved.values())
    assert "test accuracy" not in out


def test_the_json_of_a_run_that_failed_is_no_half_of_one(call: Call) -> None:
    code, out, err = call("train", *TINY, "--learning-rate", "1e30", "--out", "run", "--json")
    assert code == 1 and out == "" and "first in resnet_v2_small/" in err


def test_debug_shows_where_it_was(call: Call) -> None:
    code, _, err = call("train", *TINY, "--learning-rate", "1e30", "--out", "run", "--debug")
    assert code == 1 and "Traceback" in err and "loop.py" in err and "Diverged: the loss became" in err.splitlines()[-1]


# ---- threads ---------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("threads", [1, 2])
def test_blas_is_limited_while_it_trains_and_given_back(
    threads: int, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a busy machine two threads of OpenBLAS make a step ten times as long."""
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def now() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    inside: list[list[int]] = []
    stepped = train.Bar.stepped

    def looking(bar: Any, *arguments: Any) -> None:
        inside.append(now())
        stepped(bar, *arguments)

    monkeypatch.setattr(train.Bar, "stepped", looking)
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before = now()
        assert call("train", *TINY, "--threads", threads, "--no-report", "--epochs", 1).code == 0
        assert now() == before
    assert len(inside) == 4 and all(found == [min(threads, most) for most in before] for found in inside)


# ---- pixels ----------------------------------------------------------------------------------------------------------------
def test_pixels_too(call: Call) -> None:
    code, out, err = call(
        "train", "--task", "segment", "--limit", 8, "--image-size", 33, "--epochs", 1, "--batch-size", 4, "--no-report",
        "--root-channels", 4, "--base-depths", 2, "--units", 1, "--strides", 1, "--output-stride", 2,
    )  # fmt: skip
    assert code == 0, err
    assert "run: runs/scenes\n" in out and re.search(r"mean IoU 0\.\d{3}", out)
    assert re.fullmatch(r"test mean IoU 0\.\d{4}", out.splitlines()[-1])
    tested = call("evaluate", "runs/scenes")
    assert tested.code == 0 and tested.out.splitlines()[-1].split()[-1] == out.splitlines()[-1].split()[-1]
    assert_refused(call("evaluate", "runs/scenes", "digits"), "SOURCE is for runs that name whole pictures")
    told = json.loads(call("evaluate", "runs/scenes", "--json").out)
    assert 0 < told["mean_iou"] < told["accuracy"] < 1 and len(told["iou_of_classes"]) == 11
    assert math.isfinite(told["loss"])
