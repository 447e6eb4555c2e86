"""Problems are answered right, cover their difficulty, and are held out by what they ask."""

from __future__ import annotations

import re

import pytest
import torch

from foretoken.errors import InvalidInput
from foretoken.models.cola.tasks import NONE, Addition, Hops, Modular, held_out_problems
from foretoken.models.cola.vocabulary import EOS, PAD, VOCABULARY

MAKERS = (
    Addition((2, 9), (1, 4)),
    Modular((1, 9), (1, 3)),
    Hops((1, 9), (2, 52)),
    Hops((2, 4), (3, 12), questions=3),
)


def drawn(maker, n=600, seed=0, L=None):
    return maker.draw(n, L or maker.length, torch.Generator().manual_seed(seed))


def operations(prompt):
    """Modulus, start and operations of ``%97:17+58*3=``."""
    modulus, chain = re.fullmatch(r"%(\d+):(.*)=", prompt).groups()
    start, *rest = re.findall(r"[-+*]?\d+", chain)
    return int(modulus), int(start), [(each[0], int(each[1:])) for each in rest]


def answered(prompt):
    """By other means than the one that made it."""
    if prompt.startswith("%"):
        modulus, value, rest = operations(prompt)
        for sign, x in rest:
            value = eval(f"({value} {sign} {x}) % {modulus}")
        return str(value)
    if "," in prompt:
        *pairs, question = prompt.split(",")
        following = dict(pairs)
        assert len(following) == len(pairs)
        here = question[1]
        for _ in range(int(question[0])):
            here = following[here]
        return here
    return str(sum(int(x) for x in prompt.removesuffix("=").split("+")))


@pytest.mark.parametrize("maker", MAKERS, ids=str)
def test_answers_are_right(maker):
    problems = drawn(maker)
    texts = problems.texts()
    assert [answered(prompt) for prompt, _ in texts] == [answer for _, answer in texts]
    assert problems.ids.shape == (600, maker.length)
    ends = (problems.ids == EOS) & problems.answer  # nothing was cut
    assert (ends.sum(1) == getattr(maker, "questions", 1)).all()
    assert len({prompt for prompt, _ in texts}) > 550


def test_every_question_on_the_same_pairs_is_answered_right():
    problems = drawn(Hops((1, 5), (6, 12), questions=4), 100)
    for ids, answer in zip(problems.ids.tolist(), problems.answer.tolist(), strict=True):
        text = "".join(VOCABULARY.tokens[i] for i in ids if i != PAD).removeprefix("<s>")
        pairs, _, questions = text.removesuffix("</s>").rpartition(",")
        questions = questions.split("</s>")
        assert len(questions) == 4
        for question in questions:
            prompt, said = f"{pairs},{question[:3]}", question[3:]
            assert answered(prompt) == said
        asked = [i for i, here in zip(ids, answer, strict=True) if here]
        assert asked[1::2] == [EOS] * 4


def test_difficulty_covers_its_range():
    sums = [prompt.count("+") + 1 for prompt, _ in drawn(Addition((3, 5), (2, 2))).texts()]
    assert set(sums) == {3, 4, 5}
    found = [operations(prompt) for prompt, _ in drawn(Modular((2, 4), (1, 3))).texts()]
    assert {m for m, _, _ in found} == {7, 97, 997}
    assert {len(rest) for _, _, rest in found} == {2, 3, 4}
    assert {sign for _, _, rest in found for sign, _ in rest} == set("+-*")
    prompts = [prompt for prompt, _ in drawn(Hops((1, 3), (2, 9))).texts()]
    assert {prompt.count(",") for prompt in prompts} == set(range(2, 10))
    assert {prompt[-3] for prompt in prompts} == {"1", "2", "3"}


@pytest.mark.parametrize("maker", MAKERS[:3], ids=str)
def test_levels_are_of_one_difficulty_each(maker):
    names = [name for name, _ in maker.levels()]
    assert len(set(names)) == len(names)
    for _, level in maker.levels():
        assert level.length <= maker.length
        drawn(level, 20, L=maker.length)


def test_levels_of_few_problems_are_not_measured():
    assert [name for name, _ in Addition((2, 4), (1, 2)).levels()] == [
        "add_4x1",
        "add_2x2",
        "add_3x2",
        "add_4x2",
    ]
    assert [name for name, _ in Modular((1, 3), (1, 2)).levels()] == [
        "mod7_3",
        "mod97_1",
        "mod97_2",
        "mod97_3",
    ]


@pytest.mark.parametrize("maker", MAKERS, ids=str)
def test_problems_follow_the_generator(maker):
    assert torch.equal(drawn(maker).ids, drawn(maker).ids)
    assert not torch.equal(drawn(maker).ids, drawn(maker, seed=1).ids)


@pytest.mark.parametrize("maker", [Addition((2, 3), (1, 1)), Modular((1, 1), (1, 2))], ids=str)
def test_what_is_held_out_is_never_trained_on(maker):
    problems = drawn(maker, 20_000)
    held = (problems.held & problems.answer).any(1).tolist()
    prompts = [prompt for prompt, _ in problems.texts()]

    def asked(prompt):
        return prompt if "%" in prompt else tuple(sorted(prompt.removesuffix("=").split("+")))

    trained = {asked(p) for p, out in zip(prompts, held, strict=True) if not out}
    tested = {asked(p) for p, out in zip(prompts, held, strict=True) if out}
    assert len(tested) >= 10
    assert not trained & tested
    assert 0.02 < len(tested) / len(trained | tested) < 0.12
    targets = problems.targets(held=False)
    assert ((targets != NONE).any(1) == ~torch.tensor(held)).all()


def test_the_order_of_pairs_changes_nothing_of_what_is_held_out():
    # Of three letters there are two cycles, so nearly all that differs is the order.
    problems = drawn(Hops((1, 1), (2, 2)), 20_000)
    told = {}
    for (prompt, _), held in zip(problems.texts(), problems.held.any(1).tolist(), strict=True):
        *pairs, question = prompt.split(",")
        assert told.setdefault((*sorted(pairs), question), held) == held
    assert len(told) < 3000
    assert 0.03 < sum(told.values()) / len(told) < 0.1


def test_held_out_problems_are_drawn_as_many_as_asked_for():
    maker = Hops((1, 4), (5, 10))
    problems = held_out_problems(maker, 50, maker.length, torch.Generator().manual_seed(0))
    assert problems.ids.shape == (50, maker.length)
    assert (problems.targets(held=True) != NONE).any(1).all()
    assert (problems.targets(held=False) == NONE).all()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_targets_are_the_tokens_that_follow(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU")
    maker = Addition((2, 4), (1, 2))
    problems = maker.draw(50, maker.length, torch.Generator(device).manual_seed(0))
    targets = torch.where(
        problems.held.any(1, keepdim=True),
        problems.targets(held=True),
        problems.targets(held=False),
    )
    for ids, row, (_, answer) in zip(
        problems.ids.tolist(), targets.tolist(), problems.texts(), strict=True
    ):
        places = [i for i, t in enumerate(row) if t != NONE]
        assert [row[i] for i in places] == [ids[i + 1] for i in places]
        assert VOCABULARY.decode(row[i] for i in places) == answer
        assert row[places[-1]] == EOS


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Addition((1, 3)),
        lambda: Addition((2, 3), (1, 5)),
        lambda: Modular((0, 3)),
        lambda: Modular((1, 3), (2, 4)),
        lambda: Hops((1, 10)),
        lambda: Hops((3, 4), (3, 8)),
        lambda: Hops((1, 4), (5, 53)),
    ],
)
def test_difficulties_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidInput):
        wrong()


def test_text_is_read_back_and_the_tokenizers_package_agrees():
    from tokenizers import Tokenizer

    theirs = Tokenizer.from_buffer(VOCABULARY.tokenizer_json())
    for text in ("17+58+9=", "%97:17+58*3-4=", "ab,Ca,bd,2C="):
        ids = VOCABULARY.encode(text)
        assert VOCABULARY.decode([*ids, EOS, 5]) == text
        assert theirs.encode(text).ids == ids
        assert theirs.decode(ids) == text
    with pytest.raises(InvalidInput, match="no token for '!'"):
        VOCABULARY.encode("1!")
    with pytest.raises(Exception, match="UNK"):
        theirs.encode("1!")
