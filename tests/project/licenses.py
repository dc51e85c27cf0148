"""Holds the packages of `cargo metadata` (standard input) against a deny.toml: their licences, and where they come from.

Prints a line for each package that is not allowed. It knows the lists "licenses.allow" and "sources.allow-registry" alone;
cargo-deny, which .github/workflows/dependencies.yml runs, knows all of the file.
"""

import functools
import json
import sys
import tomllib

from license_expression import get_spdx_licensing

LICENSING = get_spdx_licensing()


@functools.cache
def is_allowed(expression, allowed):
    """Whether the licences of the list are enough to fulfil the expression."""
    # An old way to write "or", which cargo still takes.
    parsed = LICENSING.parse(expression.replace("/", " OR "), validate=True, strict=False)
    truth = {
        symbol: LICENSING.TRUE if symbol.render("{symbol.key}") in allowed else LICENSING.FALSE
        for symbol in parsed.symbols
    }
    return parsed.subs(truth, simplify=True) == LICENSING.TRUE


def main(path):
    with open(path, "rb") as file:
        rules = tomllib.load(file)
    allowed = frozenset(rules["licenses"]["allow"])
    registries = {f"registry+{address}" for address in rules["sources"]["allow-registry"]}
    packages = json.load(sys.stdin)["packages"]
    for package in packages:
        name = f"{package['name']} {package['version']}"
        # A path is a part of this repository.
        if package["source"] not in registries | {None}:
            print(f"{name} comes from {package['source']}")
        if not package["license"] or not is_allowed(package["license"], allowed):
            print(f"{name} has the licence {package['license']}")
    print(f"{len(packages)} packages", file=sys.stderr)


main(sys.argv[1])
