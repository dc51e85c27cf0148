"""Objects against the schemas of Kubernetes, and those of other kinds into a file for kinds.mjs.

Usage: validate.py FIRST LAST OTHERS.json RENDERED.yaml...; FIRST and LAST are versions such as 1.30, between which all
are tried. A field that a schema does not know is a fault. Prints one line for each fault; the exit code is 1 if there is
one, or if there was nothing to check.
"""

import functools
import json
import sys

import kubernetes_validate
from kubernetes_validate import utils
from rendered import CORE, Rendered

# It would be read again for each object.
utils.schema_contents = functools.lru_cache(maxsize=None)(utils.schema_contents)


def minor(version):
    return int(version.split(".")[1])


def fault(each, version):
    try:
        kubernetes_validate.validate(each, version, strict=True)
    except kubernetes_validate.ValidationError as error:
        path = ".".join(str(part) for part in error.path)
        return f"{path}: {error.message}"
    except utils.SchemaNotFoundError as error:
        return error.message
    return None


def main(first, last, others, *paths):
    versions = [f"1.{number}.0" for number in range(minor(first), minor(last) + 1)]
    foreign, seen, faults = {}, set(), []
    for path in paths:
        rendered = Rendered(path)
        for each in rendered.objects:
            text = json.dumps(each, sort_keys=True)
            if each["apiVersion"] not in CORE:
                foreign[text] = each
            elif text not in seen:
                seen.add(text)
                for version in versions:
                    what = fault(each, version)
                    if what:
                        faults.append(f"{rendered.name}: {each['kind']} {each['metadata']['name']} in {version}: {what}")
    with open(others, "w") as file:
        json.dump(list(foreign.values()), file)
    for each in faults:
        print(each)
    return 1 if faults or not seen else 0


sys.exit(main(*sys.argv[1:]))
