"""The data set of a config."""

from __future__ import annotations

import numpy as np
import pytest

from tests.training.runs import tiny_config, tiny_dataset
from tinyresnet.training import dataset_of
from tinyresnet.training.environment import differences, environment
from tinyresnet.training.sources import limited


def test_limit_draws_pictures_with_their_labels_and_keeps_the_test_whole() -> None:
    whole = tiny_dataset()
    part = limited(whole, 30, seed=1)
    assert len(part.train.images) == len(part.train.labels) == 30 and part.test is whole.test
    places = [int(np.flatnonzero((whole.train.images == image).all((1, 2, 3)))[0]) for image in part.train.images]
    assert len(set(places)) == 30 and places != list(range(30)), "not drawn"
    assert (whole.train.labels[places] == part.train.labels).all()
    again, other = limited(whole, 30, seed=1), limited(whole, 30, seed=2)
    assert part.fingerprint() == again.fingerprint() != other.fingerprint()


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(ValueError, match="limit must be at most 80, the number of training pictures, not 81"):
        limited(tiny_dataset(), 81, seed=0)


def test_settings_reach_the_source() -> None:
    pytest.importorskip("PIL")
    config = tiny_config(test_share=0.5, image_size=4, channels=3, limit=100)
    found = dataset_of(config.data, seed=0)
    assert found.train.images.shape == (100, 4, 4, 3) and found.test.images.shape[0] in (898, 899)
    scenes = tiny_config(task="segment", source="scenes", limit=5, image_size=33, root_stride=2)
    found = dataset_of(scenes.data, seed=0)
    assert found.train.images.shape == found.train.labels[..., None].shape == (5, 33, 33, 1)
    assert found.test.images.shape == (200, 33, 33, 1) and len(found.class_names) == 11


def test_an_environment_differs_in_what_computes_only() -> None:
    now = environment()
    assert differences(now, now) == [] and differences(now, {**now, "platform": "another kernel"}) == []
    older = {**now, "blas": {**now["blas"], "version": "0.1"}, "packages": {**now["packages"], "numpy": "2.0.0"}}
    told = differences(older, now)
    assert [text.partition(" was ")[0] for text in told] == ["numpy", "BLAS version"]
