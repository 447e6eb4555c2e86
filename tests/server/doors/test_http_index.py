"""The index page: what it lists, and what it keeps to itself."""

from __future__ import annotations

import dataclasses
import html
from html.parser import HTMLParser
from types import SimpleNamespace

import pytest

from foretoken.server.doors.web.index import Listed, Overview, Shown
from foretoken.server.doors.web.page import duration, rendered
from foretoken.server.settings import Settings
from tests.server.doors.http_port import Running, Shelf, run, version

# -- the index page -------------------------------------------------------------------------------


class Text(HTMLParser):
    """The words of a page, and the tags that are open or were never closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs) -> None:
        self.tags.add(tag)
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] != "style":
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def page(*args, **kwargs) -> Text:
    found = []

    async def check(running: Running) -> None:
        running.plane.loaded = [SimpleNamespace(version=version("lcpfn", 2))]
        answer = await running.ask("/", host="models.example:8101")
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        found.append(Text(answer.text))

    run(check, *args, **kwargs)
    assert found[0].open == []
    assert "script" not in found[0].tags
    return found[0]


def test_the_index_lists_models_versions_aliases_and_addresses():
    shelf = Shelf(version("lcpfn", 1), version("lcpfn", 2, "champion"), version("other", 1))
    text = page(shelf=shelf).text
    assert "2 champion loaded 1 on demand" in text
    assert "gRPC models.example:8100 HTTP models.example:8101" in text
    assert "foretoken extrapolate lcpfn" in text
    assert "curve stateless" in text


def test_examples_of_the_index_speak_tls_where_the_server_does():
    shown = Shown(1, ("champion",), loaded=True)
    model = Listed("lcpfn", "curve", "stateless", "what it does", True, (shown,), 0)
    plain = Overview("0.1.0", 1.0, False, "here:1", "here:2", (model,), False)
    text = html.unescape(rendered(dataclasses.replace(plain, secure=True)))
    assert "foretoken --ca ca.pem extrapolate lcpfn" in text
    assert 'server=Client("here:1", ca="ca.pem"))' in text
    assert 'InferenceServerClient("here:1", ssl=True, root_certificates="ca.pem")' in text
    assert 'CurveExtrapolator("lcpfn", server="here:1")' in html.unescape(rendered(plain))


def test_the_index_tells_how_to_classify_tables():
    shown = Shown(1, ("champion",), loaded=True)
    curves = Listed("lcpfn", "curve", "stateless", "what it does", True, (shown,), 0)
    tables = Listed("a&b", "tabular", "in-context", "what it does", True, (shown,), 0)
    unserved = Listed("aside", "tabular", "in-context", "what it does", False, (shown,), 0)
    both = Overview("0.1.0", 1.0, False, "here:1", "here:2", (unserved, tables, curves), False)
    text = html.unescape(rendered(both))
    assert "foretoken predict a&b --train train.csv --target COLUMN --test test.csv" in text
    assert "from foretoken import CurveExtrapolator, TabularClassifier\n" in text
    assert 'TabularClassifier("a&b", server="here:1").fit(X, y)' in text
    assert "foretoken extrapolate lcpfn" in text
    alone = html.unescape(rendered(dataclasses.replace(both, models=(tables,), secure=True)))
    assert "foretoken --ca ca.pem predict a&b" in alone
    assert "from foretoken import Client, TabularClassifier\n" in alone
    assert "Curve" not in alone
    assert "Use" not in rendered(dataclasses.replace(both, models=(unserved,)))


def test_the_index_tells_how_to_embed_texts():
    shown = Shown(1, ("champion",), loaded=True)
    texts = Listed("mini", "text", "stateless", "what it does", True, (shown,), 0)
    tables = Listed("tables", "tabular", "in-context", "what it does", True, (shown,), 0)
    both = Overview("0.1.0", 1.0, False, "here:1", "here:2", (tables, texts), False)
    text = html.unescape(rendered(both))
    assert "foretoken embed texts.txt --model mini --out vectors.npy --server here:1" in text
    assert 'Embedder("mini", server="here:1")' in text
    assert "from foretoken import Embedder, TabularClassifier\n" in text


def test_the_index_tells_how_to_continue_prompts():
    shown = Shown(1, ("champion",), loaded=True)
    chains = Listed("sums", "generation", "generative", "what it does", True, (shown,), 0)
    plain = Overview("0.1.0", 1.0, False, "here:1", "here:2", (chains,), False)
    text = html.unescape(rendered(plain))
    assert 'foretoken generate sums "what to continue" --max-tokens 32 --server here:1' in text
    assert "from foretoken import Client\n" in text
    assert 'with Client("here:1") as client:\n    for token in client.generate("sums",' in text
    secure = html.unescape(rendered(dataclasses.replace(plain, secure=True)))
    assert "from foretoken import Client\n" in secure
    assert 'with Client("here:1", ca="ca.pem") as client:' in secure


def test_the_index_shows_few_versions_and_those_that_aliases_point_at():
    versions = [version("lcpfn", n, *(["champion"] if n == 2 else [])) for n in range(1, 20)]
    text = page(shelf=Shelf(*versions)).text
    assert "19 on demand 18 on demand 17 on demand 16 on demand 15 on demand 2 champion" in text
    assert "and 13 more" in text


def test_the_index_shows_no_tenants_models():
    shelf = Shelf(version("mine", 1), version("ours", 1), owners={"mine": "acme"})
    text = page(shelf=shelf).text
    assert "ours" in text
    assert "mine" not in text


def test_the_index_shows_no_models_where_tokens_are_required():
    text = page(Settings(require_tokens=True), shelf=Shelf(version("lcpfn", 2))).text
    assert "lcpfn" not in text
    assert "those who show a token" in text


def test_the_index_escapes_what_it_shows():
    hostile = version("<script>alert(1)</script>", 1, "a&b", family="<i>")
    found = page(shelf=Shelf(hostile))
    assert "<script>alert(1)</script>" in found.text
    assert "a&b" in found.text
    assert "i" not in found.tags


def test_an_empty_registry_has_a_page():
    assert "There are none yet" in page().text


def test_a_model_of_an_unknown_family_and_one_that_is_not_served_are_listed():
    shelf = Shelf(version("foreign", 1, family="later"))
    served = shelf.models

    def unserved(*args, **kwargs):
        return [dataclasses.replace(model, served=False) for model in served(*args, **kwargs)]

    shelf.models = unserved
    text = page(shelf=shelf).text
    assert "family later, which this release does not have" in text
    assert "1 unloaded" in text


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.9, "0 seconds"),
        (61, "1 minute 1 second"),
        (7200, "2 hours"),
        (90061, "1 day 1 hour"),
        (-3, "0 seconds"),
    ],
)
def test_durations_are_said_in_two_units(seconds, said):
    assert duration(seconds) == said
