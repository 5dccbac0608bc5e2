"""What the site needs beyond MkDocs.

Files of the repository that the documentation links to become pages of the site, under `source/`. On a code host a link
such as `../tables/ledger.yaml` opens the file. The site has no such host behind it: here Markdown is rendered, and
everything else is shown as text.

Examples in docstrings (`>>>`) are shown as code; to Markdown they would be quotations.
"""

from __future__ import annotations

import os
import posixpath
import re
from pathlib import Path, PurePosixPath

from markdown import Markdown
from markdown.extensions import Extension
from markdown.preprocessors import Preprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parent.parent
#: A link or image with a relative target: `](target#anchor)`.
_LINK = re.compile(r"(?<=\]\()(?![a-z]+:|[#<])([^)#\s]+)")
_LANGUAGES = {".py": "python", ".yaml": "yaml", ".yml": "yaml", ".toml": "toml", ".cff": "yaml"}


class _FenceExamples(Preprocessor):
    """Put a fence around every example outside of one: from its first `>>>` to the next empty line."""

    def run(self, lines: list[str]) -> list[str]:
        fenced, inside_fence, inside_example = [], False, False
        for line in lines:
            inside_fence ^= line.lstrip().startswith(("```", "~~~"))
            if line.startswith(">>>") and not inside_fence and not inside_example:
                fenced.append("```pycon")
                inside_example = True
            elif inside_example and not line.strip():
                fenced.append("```")
                inside_example = False
            fenced.append(line)
        return [*fenced, "```"] if inside_example else fenced


class _Examples(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        md.preprocessors.register(_FenceExamples(md), "fence_examples", 29)  # after whitespace, before fences


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Let Markdown know examples, in pages and in docstrings."""
    config.markdown_extensions.append(_Examples())
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add a page for every file outside `docs/` that the navigation or a page leads to, directly or through others."""
    waiting = set(re.findall(r"\bsource/([\w./-]+)", (ROOT / "mkdocs.yml").read_text(encoding="utf-8")))
    for file in files.documentation_pages():
        waiting |= _outside(f"docs/{file.src_uri}", file.content_string)
    added: set[str] = set()
    while waiting:
        path = waiting.pop()
        added.add(path)
        text = (ROOT / path).read_text(encoding="utf-8")
        page = text if path.endswith(".md") else _shown(path, text)
        files.append(File.generated(config, _page_of(path), content=page))
        if path.endswith(".md"):
            waiting |= _outside(path, text) - added
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to files outside `docs/` lead to their pages."""
    here = page.file.src_uri
    if here.startswith("source/tables/generated/"):
        page.meta["hide"] = ["toc"]  # room for wide tables
    origin = here.removeprefix("source/") if here.startswith("source/") else f"docs/{here}"

    def lead(match: re.Match[str]) -> str:
        target = _resolve(origin, match[1])
        inside = target.removeprefix("docs/") if target.startswith("docs/") else _page_of(target)
        return posixpath.relpath(inside, posixpath.dirname(here) or ".")

    return _LINK.sub(lead, markdown)


def _outside(origin: str, markdown: str) -> set[str]:
    targets = {_resolve(origin, match[1]) for match in _LINK.finditer(markdown)}
    return {target for target in targets if not target.startswith("docs/") and (ROOT / target).is_file()}


def _resolve(origin: str, target: str) -> str:
    return os.path.normpath(posixpath.join(posixpath.dirname(origin), target))


def _page_of(path: str) -> str:
    return f"source/{path}" if path.endswith(".md") else f"source/{path}.md"


def _shown(path: str, text: str) -> str:
    return f"# `{path}`\n\n~~~~~~{_LANGUAGES.get(PurePosixPath(path).suffix, 'text')}\n{text}\n~~~~~~\n"
