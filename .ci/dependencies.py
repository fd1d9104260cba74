#!/usr/bin/env python3
"""Checks licences, bans and sources of all dependencies against deny.toml, as `cargo deny` does, without its install."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

root = Path(__file__).resolve().parent.parent
policy = tomllib.loads((root / "deny.toml").read_text())
allowed = set(policy["licenses"]["allow"])
banned = {ban["crate"]: ban["reason"] for ban in policy["bans"]["deny"]}
target = subprocess.run(["rustc", "-vV"], capture_output=True, text=True, check=True).stdout
target = re.search(r"^host: (.*)$", target, re.M).group(1)
metadata = json.loads(subprocess.run(
    ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", target],
    cwd=root, capture_output=True, text=True, check=True).stdout)


def permitted(expression):
    """Whether an SPDX expression can be satisfied: `or` needs one side, `and` both; a slash is an old `or`."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    position = 0

    def term():
        nonlocal position
        if tokens[position] == "(":
            position += 1
            value = either()
            position += 1
            return value
        name = tokens[position]
        position += 1
        if position < len(tokens) and tokens[position].upper() == "WITH":
            name += " WITH " + tokens[position + 1]
            position += 2
        return name in allowed

    def both():
        nonlocal position
        value = term()
        while position < len(tokens) and tokens[position].upper() == "AND":
            position += 1
            value = term() and value
        return value

    def either():
        nonlocal position
        value = both()
        while position < len(tokens) and tokens[position].upper() == "OR":
            position += 1
            value = both() or value
        return value

    return either()


problems = []
for package in metadata["packages"]:
    name = f"{package['name']} {package['version']}"
    if package["name"] in banned:
        problems.append(f"{name} is banned: {banned[package['name']]}")
    if not package["license"] or not permitted(package["license"]):
        problems.append(f"{name} has licence {package['license']!r}, which deny.toml does not allow")
    source = package["source"]
    if source is not None and not source.startswith("registry+") and not source.startswith("sparse+"):
        problems.append(f"{name} comes from {source}, which is no registry")
    if source is None:
        for dependency in package["dependencies"]:
            if dependency["req"] == "*":
                problems.append(f"{dependency['name']} is required in any version")
for problem in problems:
    print("error:", problem, file=sys.stderr)
print(f"{len(metadata['packages'])} packages, {len(problems)} problems")
sys.exit(bool(problems))
