"""The index page as HTML: plain, without scripts, legible in light and dark."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foretoken.server.doors.web.index import Listed, Overview, Shown

__all__ = ["duration", "rendered"]

STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6570; --line: #d9dee3;
  --ground: #fff; --panel: #f5f7f8; --mark: #0b6e5d; --live: #0b6e5d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8eb; --soft: #98a3ad; --line: #343b42;
  --ground: #14181b; --panel: #1d2226; --mark: #5cc9b3; --live: #5cc9b3; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "Noto Sans", sans-serif; }
main { max-width: 58rem; margin: 0 auto; padding: 3rem 1.5rem 4rem; }
h1 { margin: 0; font-size: 1.9rem; letter-spacing: -0.02em; }
h1 small { margin-left: .5rem; font-size: 1rem; font-weight: 400; letter-spacing: 0;
  color: var(--soft); }
h2 { margin: 2.75rem 0 .75rem; font-size: 1.15rem; }
h3 { margin: 1.25rem 0 .4rem; font-size: .95rem; font-weight: 600; color: var(--soft); }
p { margin: .35rem 0; } .soft, td p { color: var(--soft); } td p { font-size: .875rem; }
a { color: var(--mark); text-underline-offset: .15em; }
code, pre, dd { font-family: ui-monospace, "Cascadia Mono", "DejaVu Sans Mono", monospace;
  font-size: .9em; }
pre { margin: 0; padding: .85rem 1rem; overflow-x: auto; background: var(--panel);
  border: 1px solid var(--line); border-radius: 6px; line-height: 1.5; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .3rem 1.5rem; margin: 0; }
dt { color: var(--soft); } dd { margin: 0; }
.wide { overflow-x: auto; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .6rem 1.25rem .6rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { padding-top: 0; font-size: .875rem; font-weight: 600; color: var(--soft); }
th:last-child, td:last-child { padding-right: 0; }
td ul { margin: 0; padding: 0; list-style: none; white-space: nowrap; }
li.soft { font-size: .875rem; }
.alias { padding: .05rem .45rem; margin-left: .4rem; border: 1px solid var(--line);
  border-radius: 1rem; font-size: .8rem; }
.live { margin-left: .5rem; color: var(--live); font-size: .875rem; }
.idle { margin-left: .5rem; color: var(--soft); font-size: .875rem; }
"""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Foretoken {release}</title>
<style>{style}</style>
</head>
<body>
<main>
<header>
<h1>Foretoken <small>{release}, up {uptime}</small></h1>
<p class="soft">An inference server for models that predict from what they have just seen.</p>
</header>
<section>
<h2>Addresses</h2>
<dl>
<dt>gRPC{tls}</dt><dd>{grpc}</dd>
<dt>HTTP{tls}</dt><dd>{http}</dd>
</dl>
<p><a href="/metrics">metrics</a>, <a href="/healthz">health</a>,
<a href="/readyz">readiness</a></p>
</section>
<section>
<h2>Models</h2>
{models}
</section>
{examples}
</main>
</body>
</html>
"""

EXAMPLES = """<section>
<h2>Use</h2>
<h3>On the command line</h3>
<pre>{commands}</pre>
<h3>In Python</h3>
<pre>from foretoken import {imported}

{python}</pre>
<h3>With any client of the Open Inference Protocol</h3>
<pre>from tritonclient.grpc import InferenceServerClient

client = InferenceServerClient("{grpc}"{theirs})
print(client.get_model_metadata("{model}"))</pre>
</section>"""

CURVES_COMMAND = (
    "foretoken{options} extrapolate {model} --curve curve.csv --horizon 100 --server {grpc}"
)
CURVES_PYTHON = """curves = CurveExtrapolator("{model}", server={server})
posterior = curves.extrapolate([0.52, 0.61, 0.66, 0.70])
print(posterior.mean[-1], posterior.exceeds(0.8)[-1])"""

TEXTS_COMMAND = (
    "foretoken{options} embed texts.txt --model {model} --out vectors.npy --server {grpc}"
)
TEXTS_PYTHON = """embedder = Embedder("{model}", server={server})
print(embedder.embed(["one text", "another"]))"""

TABLES_COMMAND = (
    "foretoken{options} predict {model} --train train.csv --target COLUMN --test test.csv "
    "--server {grpc}"
)
TABLES_PYTHON = """classifier = TabularClassifier("{model}", server={server}).fit(X, y)
print(classifier.predict(X_test), classifier.predict_proba(X_test))"""

PROMPTS_COMMAND = (
    'foretoken{options} generate {model} "what to continue" --max-tokens 32 --server {grpc}'
)
PROMPTS_PYTHON = """with {client} as client:
    for token in client.generate("{model}", "what to continue", max_tokens=32):
        print(token.text, end="", flush=True)"""

USES = {  # by task: the class in Python, and templates of a command and of a script
    "curve": ("CurveExtrapolator", CURVES_COMMAND, CURVES_PYTHON),
    "text": ("Embedder", TEXTS_COMMAND, TEXTS_PYTHON),
    "tabular": ("TabularClassifier", TABLES_COMMAND, TABLES_PYTHON),
    "generation": ("Client", PROMPTS_COMMAND, PROMPTS_PYTHON),
}

TABLE = """<div class="wide"><table>
<thead><tr><th scope="col">Model</th><th scope="col">Task</th><th scope="col">Kind</th>
<th scope="col">Versions</th></tr></thead>
<tbody>
{rows}
</tbody>
</table></div>"""

ROW = """<tr><td><code>{name}</code><p>{summary}</p></td><td>{task}</td><td>{kind}</td>
<td><ul>{versions}</ul></td></tr>"""


def rendered(overview: Overview) -> str:
    """The page."""
    return PAGE.format(
        style=STYLE,
        release=escape(overview.release),
        uptime=duration(overview.uptime),
        tls=" (TLS)" if overview.secure else "",
        grpc=escape(overview.grpc),
        http=escape(overview.http),
        models=_models(overview),
        examples=_examples(overview),
    )


def duration(seconds: float) -> str:
    """Its two largest units: "3 days 4 hours"."""
    left = max(0, int(seconds))
    parts: list[str] = []
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1)):
        count, left = divmod(left, length)
        if count or (unit == "second" and not parts):
            parts.append(f"{count} {unit}{'' if count == 1 else 's'}")
    return " ".join(parts[:2])


def _models(overview: Overview) -> str:
    if overview.models is None:
        ca = " --ca ca.pem" if overview.secure else ""
        return (
            '<p class="soft">This server lists its models only for those who show a token: '
            f"<code>foretoken{ca} models list --server {escape(overview.grpc)}</code></p>"
        )
    if not overview.models:
        return (
            '<p class="soft">There are none yet. <code>foretoken models register</code> '
            "makes one.</p>"
        )
    table = TABLE.format(rows="\n".join(_row(model) for model in overview.models))
    more = '<p class="soft">There are more; <code>foretoken models list</code> shows all.</p>'
    return table + (more if overview.more else "")


def _row(model: Listed) -> str:
    versions = [_version(version, model.served) for version in model.versions]
    if model.older > 0:
        versions.append(f'<li class="soft">and {model.older} more</li>')
    return ROW.format(
        name=escape(model.name),
        summary=escape(model.summary),
        task=escape(model.task),
        kind=escape(model.kind),
        versions="".join(versions),
    )


def _version(version: Shown, served: bool) -> str:
    aliases = "".join(f'<span class="alias">{escape(alias)}</span>' for alias in version.aliases)
    state = "loaded" if version.loaded else "on demand" if served else "unloaded"
    look = "live" if version.loaded else "idle"
    return f'<li>{version.number}{aliases}<span class="{look}">{state}</span></li>'


def _examples(overview: Overview) -> str:
    """How to call the first model of each task that there are examples of."""
    firsts: dict[str, str] = {}
    for model in overview.models or ():
        if model.served and model.task in USES:
            firsts.setdefault(model.task, escape(model.name))
    if not firsts:
        return ""
    grpc, secure = escape(overview.grpc), overview.secure
    given = {
        "grpc": grpc,
        "options": " --ca ca.pem" if secure else "",
        "client": f'Client("{grpc}", ca="ca.pem")' if secure else f'Client("{grpc}")',
        "server": f'Client("{grpc}", ca="ca.pem")' if secure else f'"{grpc}"',
    }
    shown = [(*USES[task], firsts[task]) for task in USES if task in firsts]
    return EXAMPLES.format(
        commands="\n".join(command.format(model=name, **given) for _, command, _, name in shown),
        imported=", ".join(
            dict.fromkeys(["Client"] * secure + [imported for imported, *_ in shown])
        ),
        python="\n\n".join(python.format(model=name, **given) for _, _, python, name in shown),
        model=shown[0][3],
        grpc=grpc,
        theirs=', ssl=True, root_certificates="ca.pem"' if secure else "",
    )
