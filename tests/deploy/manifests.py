"""What no schema can check of the compose file, the image, the alerts and the runbook: that they fit together.

Usage: manifests.py REPOSITORY HELP; HELP holds what "headcount --help" prints. Prints "ok - ..." and "not ok - ..." lines.
"""

import os
import re
import sys
from pathlib import Path

import yaml

LAST_ONES_AND_FAREWELL_SECONDS = 4
# The formula of docs/security.md, "Memory".
INSTANCE_KIB, SESSION_KIB = 64 << 10, 136

problems = []


def expect(condition, text):
    if not condition:
        problems.append(text)


def seconds(text):
    value, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(value) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def kib(text):
    value, unit = re.fullmatch(r"(\d+)(Mi|Gi|m|g)", text).groups()
    return int(value) * {"m": 1 << 10, "g": 1 << 20}[unit[0].lower()]


def fits(sessions, memory):
    return INSTANCE_KIB + SESSION_KIB * int(sessions) <= kib(memory)


def default(text):
    """What compose makes of "${NAME:-value}" while NAME is not set, or set to nothing."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read()


def check_images(repository):
    """Compose, Dockerfile and Cargo.toml say the same of the image."""
    services = yaml.safe_load(read(repository, "docker-compose.yml"))["services"]
    version = re.search(r'^version = "(.+)"', read(repository, "Cargo.toml"), re.M).group(1)
    dockerfile = read(repository, "deploy/Dockerfile")
    ours = services["headcount"]["image"]
    expect(ours == f"headcount:{version}", f"compose runs {ours}, and the version is {version}")
    expect(f"ARG VERSION={version}\n" in dockerfile, "the Dockerfile's VERSION is another")
    expect(services["visitors"]["image"] == ours, "compose's visitors run another image")
    for name, service in services.items():
        expect(re.search(r":v?\d+\.\d+\.\d+$", service["image"]), f"compose: {name}'s image has no full version")
        for port in service.get("ports", []):
            expect(port.startswith("127.0.0.1:"), f"compose: {name} publishes {port} beyond this machine")
    drain = services["headcount"]["environment"]
    needed = seconds(default(drain["HEADCOUNT_DRAIN_DELAY"])) + seconds(default(drain["HEADCOUNT_DRAIN"]))
    grace = seconds(services["headcount"]["stop_grace_period"])
    expect(grace > needed + LAST_ONES_AND_FAREWELL_SECONDS, "compose: a grace period shorter than the drain")
    sessions, memory = default(drain["HEADCOUNT_MAX_CONNECTIONS"]), services["headcount"]["mem_limit"]
    expect(fits(sessions, memory), f"compose: {sessions} sessions at their worst do not fit into {memory}")


def check_settings_and_ports(repository, help_text):
    """Compose passes every setting on, and publishes no port that the README uses for something else."""
    services = yaml.safe_load(read(repository, "docker-compose.yml"))["services"]
    passed_on = services["headcount"]["environment"]
    settings = set(re.findall(r"\[env:\s+(HEADCOUNT_\w+)", help_text))
    expect(len(settings) > 10, "the program's help names its settings")
    expect(set(passed_on) == settings, f"compose passes on other settings: {set(passed_on) ^ settings}")
    for name, value in passed_on.items():
        own = value is None or re.fullmatch(rf"\$\{{{name}:-[^}}]+\}}", value)
        expect(own, f"compose: {name} is {value}, whatever the shell says")
    published = [int(default(p).split(":")[1]) for s in services.values() for p in s.get("ports", [])]
    # One instance, and the three of the cluster by hand.
    taken = {3000, 9100, *(base + i for base in (3000, 9100) for i in (1, 2, 3))}
    expect(len(set(published)) == len(published), f"compose publishes a port twice: {published}")
    expect(not taken & set(published), f"compose and an instance want the same port: {taken & set(published)}")
    readme = read(repository, "README.md")
    for port in published:
        expect(f"http://localhost:{port}>" in readme, f"the README does not say what is at port {port}")


def check_runbook(repository):
    """Every alert has a section of its own, which its annotation names, and no section is left over."""
    groups = yaml.safe_load(read(repository, "deploy/prometheus/rules/headcount.rules.yml"))["groups"]
    alerts = [rule for group in groups for rule in group["rules"] if "alert" in rule]
    sections = re.findall(r"^## (Headcount\w+)$", read(repository, "docs/runbook.md"), re.M)
    folder = "deploy/prometheus/rules"
    tests = "".join(file.read_text() for file in sorted(Path(repository, folder).glob("*.test.yml")))
    expect(sorted(sections) == sorted(rule["alert"] for rule in alerts), "runbook and alerts differ")
    for rule in alerts:
        name = rule["alert"]
        link = f"docs/runbook.md#{name.lower()}"
        annotations = rule["annotations"]
        expect(annotations["runbook_url"] == link, f"{name} does not link to its section")
        expect(annotations["summary"] and annotations["description"], f"{name} says too little")
        expect(rule["labels"]["severity"] in ("critical", "warning"), f"{name} has no severity")
        expected = re.findall(rf"alertname: {name}\b[^-]*?exp_alerts", tests, re.S)
        silent = re.findall(rf"alertname: {name}, eval_time: \w+}}", tests)
        expect(expected, f"{name}: no test in which it fires")
        expect(silent, f"{name}: no test in which it is silent")


def main(repository, help_file):
    check_images(repository)
    check_settings_and_ports(repository, read(help_file))
    check_runbook(repository)
    for problem in problems:
        print(f"not ok - {problem}")
    if not problems:
        print("ok - compose file, image, alerts and runbook fit together")
    return 1 if problems else 0


sys.exit(main(*sys.argv[1:]))
