from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import config, layering
from charrnn.errors import ConfigError
from charrnn.media import MEDIA, medium_of
from charrnn.presets import load_preset, presets
from charrnn.training.plan import choose

RESOLVED = {
    "data": {"codec": "char", "seq_length": 8, "batch_size": 2, "val_fraction": 0.1},
    "model": {"hidden": 4, "layers": 1, "embedding": 0, "dropout": 0.0},
    "training": {
        "lr": 0.1,
        "eval_every": 5,
        "threads": 1,
        "weight_decay": 0,
        "steps": 9,
        "lr_decay": 1,
    },
    "sampling": {},
}


NAMES = [*config.SECTIONS, *config.all_settings()]


def test_survives_a_round_trip() -> None:
    built = config.Config.from_dict(RESOLVED)
    assert config.Config.from_dict(built.to_dict()) == built


def test_all_mistakes_at_once() -> None:
    wrong = {"hidden": 0, "dropout": 1.5, "lr": float("nan"), "norm": "bach", "steps": 2.5}
    with pytest.raises(ConfigError) as caught:
        config.from_flags(wrong, dashed=True)
    for part in ("--hidden", "--dropout", "--lr", "--norm", "--steps", "none, batch, layer"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"hiden": 3}}, "did you mean model.hidden"),
        ({"modell": {}}, "did you mean model"),
        ({"model": 3}, "must be a table"),
        ({"model": {"hidden": True}}, "whole number"),
        ({"model": {"hidden": "3"}}, "whole number"),
        ({"data": {"encoding": 8}}, "must be text"),
        ({"training": {"minutes": float("inf")}}, "finite"),
        ({"training": {"minutes": 0}}, "above 0"),
        ({"training": {"lr": 10**400}}, "finite"),
    ],
)
def test_refuses(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config.check(values, "here")


def test_missing_settings_are_named() -> None:
    with pytest.raises(ConfigError, match=r"model\.hidden is missing"):
        config.Config.from_dict({"model": {"layers": 2}})


def test_later_layers_win() -> None:
    low, high = config.from_flags({"hidden": 1, "layers": 2}), config.from_flags({"hidden": 9})
    assert config.merge(low, high)["model"] == {"hidden": 9, "layers": 2}


def test_every_setting_is_documented() -> None:
    for setting in (config.all_settings() | config.all_options()).values():
        assert setting.meta["doc"].endswith((".", ")"))
        assert setting.meta["group"]


@pytest.mark.parametrize("name", sorted(presets()))
def test_every_preset_loads_and_plans(name: str) -> None:
    given_ = load_preset(name)
    codec = given_["data"].setdefault("codec", "char")
    medium = medium_of(codec)
    defaults = medium.defaults(codec, 1_000_000, on_gpu=False)
    filled, notices = choose(given_, 1_000_000, defaults, defaults.sizes[0], medium.kind_of(codec))
    assert not notices
    measured = {"eval_every": 1}
    built = config.Config.from_dict(filled | {"training": filled["training"] | measured})
    assert built.model.hidden == given_["model"]["hidden"]


@pytest.mark.parametrize("name", sorted(presets()))
def test_a_preset_is_the_same_network_for_every_corpus(name: str) -> None:
    given_ = load_preset(name)
    codec = given_["data"].setdefault("codec", "char")
    medium, networks = medium_of(codec), set()
    for length, on_gpu in itertools.product((5_000, 150_000, 10**6, 10**8), (False, True)):
        defaults = medium.defaults(codec, length, on_gpu=on_gpu)
        for size in defaults.sizes:
            filled, _ = choose(given_, length, defaults, size, medium.kind_of(codec))
            networks.add(tuple(sorted(filled["model"].items())))
    assert len(networks) == 1


def test_faithful_presets() -> None:
    char_rnn = load_preset("char-rnn")
    assert char_rnn["model"] | {"cell": "lstm"} == {
        "cell": "lstm",
        "hidden": 128,
        "layers": 2,
        "embedding": 0,
        "dropout": 0.0,
        "weight_drop": 0.0,
        "variational": False,
        "norm": "none",
        "skip": False,
        "skip_input": False,
    }
    assert char_rnn["training"]["clip_by"] == "value"
    assert load_preset("pytorch-charrnn")["sampling"]["top_k"] == 10
    word_rnn = load_preset("word-rnn")
    assert (word_rnn["data"]["codec"], word_rnn["data"]["seq_length"]) == ("word", 25)
    assert (word_rnn["model"]["hidden"], word_rnn["training"]["lr_decay"]) == (256, 0.97)
    torch_rnn = load_preset("torch-rnn")
    assert (torch_rnn["model"]["embedding"], torch_rnn["training"]["lr_decay_every"]) == (64, 5)
    textgenrnn = load_preset("textgenrnn")
    assert (textgenrnn["data"]["seq_length"], textgenrnn["data"]["bptt"]) == (40, "stateless")
    assert textgenrnn["sampling"]["temperature"] == (1.0, 0.5, 0.2, 0.2)


def test_settings_without_effect_are_named() -> None:
    flags = {"momentum": 0.5, "lr_patience": 3, "separator": "x", "documents": "line"}
    with pytest.raises(ConfigError) as caught:
        layering.refuse_idle(config.from_flags(flags), flags, "char")
    for part in ("--optimizer sgd", "--schedule plateau", "--documents record"):
        assert part in str(caught.value)
    flags = {"momentum": 0.5, "optimizer": "sgd", "lr_decay": 0.1, "schedule": "plateau"}
    layering.refuse_idle(config.from_flags(flags), flags, "char")
    # A setting that stands in the environment may have no effect today.
    layering.refuse_idle(config.from_flags({"momentum": 0.5}), ["lr"], "char")
    # What a preset says may become idle beside a flag.
    given_ = layering.over_preset(load_preset("char-rnn"), config.from_flags({"optimizer": "adam"}))
    layering.refuse_idle(given_, ["optimizer"], "char")


@pytest.mark.parametrize(
    ("flags", "codec", "message"),
    [
        ({"n_fft": 512}, "char", "--n-fft is for sound; this corpus is text"),
        ({"documents": "line"}, "audio", "--documents is for text; this corpus is sound"),
        ({"input_noise": 0.1}, "word", "--input-noise is for sound with --codec audio; this"),
        ({"vocab_size": 9}, "char", "--vocab-size has no effect without --codec word"),
    ],
)
def test_settings_of_another_medium(flags: dict[str, object], codec: str, message: str) -> None:
    given_ = config.from_flags(flags)
    with pytest.raises(ConfigError, match=message):
        layering.refuse_idle(given_, flags, codec)
    left = layering.without_idle(given_, codec)
    assert not any(left.values())


def test_settings_say_which_media_may_be_meant() -> None:
    def possible(**flags: object) -> list[str]:
        found = layering.possible_media(config.from_flags(flags), flags)
        return [medium.name for medium in found]

    assert possible() == list(MEDIA)
    assert possible(n_fft=512) == possible(input_noise=0.2) == possible(codec="audio") == ["sound"]
    assert possible(documents="line", top_k=3) == possible(codec="byte") == ["text"]
    for wrong in ({"n_fft": 512, "documents": "line"}, {"codec": "char", "hop_length": 64}):
        with pytest.raises(ConfigError, match="drop one"):
            possible(**wrong)


def test_a_separator_makes_records() -> None:
    given_ = layering.over_preset(load_preset(None), config.from_flags({"separator": "%%"}))
    assert given_["data"] == {"separator": "%%", "documents": "record"}
    given_ = layering.over_preset(config.from_flags({"separator": "%"}), config.from_flags({}))
    assert given_["data"]["documents"] == "record"


def test_a_config_is_written_as_it_was_read() -> None:
    """With the settings of other media that an older version stored, and without newer ones."""
    read = {section: dict(values) for section, values in RESOLVED.items()}
    read["data"]["sample_rate"] = 22_050
    built = config.Config.from_dict(read, keep=True)
    assert built.to_dict() == config.check(read, "")
    budget = config.from_flags({"steps": 12, "allow": "abc"})
    changed = built.changed(budget)
    assert changed.codec_settings.allow == "abc"
    assert changed.to_dict()["training"]["steps"] == 12
    assert changed.to_dict()["data"]["sample_rate"] == 22_050
    assert "sample_rate" not in config.Config.from_dict(read).to_dict()["data"]


def test_temperatures() -> None:
    for value, wanted in ((0.5, (0.5,)), (1, (1.0,)), ([1, 0.5], (1.0, 0.5))):
        assert config.from_flags({"temperature": value})["sampling"]["temperature"] == wanted
    for wrong in ([], [0.5, -1], ["x"], [[1]], float("nan"), True):
        with pytest.raises(ConfigError, match="temperature"):
            config.from_flags({"temperature": wrong})


def test_switches() -> None:
    assert config.from_flags({"variational": True})["model"] == {"variational": True}
    for wrong in (1, "yes", 0.0):
        with pytest.raises(ConfigError, match="true or false"):
            config.from_flags({"variational": wrong})


def test_no_such_preset(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="presets: char-rnn"):
        load_preset("nothing")
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\n")
    with pytest.raises(ConfigError, match="not a TOML file"):
        load_preset(str(broken))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_preset(str(tmp_path))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.dictionaries(
            st.sampled_from([*config.SECTIONS, *config.all_settings()]), inner
        ),
    )
)
def test_any_values_are_accepted_or_refused(values: object) -> None:
    if isinstance(values, dict):
        try:
            config.check(values, "here")
        except ConfigError as error:
            message = str(error)
        else:
            message = "here: fine"
        assert message.startswith("here: ")
