"""`python -m pilotlight_problems`: the troubleshooting page, made of the table."""

import sys

from pilotlight_problems import Row, groups

_HEAD = """# Troubleshooting

Every error of Pilotlight has a name: `error[NAME]` on a terminal, `type` in the API's JSON, `X-Pilotlight-Error` in an
answer that a replica gives in a function's place. `faasctl explain NAME` prints what stands here. *Exit* is what
`faasctl` exits with (`faasctl help exit-codes`), *status* the HTTP status. To a caller, everything under *Starting a
function* is a 503.

This page is made of the table that the program itself uses: `python -m pilotlight_problems > docs/troubleshooting.md`.
"""


def page() -> str:
    """All rows, under their headings, as Markdown."""
    parts = [_HEAD]
    for title, group in groups().items():
        parts.append(f"## {title}\n")
        parts += [_entry(row) for row in group]
    return "\n".join(parts)


def _entry(row: Row) -> str:
    status = f"status {row.status}, " if row.status else ""
    title = f"### {row.slug}\n\n{row.sentence} *({status}exit {row.exit_code})*\n"
    return f"{title}\n- Cause: {row.cause}\n- Cure: {row.cure}\n"


if __name__ == "__main__":
    sys.stdout.write(page())
