from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charrnn import config
from charrnn.errors import ConfigError
from charrnn.training.plan import choose, sizes

RESOLVED = {
    "data": {"seq_length": 8, "batch_size": 2, "val_fraction": 0.1},
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
    for name in config.FIELDS:
        assert config.doc(name).endswith(".")


@pytest.mark.parametrize("name", sorted(config.presets()))
def test_every_preset_loads_and_plans(name: str) -> None:
    given_ = config.load_preset(name)
    codec = given_["data"].get("codec", "char")
    unit = "frame" if codec == "audio" else "character"
    filled, notices = choose(given_, 1_000_000, sizes(1_000_000, codec, False)[0], unit)
    assert not notices
    measured = {"eval_every": 1}
    built = config.Config.from_dict(filled | {"training": filled["training"] | measured})
    assert built.model.hidden == given_["model"]["hidden"]


def test_faithful_presets() -> None:
    char_rnn = config.load_preset("char-rnn")
    assert char_rnn["model"] | {"cell": "lstm"} == {
        "cell": "lstm",
        "hidden": 128,
        "layers": 2,
        "embedding": 0,
        "dropout": 0.0,
        "norm": "none",
    }
    assert char_rnn["training"]["clip_by"] == "value"
    assert config.load_preset("pytorch-charrnn")["sampling"]["top_k"] == 10
    word_rnn = config.load_preset("word-rnn")
    assert (word_rnn["data"]["codec"], word_rnn["data"]["seq_length"]) == ("word", 25)
    assert (word_rnn["model"]["hidden"], word_rnn["training"]["lr_decay"]) == (256, 0.97)
    torch_rnn = config.load_preset("torch-rnn")
    assert (torch_rnn["model"]["embedding"], torch_rnn["training"]["lr_decay_every"]) == (64, 5)
    textgenrnn = config.load_preset("textgenrnn")
    assert (textgenrnn["data"]["seq_length"], textgenrnn["data"]["bptt"]) == (40, "stateless")
    assert textgenrnn["sampling"]["temperature"] == (1.0, 0.5, 0.2, 0.2)


def test_settings_without_effect_are_named() -> None:
    flags = {"momentum": 0.5, "lr_patience": 3, "separator": "x", "documents": "line"}
    with pytest.raises(ConfigError) as caught:
        config.over_preset(None, config.from_flags(flags))
    for part in ("--optimizer sgd", "--schedule plateau", "--documents record"):
        assert part in str(caught.value)
    flags = {"momentum": 0.5, "optimizer": "sgd", "lr_decay": 0.1, "schedule": "plateau"}
    assert config.over_preset(None, config.from_flags(flags))["training"] == flags
    # A standing wish in the environment is none of today's business.
    config.over_preset(None, config.from_flags({"momentum": 0.5}), typed=["lr"])
    # What a preset says may become idle beside a flag.
    config.over_preset("char-rnn", config.from_flags({"optimizer": "adam"}))


def test_a_separator_makes_records(tmp_path: Path) -> None:
    given_ = config.over_preset(None, config.from_flags({"separator": "%%"}))
    assert given_["data"] == {"separator": "%%", "documents": "record"}
    (tmp_path / "mine.toml").write_text('[data]\nseparator = "%"\n')
    given_ = config.over_preset(str(tmp_path / "mine.toml"), config.from_flags({}))
    assert given_["data"]["documents"] == "record"


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
        config.load_preset("nothing")
    broken = tmp_path / "broken.toml"
    broken.write_text("[model\n")
    with pytest.raises(ConfigError, match="not a TOML file"):
        config.load_preset(str(broken))
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load_preset(str(tmp_path))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.dictionaries(st.sampled_from([*config.SECTIONS, *config.FIELDS]), inner),
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
