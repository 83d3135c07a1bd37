from __future__ import annotations

import numpy as np
import pytest
import torch

from charrnn.config import Config
from charrnn.settings import DataConfig, ModelConfig, NoSettings, SamplingConfig, TrainingConfig
from charrnn.training.feed import Feed


@pytest.mark.parametrize(
    ("bptt", "kind", "free_runs"),
    [
        ("stateful", np.uint8, 0.0),
        ("stateless", np.uint16, 0.0),
        ("stateless", np.float32, 0.0),
        ("stateless", np.float32, 0.3),
    ],
)
def test_on_the_device_or_read_ahead_segments_are_the_same(
    bptt: str, kind: type, free_runs: float
) -> None:
    steps = np.random.default_rng(0).integers(200, size=500).astype(kind)
    config = Config(
        data=DataConfig(seq_length=7, batch_size=3, val_fraction=0.1, bptt=bptt),
        model=ModelConfig(hidden=4, layers=1, embedding=2, dropout=0.0),
        training=TrainingConfig(
            lr=0.1,
            weight_decay=0,
            lr_decay=0.5,
            eval_every=1,
            patience=0,
            precision="fp32",
            free_runs=free_runs,
        ),
        sampling=SamplingConfig(),
        codec_settings=NoSettings(),
    )
    ways = ({"ahead": False}, {"ahead": True}, {"resident": True})
    plain, *others = (Feed(steps, config, torch.device("cpu"), **way) for way in ways)
    for epoch in (0, 1, 1, 0):
        count = plain.lanes(epoch).segments
        for index in (*range(count), count // 2):
            wanted = plain.segment(epoch, index)
            for feed in others:
                for ours, theirs in zip(wanted, feed.segment(epoch, index), strict=True):
                    assert ours.dtype == theirs.dtype
                    assert ours.is_floating_point() == (kind is np.float32)
                    assert torch.equal(ours, theirs)
