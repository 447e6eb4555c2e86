"""Static encoders: a weighted mean of a table's rows, learned from a teacher's tokens alone."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import typer
from safetensors.numpy import load_file
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import BertConfig, BertModel

from foretoken.cli.output import guarded
from foretoken.cli.train import train
from foretoken.errors import AlreadyExists, InvalidInput
from foretoken.models.artefact import WEIGHTS, Artefact
from foretoken.models.static_encoder import FAMILY
from foretoken.models.static_encoder.distil import distilled, taught
from foretoken.models.static_encoder.model import StaticEncoder
from foretoken.models.static_encoder.pseudo import Vocabulary, draw
from foretoken.models.tasks import TextRequest
from foretoken.server.engine.drive import alone
from foretoken.server.publish import publish
from foretoken.server.runtimes.onnx import OnnxRuntime

WORDS = ["[PAD]", "[CLS]", "[SEP]", "the", "of", "river", "stream", "bank", "money", "loan"]
CLOSE = {"rtol": 0, "atol": 2e-6}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A BERT of random weights that reads ten words."""
    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    shape = BertConfig(vocab_size=len(WORDS), intermediate_size=32, **sizes)
    BertModel(shape).eval().save_pretrained(folder)
    made = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="the"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens(WORDS[:3])
    said = json.loads(made.to_str())
    marks = {"[CLS]": 1, "[SEP]": 2}
    said["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {t: {"id": t, "ids": [i], "tokens": [t]} for t, i in marks.items()},
    }
    (folder / "tokenizer.json").write_text(json.dumps(said))
    return folder


@pytest.fixture(scope="module")
def run_folder(teacher, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    options = {"teacher": str(teacher), "name": "static-tiny", "texts": 0}
    FAMILY.recipe.run("wide", options, out, None)
    return out


def test_it_is_distilled_on_the_command_line(teacher, tmp_path, capsys):
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(train)
    out = tmp_path / "run"
    words = ["static-encoder", "--preset", "wide", "--teacher", teacher, "-o", "texts=0"]
    with pytest.raises(SystemExit) as ended, guarded():
        app([*map(str, words), "--out", str(out)])
    told = capsys.readouterr().err
    assert not ended.value.code, told
    assert f"registerNAME{out / 'artefact'}" in "".join(told.split()), "however lines are broken"
    assert Artefact.read(out / "artefact").family == "static_encoder"


@pytest.fixture(scope="module")
def embed(run_folder, tmp_path_factory):
    published = publish(Artefact.read(run_folder / "artefact"), tmp_path_factory.mktemp("p") / "x")
    weights = load_file(published.files[WEIGHTS])
    predictor = FAMILY.predictor(published.config, weights)
    executable = OnnxRuntime().load(published, FAMILY, 1)
    graphs = {g.name: g for g in FAMILY.graphs(published.config)}

    def embed(*texts, **options):
        steps = predictor.predict(TextRequest(texts, **options))
        (reply,) = alone([steps], graphs, executable.run, 512)
        return reply

    embed.weights = weights
    return embed


def test_a_vector_is_the_weighted_sum_of_its_tokens_rows():
    torch.manual_seed(0)
    model = StaticEncoder(50, 8)
    with torch.no_grad():
        model.scale.uniform_(0.1, 1)
        ids = torch.randint(0, 50, (3, 7))
        length = torch.tensor([7, 3, 0])
        made = model(ids, length).numpy()
    table, scale = model.table.double().numpy(), model.scale.detach().double().numpy()
    for row, n in enumerate(length.tolist()):
        wanted = (table[ids[row, :n]] * scale[ids[row, :n], None]).sum(0)
        norm = np.linalg.norm(wanted)
        np.testing.assert_allclose(made[row], wanted / norm if norm else wanted, **CLOSE)


def test_tokens_keep_their_teachers_directions_to_each_other(teacher, embed):
    """Without texts, in as many dimensions as the teacher has, what is centred is only turned."""
    model = BertModel.from_pretrained(teacher)
    ids = torch.tensor([[1, i, 2] for i in range(len(WORDS))])
    with torch.no_grad():
        vectors = model(ids).last_hidden_state.mean(1).double()
    vectors /= vectors.norm(dim=1, keepdim=True)
    words = vectors[3:] - vectors[3:].mean(0)
    words /= words.norm(dim=1, keepdim=True)
    made = embed(*WORDS[3:]).vectors.astype(float)
    np.testing.assert_allclose(made @ made.T, (words @ words.T).numpy(), rtol=0, atol=0.02)


def test_special_tokens_weigh_nothing_and_all_others_something(embed):
    scale = embed.weights["scale"]
    rows = np.abs(embed.weights["table"].astype(float)).max(1)
    assert (scale[:3] == 0).all()
    assert (rows[3:] == 127).all()
    weight = scale[3:] / np.abs(scale[3:]).max()
    assert (weight > 0).all()
    np.testing.assert_array_equal(embed("").vectors, np.zeros((1, 16)))
    one, twice = embed("river", "river river").vectors
    np.testing.assert_allclose(one, twice, **CLOSE)


def test_order_does_not_matter_and_company_changes_nothing(embed):
    texts = ["the river bank", "bank the river", "money", "loan of money of the bank"]
    together = embed(*texts)
    np.testing.assert_allclose(together.vectors[0], together.vectors[1], **CLOSE)
    for i, text in enumerate(texts):
        np.testing.assert_allclose(embed(text).vectors[0], together.vectors[i], **CLOSE)
    assert together.tokens.tolist() == [5, 5, 3, 8]
    assert together.cut.tolist() == [0] * 4
    np.testing.assert_allclose(np.linalg.norm(together.vectors, axis=1), 1, rtol=1e-6)


def test_texts_bring_the_table_nearer_to_the_teacher(teacher):
    """On texts of another seed than those that it learned from."""
    taught_by = taught(teacher)
    words = np.arange(3, len(WORDS))
    none = words[:0]
    drawn = draw(Vocabulary(words, none, none, none), torch.eye(len(WORDS)), 200, 7)
    texts = np.split(drawn.ids, np.cumsum(drawn.lengths)[:-1])
    wanted = _vectors(taught_by.module, texts)

    def agreement(count):
        table, scale = distilled(taught_by, 0, count)
        rows = (table.double() * scale.double()[:, None]).numpy()
        made = np.array([rows[ids].sum(0) for ids in texts])
        # The table is turned, so cosines between texts are compared.
        return np.corrcoef(_cosines(made), _cosines(wanted - wanted.mean(0)))[0, 1]

    assert agreement(20_000) > agreement(0) + 0.05


def test_equal_runs_learn_equal_tables(teacher, tmp_path):
    options = {"teacher": str(teacher), "name": "", "texts": 300}
    heard = []
    for name in ("a", "b"):
        FAMILY.recipe.run("wide", options, tmp_path / name, lambda done, _: heard.append(done))
    made = [(tmp_path / name / "artefact" / WEIGHTS).read_bytes() for name in ("a", "b")]
    assert made[0] == made[1]
    half = len(heard) // 2
    assert heard[:half] == sorted(heard[:half])
    assert heard[-1] == pytest.approx(1)


def _vectors(module, texts):
    with torch.no_grad():
        made = [module(torch.tensor([[1, *t, 2]]), torch.tensor([len(t) + 2])) for t in texts]
    return torch.cat(made).double().numpy()


def _cosines(vectors):
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return (unit @ unit.T)[np.triu_indices(len(unit), 1)]


def test_what_is_learned_says_from_whom(run_folder, teacher):
    made = Artefact.read(run_folder / "artefact")
    assert made.training["name"] == "static-tiny"
    assert teacher.name in made.training["data"]
    assert made.config["width"] == 16
    assert made.files[WEIGHTS].stat().st_size < 20_000


def test_what_cannot_be_learned_from_is_refused(teacher, run_folder, tmp_path):
    learn = FAMILY.recipe.run
    with pytest.raises(InvalidInput, match="which model is to be the teacher"):
        learn("small", {"teacher": "", "name": "", "texts": 0}, tmp_path, None)
    with pytest.raises(InvalidInput, match="16 dimensions, not 256"):
        learn("small", {"teacher": str(teacher), "name": "", "texts": 0}, tmp_path, None)
    with pytest.raises(InvalidInput, match="texts=-1"):
        learn("wide", {"teacher": str(teacher), "name": "", "texts": -1}, tmp_path, None)
    with pytest.raises(AlreadyExists):
        learn("wide", {"teacher": str(teacher), "name": "", "texts": 0}, run_folder, None)
    with pytest.raises(InvalidInput):
        learn("wide", {"teacher": str(tmp_path), "name": "", "texts": 0}, tmp_path / "out", None)
