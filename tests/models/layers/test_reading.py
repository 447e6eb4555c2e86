"""Text as it comes: whole characters, and nothing of a text to stop before."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from foretoken.models.layers.texts.reading import StopTexts, TextReader, piece


def of_bytes(tokens):
    """A decoder of bytes, as byte-level tokenizers are."""
    return bytes(tokens).decode("utf-8", errors="replace")


def pieces(reader, tokens):
    return [reader.read(t, last=i == len(tokens) - 1) for i, t in enumerate(tokens)]


@given(st.text(max_size=30), st.text(max_size=10))
def test_pieces_are_the_text_and_each_is_whole(prompt, answer):
    tokens = list(answer.encode())
    found = pieces(TextReader(of_bytes, list(prompt.encode())), tokens)
    assert "".join(found) == answer
    if "\ufffd" not in answer:
        assert not any("\ufffd" in piece for piece in found)


def test_a_character_comes_with_its_last_byte():
    reader = TextReader(of_bytes, [])
    assert pieces(reader, [*"é€😀a".encode()]) == ["", "é", "", "", "€", "", "", "", "😀", "a"]


def test_bytes_that_are_no_character_are_told_at_the_end_or_after_a_while():
    assert pieces(TextReader(of_bytes, []), [0xE2, 0x82]) == ["", "\ufffd"]
    assert pieces(TextReader(of_bytes, []), [0xFF, 97]) == ["", "\ufffda"]
    assert "".join(pieces(TextReader(of_bytes, []), [0xFF] * 40)[:16])


def test_spaces_between_prompt_and_answer_are_kept():
    """Decoders of SentencePiece drop a space in front, which only the prompt can tell apart."""
    made = Tokenizer(models.WordLevel({"▁a": 0, "▁b": 1, "c": 2, "<s>": 3}, unk_token="c"))
    made.decoder = decoders.Metaspace()
    assert made.decode([1, 2, 1]) == "bc b"
    assert pieces(TextReader(made.decode, [0]), [1, 2, 1]) == [" b", "c", " b"]
    assert pieces(TextReader(made.decode, []), [1, 2, 1]) == ["b", "c", " b"]


def test_byte_level_tokens_of_a_tokenizer_are_told_whole():
    made = Tokenizer(models.BPE(vocab={}, merges=[]))
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    said = json.loads(made.to_str())
    said["model"]["vocab"] = {c: i for i, c in enumerate(alphabet)}
    made = Tokenizer.from_str(json.dumps(said))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    text = "naïve 😀 字 text"
    found = pieces(TextReader(made.decode, made.encode("before").ids), made.encode(text).ids)
    assert "".join(found) == text
    assert not any("\ufffd" in piece for piece in found)


def test_a_token_has_a_text_of_its_own_unless_it_is_part_of_a_character():
    assert piece(of_bytes, ord("a")) == "a"
    assert piece(of_bytes, 0xC3) is None
    assert piece(of_bytes, 0xA9) is None
    made = Tokenizer(models.WordLevel({"▁a": 0, "b": 1, "<s>": 2}, unk_token="b"))
    made.decoder = decoders.Metaspace()
    assert [piece(made.decode, i) for i in range(3)] == [" a", "b", "<s>"]


@given(
    st.text("ab<>", max_size=30),
    st.lists(st.text("ab<>", min_size=1, max_size=4), max_size=3),
    st.integers(0, 2**32),
)
def test_text_ends_before_the_first_stop_however_it_is_cut(text, stop, seed):
    rng, gate, passed, at = random.Random(seed), StopTexts(stop), "", 0
    while at < len(text) and not gate.stopped:
        end = min(len(text), at + rng.randint(1, 5))
        passed += gate.passed(text[at:end], last=end == len(text))
        at = end
        assert text.startswith(passed)
    ends = [text[:at].find(each) for each in stop if each in text[:at]]
    assert gate.stopped == bool(ends)
    assert passed == (text[: min(ends)] if ends else text)


def test_what_may_begin_a_stop_is_held_and_nothing_else():
    gate = StopTexts(["</s>", "##"])
    assert gate.passed("one < two </", last=False) == "one < two "
    assert gate.passed("b", last=False) == "</b"
    assert gate.passed("#", last=False) == ""
    assert gate.passed("a</s", last=False) == "#a"
    assert gate.passed(">more", last=False) == ""
    assert gate.stopped
    assert gate.passed("more", last=True) == ""


def test_a_reader_stops_and_lets_all_out_at_the_end():
    reader = TextReader(of_bytes, [], ["END"])
    assert pieces(reader, [*b"xEN"]) == ["x", "", "EN"]
    reader = TextReader(of_bytes, [], ["END"])
    assert [reader.read(t, last=False) for t in b"xEND"] == ["x", "", "", ""]
    assert reader.stopped
    reader = TextReader(of_bytes, [], ["END"])
    assert [reader.read(t, last=False) for t in b"xE"] == ["x", ""]
    assert reader.read(None, last=True) == "E"
    assert not reader.stopped


@pytest.mark.parametrize("stop", [["b"], ["ab", "b"]])
def test_the_earliest_stop_counts(stop):
    gate = StopTexts(stop)
    assert gate.passed("xab", last=True) == ("x" if "ab" in stop else "xa")
