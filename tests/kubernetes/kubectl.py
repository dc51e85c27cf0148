"""Stands in for kubectl where there is no cluster: says whether the real one takes a command, and whether the objects
in it exist.

The real kubectl gets it with the address of a port at which nobody listens. A command that it does not understand
ends before it asks; every other one must say that the connection was refused. Needs in the environment: KUBECTL, the
real one; RENDERED, overlays as kustomize writes them; RECORD, a file that gets a line for each command. It prints a
name where the command asks for names, and nothing else.
"""

import os
import re
import subprocess
import sys

import yaml

KINDS = {"deploy": "Deployment", "deployment": "Deployment", "service": "Service"}
KINDS["horizontalpodautoscaler"] = "HorizontalPodAutoscaler"


def objects():
    for path in os.environ["RENDERED"].split():
        with open(path) as file:
            yield from (each for each in yaml.safe_load_all(file) if each)


def problems(arguments):
    server = ["--server", "http://127.0.0.1:1"]
    run = subprocess.run([os.environ["KUBECTL"], *server, *arguments], capture_output=True, text=True)
    if run.returncode == 0 or "refused" not in run.stderr:
        yield f"kubectl says {run.stderr.strip() or run.stdout.strip()!r}"
    known = list(objects())
    namespace = "default"
    for flag, value in zip(arguments, arguments[1:]):
        if flag == "-n":
            namespace = value
        if flag == "-l":
            label, value = value.split("=")
            pods = [each["spec"]["template"] for each in known if each["kind"] == "Deployment"]
            if not any(pod["metadata"]["labels"].get(label) == value for pod in pods):
                yield f"no pod has {label}={value}"
    for argument in arguments[: arguments.index("--") if "--" in arguments else None]:
        named = re.fullmatch(r"(\w+)/([\w-]+)", argument)
        if named and named.group(1) in KINDS:
            kind, name = KINDS[named.group(1)], named.group(2)
            wanted = (kind, name, namespace)
            found = [each for each in known if each["kind"] == kind and each["metadata"]["name"] == name]
            # What Helm renders names no namespace, and is installed into this one.
            if not any(each["metadata"].get("namespace", "headcount") == namespace for each in found):
                yield f"no such object: {wanted}"
            for port in re.findall(r"\b\d+:(\d+)\b", " ".join(arguments)) if kind == "Service" else []:
                if not any(int(port) == each["port"] for one in found for each in one["spec"]["ports"]):
                    yield f"{name} has no port {port}"


def main(arguments):
    found = list(problems(arguments))
    with open(os.environ["RECORD"], "a") as record:
        record.write(f"{'not ok' if found else 'ok'} kubectl {' '.join(arguments)}: {'; '.join(found)}\n")
    if arguments[-2:] == ["-o", "name"]:
        print("pod/headcount-0")


main(sys.argv[1:])
