"""`tinyresnet demo`: it learns, says so in the agreed lines, draws its picture, and refuses bad arguments before it begins."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinyresnet import Variables, demo, ops, use, use_backend
from tinyresnet.data import fashion_mnist
from tinyresnet.extras import MissingExtra

LAST_LINE = re.compile(r"test accuracy 0\.\d{4}")


@pytest.fixture(autouse=True)
def needs_the_extras() -> None:
    pytest.importorskip("tqdm")
    pytest.importorskip("threadpoolctl")
    pytest.importorskip("matplotlib")


@pytest.fixture
def no_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The gradient table has tests of its own; here it only costs time."""
    monkeypatch.setattr(demo, "gradient_table", lambda: SimpleNamespace(passed=True))


def short_training(seed: int = 0, epochs: int = 2, count: int = 640) -> tuple[list[demo.Epoch], Variables]:
    images, labels, test_images, test_labels = fashion_mnist()
    variables = Variables(seed=seed)
    recipe = demo.Recipe(epochs=epochs, batch_size=64, learning_rate=0.1, momentum=0.9, seed=seed)
    return demo.train(
        recipe, images[:count], labels[:count], test_images[:200], test_labels[:200], variables
    ), variables


# ---- the command --------------------------------------------------------------------------------------------------------
def test_one_epoch_from_the_table_to_the_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pytest.importorskip("PIL.Image")
    accuracy = demo.run(epochs=1, limit=640, out=tmp_path / "new" / "folder")
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert "conv2d" in printed.out, "no gradient table"
    assert re.search(r"epoch +1/1 +loss \d\.\d{3} +accuracy train 0\.\d{3} +test 0\.\d{3}", printed.out)
    assert LAST_LINE.fullmatch(lines[-1])
    assert float(lines[-1].split()[-1]) == pytest.approx(accuracy, abs=5e-5)
    assert "640/640" in printed.err, "the progress bar did not reach its end"
    assert re.search(r"pictures/s|s/ pictures", printed.err)
    with image.open(tmp_path / "new" / "folder" / "training.png") as picture:
        assert np.asarray(picture.convert("RGB")).std() > 10


@pytest.mark.slow
def test_the_whole_demo_is_as_good_as_the_readme_says(tmp_path: Path) -> None:
    assert demo.run(seed=1, out=tmp_path) >= 0.86


def test_a_wrong_gradient_stops_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo, "gradient_table", lambda: SimpleNamespace(passed=False))
    with pytest.raises(demo.WrongGradient, match="the net is not trained on a wrong gradient"):
        demo.run(out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_it_keeps_blas_to_one_thread_and_gives_the_others_back(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """On a busy machine two threads of OpenBLAS make a step ten times as long."""
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]

    inside: list[int] = []

    def table() -> SimpleNamespace:
        inside.extend(threads())
        return SimpleNamespace(passed=False)

    monkeypatch.setattr(demo, "gradient_table", table)
    with threadpoolctl.threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        with pytest.raises(demo.WrongGradient):
            demo.run(out=tmp_path / "out")
        assert threads() == before
    assert inside == [1] * len(before)


BAD = [
    ({"epochs": 0}, "epochs must be an integer >= 1, not 0"),
    ({"epochs": 1.5}, "epochs must be an integer >= 1, not 1.5"),
    ({"epochs": True}, "epochs must be an integer >= 1, not True"),
    ({"batch_size": 0}, "batch_size must be an integer >= 1, not 0"),
    ({"batch_size": "64"}, "batch_size must be an integer >= 1, not '64'"),
    ({"batch_size": 6001}, "batch_size must be an integer from 1 to 6000, the number of pictures, not 6001"),
    ({"batch_size": 65, "limit": 64}, "batch_size must be an integer from 1 to 64, the number of pictures, not 65"),
    ({"limit": 0}, "limit must be an integer >= 1, not 0"),
    ({"limit": 7000}, "limit must be an integer from 1 to 6000"),
    ({"learning_rate": 0}, "learning_rate must be a number > 0, not 0"),
    ({"learning_rate": float("nan")}, "learning_rate must be a number > 0, not nan"),
    ({"learning_rate": "fast"}, "learning_rate must be a number > 0, not 'fast'"),
    ({"momentum": 1.0}, "momentum must be a number from 0 to less than 1, not 1.0"),
    ({"momentum": -0.1}, "momentum must be a number from 0 to less than 1, not -0.1"),
    ({"seed": -1}, "seed must be an integer >= 0, not -1"),
    ({"seed": 0.5}, "seed must be an integer >= 0, not 0.5"),
    ({"out": ""}, "out must be the path of a folder, not ''"),
    ({"out": 3}, "out must be the path of a folder, not 3"),
]


@pytest.mark.parametrize(("arguments", "said"), BAD, ids=[str(arguments) for arguments, _ in BAD])
def test_bad_arguments_are_refused_before_anything_happens(
    arguments: dict[str, Any],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=re.escape(said)):
        demo.run(**arguments)
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["a_file", "a_file/below", "with_a_folder_for_a_picture"])
def test_an_out_that_cannot_be_is_refused(out: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a_file").write_text("mine")
    (tmp_path / "with_a_folder_for_a_picture" / "training.png").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"^out must be a folder"):
        demo.run(out=tmp_path / out)
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "a_file").read_text() == "mine"


@pytest.mark.parametrize(("package", "extra"), [("tqdm", "train"), ("threadpoolctl", "train"), ("matplotlib", "plot")])
def test_a_missing_extra_is_named_before_anything_happens(
    package: str, extra: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        MissingExtra, match=rf'this needs {package}, which is not installed: pip install "tinyresnet\[{extra}\]"'
    ):
        demo.run(out=tmp_path / "out")
    assert capsys.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's own words on the overflow
def test_a_loss_that_is_no_number_stops_it(no_table: None, tmp_path: Path) -> None:
    with pytest.raises(
        FloatingPointError, match=r"the loss became (nan|inf) in epoch 1: try a smaller learning_rate than 1e\+30"
    ):
        demo.run(learning_rate=1e30, limit=640, out=tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


# ---- learning -----------------------------------------------------------------------------------------------------------
def test_the_loss_falls() -> None:
    with use_backend("numpy"):
        history, _ = short_training()
    assert history[1].loss < 0.85 * history[0].loss
    assert history[1].train_accuracy > history[0].train_accuracy > 0.2


def test_planted_mistake_uphill_does_not_make_the_loss_fall() -> None:
    def uphill(dy: Any, saved: Any) -> Any:
        return -ops.softmax_cross_entropy_backward(dy, saved)

    with use_backend("numpy"), use(softmax_cross_entropy_backward=uphill):
        history, _ = short_training()
    assert not history[1].loss < 0.85 * history[0].loss


def test_the_seed_decides_everything() -> None:
    limits = pytest.importorskip("threadpoolctl").threadpool_limits(
        limits=1, user_api="blas"
    )  # the order of sums is then fixed
    with use_backend("numpy"), limits:
        (first, variables), (again, same), (other, _) = (
            short_training(seed, epochs=1, count=192) for seed in (3, 3, 4)
        )
    assert first == again != other
    assert all((variables[name] == same[name]).all() for name in variables)


def test_the_net_is_the_one_the_docstring_tells_of() -> None:
    variables = Variables()
    images = demo.normalised(fashion_mnist()[0][:3])
    with use_backend("numpy"):
        logits, back = demo.small_resnet(images, variables, is_training=True)
        back(np.random.default_rng(0).standard_normal(logits.shape).astype(np.float32))
        inference, no_back = demo.small_resnet(images, variables, is_training=False)
        with pytest.raises(RuntimeError, match="makes no gradients"):
            no_back(inference)
    assert logits.shape == inference.shape == (3, 10)
    assert set(variables.gradients) == set(variables.trainable), "`back` does not reach every variable"
    assert {array.dtype for array in variables.values()} == {np.dtype(np.float32)}
    assert sum(variables[name].size for name in variables.trainable) == 198026


def test_three_steps_are_pytorchs_sgd() -> None:
    """The same gradients given to torch.optim.SGD, with weight decay on the weights alone."""
    torch = pytest.importorskip("torch")
    images, labels = fashion_mnist()[:2]
    variables, velocity = Variables(seed=1), dict[str, Any]()
    x = demo.normalised(images[:8])
    with use_backend("numpy"):
        demo.small_resnet(x, variables, is_training=True)
        theirs = {
            name: torch.tensor(variables[name], dtype=torch.float64, requires_grad=True) for name in variables.trainable
        }
        decayed = [theirs[name] for name in theirs if name.endswith("/weights")]
        others = [theirs[name] for name in theirs if not name.endswith("/weights")]
        sgd = torch.optim.SGD([{"params": decayed, "weight_decay": 0.002}, {"params": others}], lr=0.05, momentum=0.9)
        for _ in range(3):
            demo.training_step(x, labels[:8], variables, velocity, learning_rate=0.05, momentum=0.9)
            for name, parameter in theirs.items():
                parameter.grad = torch.tensor(variables.gradients[name], dtype=torch.float64)
            sgd.step()
    for name, parameter in theirs.items():
        np.testing.assert_allclose(variables[name], parameter.detach().numpy(), rtol=2e-5, atol=2e-6, err_msg=name)


# ---- the pictures -------------------------------------------------------------------------------------------------------
def every_view(image: Any) -> list[Any]:
    """The 18 that shifts of -1, 0, 1 rows and columns and a mirror make, on paper: shift first, then mirror."""
    h, w, c = image.shape
    views = []
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            view = np.zeros_like(image)
            for i in range(h):
                for j in range(w):
                    if 0 <= i - down < h and 0 <= j - right < w:
                        view[i, j] = image[i - down, j - right]
            views += [view, view[:, ::-1]]
    return views


def is_a_view(fn: Callable[..., Any]) -> set[int]:
    """Which of the 18 views `fn` made of 400 equal pictures; raises ValueError if it made another picture."""
    image = np.random.default_rng(0).integers(1, 256, (5, 4, 1), np.uint8)
    views = [view.tobytes() for view in every_view(image)]
    before = np.repeat(image[None], 400, axis=0)
    made = fn(before, np.random.default_rng(1))
    assert (before == image).all(), "it wrote to its input"
    return {views.index(picture.tobytes()) for picture in made}


def test_shifts_and_flips_make_all_18_views() -> None:
    assert is_a_view(demo.shifted_and_flipped) == set(range(18))


def test_planted_mistake_pixels_that_wrap_around_are_noticed() -> None:
    with pytest.raises(ValueError, match="not in list"):
        is_a_view(lambda images, rng: np.roll(images, 1, axis=2))


def test_normalised_pictures_have_mean_0_and_deviation_1() -> None:
    x = demo.normalised(fashion_mnist()[0])
    assert x.dtype == np.float32
    assert abs(x.mean()) < 0.05
    assert abs(x.std() - 1) < 0.05
