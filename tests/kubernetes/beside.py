"""Two releases in one namespace have nothing in common, and names are short enough.

Usage: beside.py ONE.yaml OTHER.yaml: what Helm rendered for two releases. Prints one line for each fault; the exit code is 1
if there is one.
"""

import sys

from rendered import Rendered

# Of a Service, a label's value, and the name of a container's host.
NAME_MAX = 63


def names(it):
    return {(each["kind"], each["metadata"]["name"]) for each in it.objects}


def selectors(it):
    for each in it.objects:
        spec = each.get("spec", {})
        found = spec.get("selector") or spec.get("podSelector")
        if each["kind"] != "HorizontalPodAutoscaler" and found:
            yield f"{each['kind']} {each['metadata']['name']}", found.get("matchLabels", found)
        for rule in spec.get("ingress", []) + spec.get("egress", []) if each["kind"] == "NetworkPolicy" else []:
            for peer in rule.get("from", []) + rule.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    yield f"a peer of {each['metadata']['name']}", peer["podSelector"]["matchLabels"]


def labelled(it):
    """Labels of what a selector may select."""
    yield from (workload["spec"]["template"]["metadata"]["labels"] for workload in it.workloads())
    yield from (each["metadata"]["labels"] for each in it.of_kind("Service"))


def faults(one, other):
    for kind, name in names(one) & names(other):
        yield f"both have {kind} {name}"
    for mine, theirs in ((one, other), (other, one)):
        for what, selector in selectors(mine):
            if any(selector.items() <= labels.items() for labels in labelled(theirs)):
                yield f"{what} of {mine.name} selects what is of {theirs.name}"
        for each in mine.objects:
            values = [each["metadata"]["name"], *each["metadata"].get("labels", {}).values()]
            yield from (f"{value} is too long" for value in values if len(value) > NAME_MAX)
        if not mine.job().startswith("headcount"):
            yield f"no alert asks for the job {mine.job()}"
    if one.job() == other.job():
        yield f"both are the job {one.job()}, so alerts would take them for one"


def main(*paths):
    found = list(faults(*(Rendered(path) for path in paths)))
    for fault in found:
        print(fault)
    return 1 if found else 0


sys.exit(main(*sys.argv[1:]))
