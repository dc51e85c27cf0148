"""Stands in for Helm where there is no cluster: the real one renders what a command would install.

Needs in the environment: HELM, the real one; RECORD, a file that gets a line for each command. It prints nothing.
"""

import os
import subprocess
import sys

# Of "helm upgrade" alone, and known to it.
OF_UPGRADE = {"--install", "--create-namespace", "--wait"}


def problem(arguments):
    if arguments[:1] != ["upgrade"] or "--install" not in arguments:
        return "only helm upgrade --install can be tried without a cluster"
    rest = [argument for argument in arguments[1:] if argument not in OF_UPGRADE]
    run = subprocess.run([os.environ["HELM"], "template", *rest], capture_output=True, text=True)
    return None if run.returncode == 0 else f"Helm says {run.stderr.strip()!r}"


def main(arguments):
    found = problem(arguments)
    with open(os.environ["RECORD"], "a") as record:
        record.write(f"{'not ok' if found else 'ok'} helm {' '.join(arguments)}: {found or ''}\n")


main(sys.argv[1:])
