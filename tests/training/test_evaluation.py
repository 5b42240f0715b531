"""How a net is judged: batches do not show in the numbers, and a mirror image is looked at when the config says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.training.runs import start, tiny_config, tiny_dataset
from tinyresnet import ops
from tinyresnet.data.augment import normalisation_of
from tinyresnet.training import Net, Predictor, Trainer, evaluate, evaluation, open_run
from tinyresnet.training.stopping import stopping_by_signal

IMAGES, LABELS = tiny_dataset().test
NORMALISATION = normalisation_of(IMAGES)


def predictor(mirror: bool = False, **changes: Any) -> Predictor:
    net = Net(tiny_config(**changes), 4)
    return Predictor(net, net.create_variables(IMAGES.shape[1:], seed=3), NORMALISATION, mirror)


def test_loss_and_confusion_are_those_of_all_pictures_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = predictor()
    logits, _, _ = asked.net(NORMALISATION(IMAGES), asked.variables, is_training=False)
    loss, _ = ops.softmax_cross_entropy_forward(logits, LABELS)
    for pixels in (64, 64 * 7, 10**6):  # a picture, seven, all at a time
        monkeypatch.setattr(evaluation, "PIXELS_AT_ONCE", pixels)
        found = evaluate(asked, tiny_dataset().test)
        assert found.loss == pytest.approx(float(loss), rel=1e-5)
        assert found.accuracy == (logits.argmax(-1) == LABELS).mean() and found.confusion.sum() == len(LABELS)
        assert (found.confusion.sum(1) == np.bincount(LABELS, minlength=4)).all()


def test_the_mirror_image_counts_half() -> None:
    plain, mirrored = predictor(), predictor(mirror=True)
    both = (plain(IMAGES) + plain(IMAGES[:, :, ::-1])) / 2
    np.testing.assert_allclose(mirrored(IMAGES), both, rtol=1e-5, atol=1e-7)
    assert np.abs(plain(IMAGES) - both).max() > 1e-3


def test_pixels_of_the_mirror_image_are_turned_back() -> None:
    changes = {"task": "segment", "source": "scenes", "root_stride": 2, "output_stride": 4}
    plain, mirrored = predictor(**changes), predictor(mirror=True, **changes)
    both = (plain(IMAGES) + plain(IMAGES[:, :, ::-1])[:, :, ::-1]) / 2
    np.testing.assert_allclose(mirrored(IMAGES), both, rtol=1e-5, atol=1e-7)
    assert np.abs(mirrored(IMAGES) - (plain(IMAGES) + plain(IMAGES[:, :, ::-1])) / 2).max() > 1e-3, (
        "planted: not turned"
    )


def test_no_picture_has_no_probabilities() -> None:
    assert predictor()(IMAGES[:0]).shape == (0, 4)


@pytest.mark.parametrize(
    ("which", "error", "said"),
    [
        ("worst", ValueError, "which must be 'best' or 'last', not 'worst'"),
        ("best", FileNotFoundError, "is not the folder of a training run"),
    ],
)
def test_what_is_no_run_is_refused(which: str, error: type[Exception], said: str, tmp_path: Path) -> None:
    with pytest.raises(error, match=said):
        open_run(tmp_path, which)


def test_a_damaged_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    pytest.importorskip("threadpoolctl")
    start(tmp_path / "run")
    last = tmp_path / "run" / "last.safetensors"
    assert open_run(tmp_path / "run").progress.step == 0  # before the first epoch ends, "best" is "last"
    last.write_bytes(last.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"last\.safetensors"):
        open_run(tmp_path / "run")


def test_the_best_of_another_run_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("safetensors")
    pytest.importorskip("threadpoolctl")
    start(tmp_path / "run")
    other = Trainer.start(tiny_config(epochs=1), tmp_path / "other", dataset=tiny_dataset(seed=9))
    assert other.run()
    (tmp_path / "run" / "best.safetensors").write_bytes((tmp_path / "other" / "best.safetensors").read_bytes())
    with pytest.raises(ValueError, match=r"best\.safetensors is not of the run in"):
        open_run(tmp_path / "run")


def test_signals_are_given_back() -> None:
    import signal

    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stopping_by_signal() as stop:
        assert not stop()
        signal.raise_signal(signal.SIGTERM)
        assert stop() and stop.signal == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert before == (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM))
