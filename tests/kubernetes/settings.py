"""The chart refuses what the program would refuse, and nothing else; and the program takes what is rendered.

Usage: settings.py CHART PROGRAM CASES.yaml RENDERED.yaml... Each case is rendered by the real Helm, and its settings are given
to the program. A setting that the program refuses would be a pod that is started again and again. Prints one line for each
fault; the exit code is 1 if there is one.
"""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

import yaml
from rendered import Rendered, read

# Settings of files, which exist in a folder of this test alone.
OF_FILES = ("HEADCOUNT_JWT_KEYS", "HEADCOUNT_VISITOR_SECRET_FILE")
# The program reads this one last, so that an error about another one would come first.
LAST = "HEADCOUNT_TEST_INCARNATION"
ISSUERS = {"networkPolicy": {"issuers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]}}
NOT_ALONE = "redis://redis"


def variables(values):
    """What the program would get for these values, if the chart passed them on as they are."""
    named = {"HEADCOUNT_" + re.sub("(?=[A-Z])", "_", name).upper(): value for name, value in values.get("settings", {}).items()}
    return named | {"HEADCOUNT_REDIS_URL": values.get("redis", {}).get("url", NOT_ALONE)}


class Program:
    def __init__(self, path, folder):
        self.path, self.folder = path, pathlib.Path(folder)
        run = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", self.folder / "key"]
        subprocess.run(run, check=True, capture_output=True)
        run = ["openssl", "pkey", "-in", self.folder / "key", "-pubout", "-out", self.folder / "jwt.pem"]
        subprocess.run(run, check=True)
        (self.folder / "secret").write_text("0123456789abcdefghijklmnopqrstuvwxyz\n")

    def here(self, entry):
        """The file of the test for a path; everything else as it is."""
        if not entry.strip().startswith("/"):
            return entry
        return str(self.folder / ("jwt.pem" if entry.strip().endswith(".pem") else "secret"))

    def refuses(self, settings):
        """What it says against these settings; nothing if it takes them."""
        for name in OF_FILES:
            if name in settings:
                settings[name] = ",".join(self.here(entry) for entry in settings[name].split(","))
        environment = {"PATH": os.environ["PATH"]} | settings | {LAST: "none"}
        said = subprocess.run([self.path], env=environment, capture_output=True, text=True, timeout=30).stderr.strip()
        return "" if f'{LAST} is "none"' in said else said


def judge(case, expected, chart, program):
    values = {key: case[key] for key in ("settings", "redis") if key in case} | ISSUERS
    run = ["helm", "template", "headcount", chart, "--values", "-"]
    helm = subprocess.run(run, input=yaml.safe_dump(values), capture_output=True, text=True)
    said = "\n".join(line for line in helm.stderr.splitlines() if "symbolic link" not in line)
    against = program.refuses(variables(values))
    if expected == "taken":
        if helm.returncode != 0:
            yield f"the chart refuses {case}: {said}"
        if against:
            yield f"the program refuses {case}: {against}"
        return
    if helm.returncode == 0:
        yield f"the chart takes {case}"
    elif case["says"] not in said:
        yield f"the chart does not say {case['says']!r}: {said}"
    if "hides" in case and case["hides"] in said:
        yield f"the chart shows a secret: {said}"
    if not against:
        yield f"the program takes {case}"


def main(chart, path, cases, *rendered):
    faults = []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        program = Program(path, folder)
        for file in rendered:
            it = Rendered(file)
            against = program.refuses(it.variables())
            faults += [f"{it.name}: {against}"] if against else []
        for expected, group in yaml.safe_load(read(cases)).items():
            for found in pool.map(lambda case: list(judge(case, expected, chart, program)), group):
                faults += found
    for fault in faults:
        print(fault)
    return 1 if faults or not rendered else 0


sys.exit(main(*sys.argv[1:]))
