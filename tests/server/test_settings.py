"""Settings: arguments over variables over a file; anything wrong stops the start."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from foretoken.errors import InvalidInput
from foretoken.server.settings import load_settings


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "foretoken.toml"
    path.write_text('threads = 3\nruntime = "torch"\nqueue = 5\n')
    return path


def test_arguments_win_over_variables_over_the_file(config, monkeypatch):
    monkeypatch.setenv("FORETOKEN_THREADS", "4")
    monkeypatch.setenv("FORETOKEN_QUEUE", "6")
    settings = load_settings(config, queue=7)
    assert (settings.runtime, settings.threads, settings.queue) == ("torch", 4, 7)


def test_arguments_that_are_none_leave_the_choice_open(config):
    assert load_settings(config, threads=None).threads == 3


def test_settings_are_frozen(config):
    with pytest.raises(ValidationError, match="frozen"):
        load_settings(config).threads = 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("threads = -1", "threads"),
        ('tls_cert = "a.pem"', "tls_key"),
        ('runtime = "tensorrt"', "runtime"),
        ("speed = 11", "there is no speed; there are data_dir, "),
        ("threads = ", "not acceptable"),
    ],
)
def test_a_wrong_file_stops_the_start(tmp_path, text, said):
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=said):
        load_settings(path)


def test_a_wrong_variable_stops_the_start(monkeypatch):
    monkeypatch.setenv("FORETOKEN_BATCH_TOKENS", "many")
    with pytest.raises(InvalidInput, match="batch_tokens"):
        load_settings()


def test_an_unknown_variable_stops_the_start(monkeypatch):
    monkeypatch.setenv("FORETOKEN_THRED", "3")
    with pytest.raises(InvalidInput, match=r"FORETOKEN_THRED.*FORETOKEN_THREADS"):
        load_settings()


@pytest.mark.parametrize("name", ["SERVICE_HOST", "PORT", "PORT_8100_TCP_ADDR"])
def test_variables_that_kubernetes_makes_are_left_alone(monkeypatch, name):
    before = load_settings()
    monkeypatch.setenv(f"FORETOKEN_{name}", "tcp://10.0.0.1:8100")
    assert load_settings() == before


@pytest.mark.parametrize("name", ["onnxx", "xtorch"])
def test_a_runtime_is_named_in_full(monkeypatch, name):
    monkeypatch.setenv("FORETOKEN_RUNTIME", name)
    with pytest.raises(InvalidInput, match="runtime"):
        load_settings()


def test_a_missing_file_stops_the_start(tmp_path):
    with pytest.raises(InvalidInput, match="no configuration file"):
        load_settings(tmp_path / "nowhere.toml")
