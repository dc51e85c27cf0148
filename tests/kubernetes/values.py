"""The values of the chart, their schema and the settings of the program name the same things.

Usage: values.py CHART HELP VALUES.yaml...; HELP holds what "headcount --help" prints. Prints one line for each fault; the
exit code is 1 if there is one.
"""

import json
import re
import sys

import yaml
from rendered import read

# They are made of other values, and of the image.
OTHERWISE = {"HEADCOUNT_REDIS_URL", "HEADCOUNT_DRAIN", "HEADCOUNT_DRAIN_DELAY"}
OTHERWISE |= {"HEADCOUNT_LISTEN", "HEADCOUNT_ADMIN_LISTEN", "HEADCOUNT_ADMIN_TOKEN"}
# An instance is called by its host's name, which is the pod's.
OTHERWISE |= {"HEADCOUNT_INSTANCE_NAME"}
# Any key is allowed there: they are passed on to Kubernetes as they are. "global" is of a chart around this one.
OPEN = {"global"}

faults = []


def paths(values, schema, path=""):
    """Every path of a value that the schema closes."""
    for key, value in values.items():
        known = schema.get("properties", {}).get(key)
        here = f"{path}.{key}".lstrip(".")
        yield here
        if known and isinstance(value, dict) and known.get("additionalProperties") is False:
            yield from paths(value, known, here)


def described(schema, path=""):
    """Every path that the schema names; each says what it is for, and lets in nothing unknown."""
    for key, each in schema.get("properties", {}).items():
        here = f"{path}.{key}".lstrip(".")
        if not each.get("description"):
            faults.append(f"the schema does not describe {here}")
        if each.get("properties") and each.get("additionalProperties", True) is True:
            faults.append(f"the schema lets anything in at {here}")
        yield here
        if each.get("type") == "object" and each.get("additionalProperties") is False:
            yield from described(each, here)


def variable(setting):
    return "HEADCOUNT_" + re.sub("(?=[A-Z])", "_", setting).upper()


def main(chart, help_file, *files):
    values, schema = yaml.safe_load(read(chart, "values.yaml")), json.loads(read(chart, "values.schema.json"))
    if schema.get("additionalProperties") is not False:
        faults.append("the schema lets anything in")
    shown, known = set(paths(values, schema)), set(described(schema)) - OPEN
    optional = {"resources.claims", "redis.resources.claims", "resources.limits.cpu", "redis.resources.limits.cpu"}
    faults.extend(f"values.yaml has no {path}" for path in sorted(known - shown - optional))
    faults.extend(f"the schema has no {path}" for path in sorted(shown - known))
    program = set(re.findall(r"\[env:\s+(HEADCOUNT_\w+)", read(help_file)))
    chart_settings = {variable(setting) for setting in values["settings"]}
    faults.extend(f"the program does not know {name}" for name in sorted(chart_settings - program))
    faults.extend(f"the chart does not know {name}" for name in sorted(program - chart_settings - OTHERWISE))
    # Together the values files use everything that can be set.
    used = set()
    for file in files:
        used |= set(paths(yaml.safe_load(read(file)), schema))
    shared = {path for path in known if not path.startswith(("redis.image", "redis.resources"))} - optional
    faults.extend(f"no values file sets {path}" for path in sorted(shared - used))
    for fault in faults:
        print(fault)
    return 1 if faults or len(program) < 10 else 0


sys.exit(main(*sys.argv[1:]))
