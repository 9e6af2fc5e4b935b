"""How Sphinx makes the site from the pages beside this file (`make docs`)."""

import os
import re
from pathlib import Path

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

import dask_runner

HERE = Path(__file__).parent.resolve()
ROOT = HERE.parent

project = "dask-runner"
author = "the developers of dask-runner"
copyright = "the developers of dask-runner"  # noqa: A001  Sphinx's name
version = release = dask_runner.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx_click",
    "sphinx_copybutton",
]
nitpicky = True
# Of packages that the site does not describe.
nitpick_ignore_regex = [
    ("py:.*", r"(dask|distributed|click|mpi4py|tornado)\..*"),
    ("py:.*", r"(asyncio|collections|contextlib|os|pathlib|typing|signal)\..*"),
    ("py:.*", r"(distributed|dask)"),
    # Of our own that are not for users.
    ("py:.*", r"dask_runner\.launch\..*"),
    ("py:func", "send_close_signal"),
]
# Two verbs have options of the same name.
suppress_warnings = ["ref.option"]

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 3
highlight_language = "none"
numpydoc_show_class_members = False
autodoc_typehints = "none"
autodoc_member_order = "bysource"
# Commands are copied without their prompt and their output.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True

html_theme = "pydata_sphinx_theme"
html_title = f"dask-runner {version}"
html_static_path: list[str] = []
html_show_sourcelink = False
html_theme_options: dict[str, object] = {
    "show_prev_next": True,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
}
# A site with several versions has a list of them, which the theme offers.
if os.environ.get("DOCS_SWITCHER"):
    html_theme_options["switcher"] = {
        "json_url": os.environ["DOCS_SWITCHER"],
        "version_match": os.environ.get("DOCS_VERSION", version),
    }
    html_theme_options["check_switcher"] = False
    html_theme_options["navbar_start"] = ["navbar-logo", "version-switcher"]

# Where the files of the checkout can be seen, for links that lead out of docs/.
SOURCE = os.environ.get("DOCS_SOURCE", "")
LINK = re.compile(r"(?<!!)\[([^\]]+)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")


def lead_out(_app: Sphinx, page: str, text: list[str]) -> None:
    """Turn links to files outside of docs/ into links to DOCS_SOURCE."""
    folder = (HERE / page).parent

    def turned(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(HERE):
            return link[0]
        if not target.exists():
            raise ExtensionError(f"{page} links to {link[2]}, which is not there")
        path = target.relative_to(ROOT)
        if SOURCE:
            return f"[{link[1]}]({SOURCE}/{path}{link[3] or ''})"
        return link[1] if link[1].strip("`") == str(path) else f"{link[1]} (`{path}`)"

    text[0] = LINK.sub(turned, text[0])


def setup(app: Sphinx) -> None:
    """Tell Sphinx what is ours."""
    app.connect("source-read", lead_out)
