"""The reference pages of docs/: all fields and all columns, from their declarations.

python -m spiral_vae.present.reference docs
"""

import sys
from pathlib import Path

from spiral_vae import fields
from spiral_vae.config.settings import ROOTS
from spiral_vae.exact.metrics import METRICS

_MADE = "<!-- Made by `make reference`; what it says is declared in the code. -->"


def field_page() -> str:
    """Returns the page on all fields of a config, in Markdown."""
    lines = [
        _MADE,
        "",
        "# Fields of a config",
        "",
        "Each can be set by `--config.FIELD=VALUE`. Those marked *group* fix shapes or compiled",
        "code: a sweep over them trains one group after the other. A field set where nothing uses",
        "it is refused.",
        "",
        "| field | default | what may stand there | meaning | used by | in a sweep |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for path, (own, users) in sorted(fields.declared(*ROOTS).items()):
        field = own[0]
        swept = "no" if field.not_swept else "group" if field.static else "lanes"
        options = {option: None for one in own for option in one.rule.options}
        allowed = " or ".join(f"`{option}`" for option in options) or field.rule.allowed
        meaning = "; ".join(dict.fromkeys(one.meaning for one in own))
        default = "none" if field.default is None else f"`{field.default!r}`"
        lines.append(
            f"| `{path}` | {default} | {_escaped(allowed)} | {_escaped(meaning)} | "
            f"{_users(users)} | {swept} |"
        )
    return "\n".join(lines) + "\n"


def column_page() -> str:
    """Returns the page on the columns of summary.csv, in Markdown."""
    lines = [
        _MADE,
        "",
        "# Columns of summary.csv",
        "",
        "After `lane`, `seed`, the swept fields, `status` and `verdict`. What a run can't tell has",
        "no column: one that needs a plane where the data have another dimension, say.",
        "",
        "| column | meaning | unit | needs |",
        "| --- | --- | --- | --- |",
    ]
    for metric in METRICS.values():
        needs = ", ".join(metric.needs) or "-"
        lines.append(
            f"| `{metric.name}` | {_escaped(metric.meaning)} | {metric.unit or '-'} | {needs} |"
        )
    return "\n".join(lines) + "\n"


def _users(users: list[str]) -> str:
    """Returns what uses a field, in short."""
    selectors = dict.fromkeys(user.split(" ")[0] for user in users)
    names = {
        selector: [u.split(" ")[1] for u in users if u.startswith(f"{selector} ")]
        for selector in selectors
    }
    known = fields.declared(*ROOTS)
    if all(len(names[s]) == len(known[s].fields[0].rule.options) > 1 for s in selectors):
        return "every kind" if selectors else "everything"
    return "; ".join(
        f"`{selector}` {', '.join(name.strip(chr(39)) for name in own)}"
        for selector, own in names.items()
    )


PAGES = {"fields.md": field_page, "columns.md": column_page}


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("*", r"\*")


if __name__ == "__main__":
    for name, page in PAGES.items():
        (Path(sys.argv[1]) / name).write_text(page())
