"""Chat templates: what transformers makes of them, and what they may not do."""

from __future__ import annotations

import time
from datetime import datetime

import pytest
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from foretoken.errors import InvalidInput
from foretoken.models.generation import Chat
from foretoken.models.layers.texts.chat import CHARACTERS, SECONDS, ChatTemplate

TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
# In the style of ChatML, with a system's message of its own where there is none.
CHATML = """\
{%- if messages[0]['role'] == 'system' %}
    {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
{%- else %}
    {{- '<|im_start|>system\\nYou help.<|im_end|>\\n' }}
{%- endif %}
{%- for message in messages %}
    {%- if message.role != 'system' or not loop.first %}
        {{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content ~ '<|im_end|>' ~ '\\n' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
    {%- if thinking is defined and thinking is false %}
        {{- '<think>\\n\\n</think>\\n\\n' }}
    {%- endif %}
{%- endif %}
"""
# In the style of Llama 3: a date, headers, contents without spaces around them.
HEADERS = """\
{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = strftime_now("%d %b %Y") %}
{%- endif %}
{%- if messages[0].role == "system" %}
    {%- set system_message = messages[0]["content"] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today is " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role == "tool" or message.role == "ipython" %}
        {{- "<|start_header_id|>ipython<|end_header_id|>\\n\\n" }}
        {%- if message.content is mapping or message.content is iterable %}
            {{- message.content | tojson }}
        {%- endif %}
        {{- "<|eot_id|>" }}
    {%- else %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' }}
        {{- message['content'] | trim + '<|eot_id|>' }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
# In the style of Mistral's: turns must alternate; a macro, a namespace, a loop that is left.
TURNS = """\
{{ bos_token }}
{% macro said(text) %}[INST] {{ text }} [/INST]{% endmacro %}
{% set ns = namespace(count=0, last=-1) %}
{% for message in messages %}
    {% if (message.role == 'user') != (loop.index0 % 2 == 0) %}
        {{ raise_exception('turns must alternate, user first; message ' ~ loop.index0) }}
    {% endif %}
    {% if message.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}
{% endfor %}
{% for message in messages %}
    {% if loop.index0 > ns.last %}{% break %}{% endif %}
    {% if message.role == 'user' %}
{{ said(message.content) }}
    {% else %}
{% generation %} {{ message.content }}{{ eos_token }}{% endgeneration %}
        {% set ns.count = ns.count + 1 %}{% continue %}
    {% endif %}
{% endfor %}
{{ ns.count }} {{ {"b": [1, "<é>"], "a": none} | tojson(indent=2) }} {{ missing }}{{ none }}
"""
TEMPLATES = {"chatml": CHATML, "headers": HEADERS, "turns": TURNS}
USER, REPLY = {"role": "user", "content": " 1 < 2?\n"}, {"role": "assistant", "content": "yes & é"}
SYSTEM, TOOL = {"role": "system", "content": "Be brief. "}, {"role": "tool", "content": '<"é">'}


@pytest.fixture(scope="module")
def theirs():
    made = Tokenizer(models.WordLevel({"w": 0}, unk_token="w"))
    return PreTrainedTokenizerFast(tokenizer_object=made, **TOKENS)


def said(template, *messages, **variables):
    return ChatTemplate(template, TOKENS).prompt(Chat(messages, variables))


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("extra", [{}, {"thinking": False}, {"add_generation_prompt": False}])
@pytest.mark.parametrize("messages", [[USER], [USER, REPLY], [USER, REPLY, USER]])
def test_prompts_are_those_of_transformers(theirs, template, messages, extra):
    text = TEMPLATES[template]
    options = {"add_generation_prompt": True, **extra}
    wanted = theirs.apply_chat_template(messages, chat_template=text, tokenize=False, **options)
    assert said(text, *messages, **extra) == wanted
    assert len(wanted) > 10


@pytest.mark.parametrize("template", ["chatml", "headers"])
def test_systems_and_tools_as_well(theirs, template):
    text, messages = TEMPLATES[template], [SYSTEM, USER, REPLY, TOOL]
    wanted = theirs.apply_chat_template(
        messages, chat_template=text, tokenize=False, add_generation_prompt=True
    )
    assert said(text, *messages) == wanted


def test_what_a_template_refuses_is_the_caller_s_matter():
    with pytest.raises(InvalidInput, match="refuses this conversation: turns must alternate"):
        said(TURNS, USER, USER)


@pytest.mark.parametrize(
    "text", ["{% if %}", "{{ a", "{% unknown %}", "{% for m in messages %}", "{{ a | unknown }}"]
)
def test_what_is_no_template_is_refused(text):
    with pytest.raises(InvalidInput, match="the chat template cannot be read"):
        ChatTemplate(text, TOKENS)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{{ messages[0].content.nothing.more }}", "UndefinedError"),
        ("{{ 1 / 0 }}", "ZeroDivisionError"),
        ("{{ messages.append(1) }}", "SecurityError"),
        ("{{ messages[0].update({}) }}", "SecurityError"),
        ("{{ ''.__class__.__mro__ }}", "SecurityError"),
        ("{{ raise_exception.__globals__['json'] }}", "SecurityError"),
        ("{% include 'file' %}", "TypeError"),
        ("{{ lipsum() }}", "UndefinedError"),
        ("{% macro f(n) %}{{ f(n + 1) }}{% endmacro %}{{ f(0) }}", "RecursionError"),
        ("{{ messages[0].content + 1 }}", "TypeError"),
    ],
)
def test_what_fails_or_reaches_further_is_refused(text, told):
    with pytest.raises(InvalidInput, match=told):
        said(text, USER)


@pytest.mark.parametrize(
    "text",
    ["{{ strftime_now.__code__ }}", "{{ '{0.__class__}'.format('') }}", "{{ ''['__class__'] }}"],
)
def test_what_is_hidden_is_nothing(text):
    assert said(text, USER) == ""


MANY = "{% for a in range(99999) %}{% for b in range(99999) %}X{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (MANY.replace("X", ""), f"more than {SECONDS:g} seconds"),
        (
            "{% macro f(n) %}{% if n %}{% set a = f(n - 1) ~ f(n - 1) %}{% endif %}{% endmacro %}"
            "{{ f(99) }}",
            f"more than {SECONDS:g} seconds",
        ),
        (MANY.replace("X", "{{ 'x' * 1000 }}"), f"more than {CHARACTERS} characters"),
        (
            "{% set ns = namespace(x='a') %}{% for i in range(99) %}"
            "{% set ns.x %}{{ ns.x }}{{ ns.x }}{% endset %}{% endfor %}",
            f"more than {CHARACTERS} characters",
        ),
        ("{{ 'a' * 1000000000 }}", "repeats what is too long"),
        ("{{ 1000000000 * [1] }}", "repeats what is too long"),
        ("{{ 10 ** 1000000000 }}", "a power of more than 64"),
        ("{{ range(1000000) | list }}", "OverflowError"),
    ],
)
def test_time_and_text_are_bounded(text, told):
    began = time.monotonic()
    with pytest.raises(InvalidInput, match=told):
        said(text, USER)
    assert time.monotonic() - began < 10 * SECONDS


def test_conversations_are_left_as_they_were_and_share_nothing():
    chat = Chat(({"role": "user", "content": "a"},), {"x": [1]})
    template = ChatTemplate("{% set messages = [] %}{% set x = 2 %}{{ x }}{{ messages }}", TOKENS)
    assert [template.prompt(chat) for _ in range(2)] == ["2[]", "2[]"]
    assert chat == Chat(({"role": "user", "content": "a"},), {"x": [1]})


def test_what_templates_find():
    text = "{{ strftime_now('%Y') }} {{ bos_token }} {{ eos_token }} {{ tools }} {{ documents }}"
    assert said(text, USER) == f"{datetime.now():%Y} <s> </s> None None"
    assert said("{{ messages[0].content }}", USER, messages=[]) == USER["content"]


@pytest.mark.parametrize(
    ("messages", "told"),
    [
        ((), "at least one"),
        (({"content": "a"},), "message 0 has no role"),
        (({"role": ""},), "role"),
    ],
)
def test_conversations_have_messages_with_roles(messages, told):
    with pytest.raises(InvalidInput, match=told):
        Chat(messages)
