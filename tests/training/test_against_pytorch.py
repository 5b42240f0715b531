"""The same recipe in PyTorch: the same initial weights and batches give the same loss, step by step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.nets.block_spec import BlockSpec
from tests.nets.torch_twin import F, Twin, torch
from tests.training.runs import metrics_of
from tinyresnet.training import Config, Trainer, changed, recipe

pytest.importorskip("safetensors")
pytest.importorskip("threadpoolctl")

STEPS = 50


class SmallTwin(Twin):
    """resnet_v2_small."""

    def __init__(self, config: Config, variables: Any) -> None:
        super().__init__(variables, decay=config.training.batch_norm_decay)
        self.config = config

    def logits(self, images: np.ndarray, classes: int) -> Any:
        """NCHW for a map, [N, K] for pictures."""
        net, scope = self.config.net, self.config.net.name
        x = self.convolution(torch.tensor(images).permute(0, 3, 1, 2), f"{scope}/conv1", net.root_stride, 1, (1, 1))
        shapes = zip(net.base_depths, net.units, net.strides, strict=True)
        blocks = [BlockSpec(f"block{i}", *shape) for i, shape in enumerate(shapes, 1)]
        map_wanted = self.config.task == "segment"
        x = self.resnet_v2(
            x.permute(0, 2, 3, 1), blocks, classes, scope=scope, include_root_block=False, global_pool=not map_wanted,
            spatial_squeeze=not map_wanted, output_stride=net.output_stride // net.root_stride or None,
        )  # fmt: skip
        return F.interpolate(x, images.shape[1:3], mode="bilinear", align_corners=True) if map_wanted else x


def losses_in_pytorch(trainer: Trainer, steps: int, *, decayed: str = "/weights") -> list[float]:
    """From the trainer's initial variables, on its batches, with torch.optim.SGD and the schedule written out again."""
    config, training = trainer.config, trainer.config.training
    twin = SmallTwin(config, trainer.state.variables)
    named = [(name, tensor) for name, tensor in twin.tensors.items() if tensor.requires_grad]
    optimizer = torch.optim.SGD(
        [
            {"params": [t for name, t in named if name.endswith(decayed)], "weight_decay": training.weight_decay},
            {"params": [t for name, t in named if not name.endswith(decayed)]},
        ],
        lr=1.0, momentum=training.momentum, nesterov=training.nesterov,
    )  # fmt: skip
    losses: list[float] = []
    whole, warmup = training.epochs * len(trainer.batches), round(training.warmup_epochs * len(trainer.batches))
    for epoch in range(1, training.epochs + 1):
        for images, labels in trainer.batches.epoch(epoch):
            if len(losses) == steps:
                return losses
            t = len(losses)
            share = (t + 1) / warmup if t < warmup else (1 + np.cos(np.pi * (t - warmup) / (whole - warmup))) / 2
            for group in optimizer.param_groups:
                group["lr"] = training.learning_rate * share
            loss = F.cross_entropy(
                twin.logits(images, len(trainer.dataset.class_names)),
                torch.tensor(labels),
                label_smoothing=training.label_smoothing,
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses


def both(config: Config, folder: Path, steps: int, **knobs: Any) -> tuple[np.ndarray, np.ndarray]:
    trainer = Trainer.start(config, folder)
    theirs = losses_in_pytorch(trainer, steps, **knobs)
    trainer.run(lambda: trainer.progress.step >= steps)
    ours = [line["loss"] for line in metrics_of(folder) if line["kind"] == "step"]
    return np.array(ours[:steps]), np.array(theirs)


NARROW = {"base_depths": (4, 6), "dtype": "float64"}
RECIPES: dict[str, Config] = {
    "digits": changed(recipe("digits"), NARROW),
    "smoothed labels, three blocks": changed(
        recipe("digits"),
        {**NARROW, "label_smoothing": 0.1, "base_depths": (4, 5, 6), "units": (2, 1, 2), "strides": (2, 2, 1)},
    ),
    "no momentum": changed(recipe("digits"), {**NARROW, "momentum": 0, "nesterov": False, "seed": 3}),
}


@pytest.mark.parametrize("name", RECIPES)
def test_the_first_50_losses_are_pytorchs(name: str, tmp_path: Path) -> None:
    ours, theirs = both(RECIPES[name], tmp_path / "run", STEPS)
    assert len(ours) == len(theirs) == STEPS and theirs[-1] < theirs[0]
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_in_float32_they_are_until_rounding_decides_a_relu(tmp_path: Path) -> None:
    """A ReLU input of 1e-8 that rounds to the other side changes a gradient by a percent: the two part by and by."""
    ours, theirs = both(changed(recipe("digits"), {"warmup_epochs": 10, "base_depths": (4, 6)}), tmp_path / "run", 10)
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits", "fashion"])
def test_the_first_50_losses_of_the_recipes_as_they_are_are_pytorchs(name: str, tmp_path: Path) -> None:
    ours, theirs = both(changed(recipe(name), {"dtype": "float64"}), tmp_path / "run", STEPS)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.slow
def test_the_first_losses_of_segmenting_are_pytorchs(tmp_path: Path) -> None:
    """Its beginning magnifies what differs tenfold a step, once the learning rate is up: 1e-15 is 1e-9 after 20 steps, 1e-3 after 30."""
    config = changed(recipe("scenes"), {"dtype": "float64", "limit": 1000, "warmup_epochs": 3})
    ours, theirs = both(config, tmp_path / "run", 15)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_planted_mistake_weight_decay_on_the_wrong_variables_is_noticed(tmp_path: Path) -> None:
    config = changed(recipe("digits"), {**NARROW, "weight_decay": 0.01})
    ours, theirs = both(config, tmp_path / "run", STEPS, decayed="a")  # gamma and beta, not weights
    assert np.abs(ours / theirs - 1).max() > 1e-3
