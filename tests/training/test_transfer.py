from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

import charrnn
from charrnn import config
from charrnn.errors import ConfigError
from charrnn.media.sources import corpora
from charrnn.run import Run
from charrnn.training.loop import Trainer
from charrnn.training.prepare import Prepared
from tests.conftest import TINY, trained
from tests.training.setup import preparing

OTHER = "zebra & the mill; river, heron\n" * 30


def begun(source: Path, text: str, folder: Path, **settings: object) -> Prepared:
    path = folder / "other.txt"
    path.write_text(text, encoding="utf-8")
    shape = {k: v for k, v in TINY.items() if k not in ("hidden", "layers", "embedding")}
    given = config.from_flags(shape | {"steps": 5} | settings)
    source = charrnn.load(source).checkpoint
    with preparing([path], Run(folder / "new"), given, init_from=source) as ready:
        return ready


@pytest.mark.parametrize("embedding", [0, 6])
def test_known_characters_keep_their_weights_wherever_they_stand(
    corpus: Path, tmp_path: Path, embedding: int
) -> None:
    trained(corpus, tmp_path / "old", steps=20, eval_every=10, embedding=embedding, norm="batch")
    ready = begun(tmp_path / "old", OTHER, tmp_path)
    source = charrnn.load(tmp_path / "old").checkpoint
    old, new = source.codec.symbols, ready.codec.symbols
    assert old[:3] != new[:3]
    weights, network = source.network().state_dict(), ready.network
    axes = network.vocabulary_axes
    for name, tensor in network.state_dict().items():
        axis = axes.get(name)
        if axis is None:
            assert torch.equal(tensor, weights[name]), name
            continue
        for place, symbol in enumerate(new):
            row = tensor.select(axis, place)
            if symbol in old:
                assert torch.equal(row, weights[name].select(axis, old.index(symbol)))
            else:
                assert not any(
                    torch.equal(row, weights[name].select(axis, i)) for i in range(len(old))
                )
    (report,) = [text for text in ready.plan.notices if "starts from" in text]
    known = set(old) & set(new)
    assert f"{len(known)} characters keep their weights" in report
    assert "new, and initialised: " in report
    assert "not in this corpus: " in report


def test_nothing_in_common(run: Path, tmp_path: Path) -> None:
    ready = begun(run, "ωψχφυτσρ" * 40, tmp_path)
    (report,) = [text for text in ready.plan.notices if "starts from" in text]
    assert "0 characters keep their weights" in report


def test_what_a_text_is_made_of_is_inherited(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("Anna\nBert\n" * 40)
    trained(
        tmp_path / "names.txt",
        tmp_path / "old",
        documents="line",
        normalize="NFC",
        steps=5,
        eval_every=5,
    )
    ready = begun(tmp_path / "old", "Dora\nEmil\n" * 40, tmp_path)
    assert ready.plan.documents == 80
    assert ready.codec.reading.normalize == "NFC"
    (report,) = [text for text in ready.plan.notices if "starts from" in text]
    assert "\ufdd0" not in report


@pytest.mark.gpu
def test_fine_tuning_on_a_gpu(run: Path, tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    ready = begun(run, OTHER, tmp_path, device="cuda", precision="auto")
    assert ready.network.head.linear.weight.is_cuda


def test_a_fine_tuned_run_begins_better(corpus: Path, tmp_path: Path) -> None:
    text = corpus.read_text(encoding="utf-8")
    trained(corpus, tmp_path / "old", steps=150, eval_every=50, lr=0.02)
    shape = {k: v for k, v in TINY.items() if k not in ("hidden", "layers", "embedding")}
    (tmp_path / "mixed.txt").write_text(text.replace("heron", "crane"), encoding="utf-8")
    budget = {"steps": 10, "eval_every": 10, "lr": 0.01}
    losses = {
        name: list(
            charrnn.train(tmp_path / "mixed.txt", tmp_path / name, **(settings | budget), **more)
        )[-1].best_nats_per_step
        for name, settings, more in (
            ("tuned", shape, {"init_from": tmp_path / "old"}),
            ("fresh", TINY, {}),
        )
    }
    assert losses["tuned"] < losses["fresh"] - 0.3
    Trainer.resumed(Run(tmp_path / "tuned"), config.from_flags({"steps": 12}))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 13}, r"hidden 13 does not fit .*which has 12"),
        ({"dense": 8}, r"dense 8 does not fit .*which has 0"),
        ({"cell": "gru", "layers": 3}, r"cell gru .*layers 3"),
        ({"codec": "word"}, "codec word does not fit"),
    ],
)
def test_another_shape_is_refused(
    run: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        begun(run, OTHER, tmp_path, **settings)
    assert not (tmp_path / "new").exists()


def test_what_is_no_part_of_the_shape_may_change(run: Path, tmp_path: Path) -> None:
    ready = begun(run, OTHER, tmp_path, dropout=0.4, weight_drop=0.2)
    model = ready.plan.config.model
    assert (model.hidden, model.dropout, model.weight_drop) == (12, 0.4, 0.2)


def test_words_are_matched_by_name(corpus: Path, tmp_path: Path) -> None:
    trained(corpus, tmp_path / "old", codec="word", steps=5, eval_every=5, batch_size=2)
    ready = begun(
        tmp_path / "old", "the miller said the river said no " * 30, tmp_path, min_count=1
    )
    assert ready.codec.name == "word"
    old = charrnn.load(tmp_path / "old").checkpoint
    weights = old.network().state_dict()["embedding.weight"]
    place, origin = ready.codec.symbols.index("river"), old.codec.symbols.index("river")
    assert torch.equal(ready.network.embedding.weight[place], weights[origin])


QUICK = {"steps": 2, "eval_every": 2, "threads": 1, "precision": "fp32"}
BASES = random.Random(1)
KINDS = {
    "tales": lambda: corpora()["tales"].read_text(encoding="utf-8")[:6000],
    "maerchen": lambda: corpora()["maerchen"].read_text(encoding="utf-8")[:6000],
    "dna": lambda: "".join(BASES.choice("ACGT") for _ in range(6000)),
    "chinese": lambda: "春眠不覺曉，處處聞啼鳥。夜來風雨聲，花落知多少。\n" * 60,
    "code": lambda: Path(random.__file__).read_text(encoding="utf-8")[:6000],
    "little code": lambda: Path(charrnn.run.__file__).read_text(encoding="utf-8")[:2000],
    "numbers": lambda: "\n".join(f"{BASES.random():.4f},{BASES.randrange(99)}" for _ in range(50)),
    "few numbers": lambda: "\n".join(str(BASES.randrange(9999)) for _ in range(20)),
    "names": lambda: "\n".join(NAMES * 2),
    "tune": lambda: "X:1\nM:6/8\nK:G\n" + "GBd gBd|cAF DEF|" * 8,
    "capitals": lambda: KINDS["tales"]().upper(),
    "phrases": lambda: "\n".join(
        f"The {BASES.choice(NAMES)} sees the {BASES.choice(NAMES)}." for _ in range(400)
    ),
}
NAMES = ["Anna", "Bert", "Carla", "Dieter", "Emil", "Frieda", "Gustav", "Hanna", "Ilse", "Jonas"]


@pytest.mark.parametrize(
    ("kind", "settings", "model"),
    [
        ("tales", {}, "english"),
        ("tales", {"documents": "line", "dropout": 0.1, "optimizer": "sgd"}, "english"),
        ("maerchen", {}, "german"),
        ("tales", {"init_from": "german"}, "german"),
        ("dna", {"init_from": "english"}, "english"),
        ("tales", {"init_from": "none"}, None),
        ("tales", {"init_from": None}, None),
        ("tales", {"hidden": 512}, "english"),
        ("tales", {"hidden": 256}, None),
        ("tales", {"norm": "none"}, None),
        ("tales", {"preset": "tiny"}, None),
        ("tales", {"codec": "byte"}, None),
        ("tales", {"codec": "word"}, None),
        ("dna", {}, None),
        ("chinese", {}, None),
        ("code", {}, None),
        ("little code", {}, None),
        ("numbers", {}, None),
        ("few numbers", {}, None),
        ("names", {}, None),
        ("tune", {}, None),
        ("capitals", {}, None),
        ("phrases", {}, None),
    ],
)
def test_where_a_run_starts(
    tmp_path: Path, kind: str, settings: dict[str, object], model: str | None
) -> None:
    (tmp_path / "corpus.txt").write_text(KINDS[kind](), encoding="utf-8")
    with charrnn.train(tmp_path / "corpus.txt", tmp_path / "run", **(QUICK | settings)) as run:
        notices = [text for text in run.plan.notices if "starts from" in text]
        assert (run.plan.config.model.hidden == 512) == (model is not None)
    if model is None:
        assert not notices
        return
    (notice,) = notices
    assert model in notice
    assert ("--init-from none" in notice) == ("init_from" not in settings)


def test_a_general_model_predicts_better_from_the_first_step(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text(KINDS["tales"](), encoding="utf-8")
    events = list(charrnn.train(tmp_path / "corpus.txt", tmp_path / "run", **QUICK))
    assert events[-1].best_nats_per_step < 1.5
    assert charrnn.load(tmp_path / "run").checkpoint.weights_as == "fp32"
