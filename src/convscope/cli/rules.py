"""``convscope rules``: how signals come down, and what scores are attributed by."""

from typing import Any

import typer

from convscope.cli.printing import print_json


def rules(as_json: bool = False) -> None:
    """List the rules of `project` and the methods of `attribute`: source, what each keeps to.

    Of each rule it tells what its pictures keep on the bundled networks when what they should
    depend on is changed: 0% is as noise, 100% the same picture.
    """
    from convscope.methods.attribute import METHODS, RECOMMENDED
    from convscope.network.rules import RULES, TESTS

    rows: list[dict[str, Any]] = [
        {"name": name, "command": "project, attribute" if name in RULES else "attribute",
         "shows": method.shows, "promise": method.promise, "source": method.source,
         "kept": RULES[name].kept if name in RULES else {}}
        for name, method in sorted(METHODS.items(), key=lambda item: item[0] not in RULES)
    ]  # fmt: skip
    if as_json:
        print_json(rows)
        return
    for title, of in (("project and attribute", True), ("attribute alone", False)):
        typer.echo(f"{title}:")
        for row in rows:
            if (row["name"] in RULES) == of:
                typer.echo(f"  {row['name']:<27}{row['promise']}")
                typer.echo(f"  {'':<27}{row['source']}")
                for network, kept in row["kept"].items():
                    shares = "".join(
                        "    -" if own is None else f"{own:5.0%}" for own in kept.values()
                    )
                    typer.echo(f"  {'':<27}keeps{shares}  {network}")
    typer.echo(f"for the score of a class, take {RECOMMENDED}: it found planted truths best")
    typer.echo(f"keeps: of a picture, with {', '.join(TESTS)}; 0% as noise, 100% the same picture")
