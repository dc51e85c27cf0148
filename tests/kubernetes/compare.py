"""Kustomize and Helm deploy the same: two renderings side by side, in what matters to the running thing.

Usage: compare.py KUSTOMIZE.yaml HELM.yaml INTENDED.yaml OVERLAY. Names and labels that only one of the two ways has are
left out of both. INTENDED holds the path of each difference that is meant for an overlay, and why; one that is not there
is a fault as well. Prints one line for each fault; the exit code is 1 if there is one.
"""

import json
import re
import sys

import yaml
from rendered import CORE, HASH, Rendered, decoded, read

# Of pods and containers: everything but names, labels and where variables come from.
POD = ("automountServiceAccountToken", "enableServiceLinks", "terminationGracePeriodSeconds", "securityContext", "volumes")
CONTAINER = ("image", "args", "command", "ports", "startupProbe", "livenessProbe", "readinessProbe", "lifecycle")
CONTAINER += ("resources", "securityContext", "volumeMounts")
ROLLOUT = ("replicas", "minReadySeconds", "strategy")
# What Kubernetes fills in itself.
DEFAULTS = {"type": "ClusterIP", "sessionAffinity": "None"}
# Labels by which somebody finds an object, beside selectors.
MONITORS = {"release", "grafana_dashboard"}


def plain(name):
    """A generated name without its hash."""
    return HASH.sub("", name)


def chosen(source, keys):
    return {key: source[key] for key in keys if key in source}


def peer(each):
    """A peer of a policy; which of several releases it belongs to is the chart's own matter."""
    text = json.dumps(each, sort_keys=True)
    return re.sub(r'"app.kubernetes.io/instance": "[^"]*", ', "", text)


def allowed(rules, side):
    """Every pair of a peer and a port that the rules of a policy allow."""
    for rule in rules:
        for port in rule["ports"]:
            for each in rule.get(side, [None]):
                yield f"{side} {peer(each)} at {port.get('protocol', 'TCP')} {port['port']}"


def workload(rendered, each):
    pod = each["spec"]["template"]["spec"]
    [container] = pod["containers"]
    found = {"rollout": chosen(each["spec"], ROLLOUT), "pod": chosen(pod, POD)}
    found["container"] = chosen(container, CONTAINER)
    spread = pod.get("topologySpreadConstraints", [])
    keys = ("maxSkew", "topologyKey", "whenUnsatisfiable", "matchLabelKeys")
    found["spread"] = {one["topologyKey"]: chosen(one, keys) for one in spread}
    if each is rendered.instances():
        found["env"] = rendered.settings()
        url = found["env"]["HEADCOUNT_REDIS_URL"]["secretKeyRef"]
        secret = rendered.named("Secret", url["name"])
        found["env"]["HEADCOUNT_REDIS_URL"] = decoded(secret)[url["key"]] if secret else url
    return found


def service(each):
    found = DEFAULTS | {key: value for key, value in each["spec"].items() if key != "selector"}
    return found | {"annotations": each["metadata"].get("annotations", {})}


def ingress(each):
    return {"annotations": each["metadata"]["annotations"]} | each["spec"]


def monitor(each):
    spec = {key: value for key, value in each["spec"].items() if key != "selector"}
    return {"labels": chosen(each["metadata"]["labels"], MONITORS), "spec": spec}


def comparable(rendered):
    """What matters of a rendering, by kind and name."""
    result, policies = {}, {}
    for each in rendered.objects:
        kind, name = each["kind"], plain(each["metadata"]["name"])
        key = f"{kind} {name}"
        if kind == "Deployment":
            result[key] = workload(rendered, each)
        elif kind == "Service":
            result[key] = service(each)
        elif kind == "Ingress":
            result[key] = ingress(each)
        elif kind in ("ServiceMonitor", "PrometheusRule"):
            result[key] = monitor(each)
        elif kind == "NetworkPolicy":
            of = each["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
            rules = policies.setdefault(of, {"types": set(), "allowed": set()})
            rules["types"] |= set(each["spec"]["policyTypes"])
            rules["allowed"] |= set(allowed(each["spec"].get("ingress", []), "from"))
            rules["allowed"] |= set(allowed(each["spec"].get("egress", []), "to"))
        elif kind == "ConfigMap" and any(file.endswith(".json") for file in each["data"]):
            labels = chosen(each["metadata"]["labels"], MONITORS)
            # As values, not as texts: what the two write differs in line ends at most.
            result[key] = {"labels": labels, "data": {k: json.loads(v) for k, v in each["data"].items()}}
        elif kind in ("PodDisruptionBudget", "HorizontalPodAutoscaler"):
            result[key] = {field: value for field, value in each["spec"].items() if field != "selector"}
        elif kind == "ServiceAccount":
            result[key] = chosen(each, ["automountServiceAccountToken"])
        elif kind in ("ConfigMap", "Secret"):
            pass  # They are part of the workload's variables.
        elif each["apiVersion"] in CORE:
            result[key] = each.get("spec", {})
    # Policies add up, so it does not matter how many there are.
    for of, rules in policies.items():
        result[f"NetworkPolicies of {of}"] = {what: {one: "yes" for one in rules[what]} for what in rules}
    return result


def differences(left, right, path=""):
    if isinstance(left, dict) and isinstance(right, dict):
        for key in sorted(left.keys() | right.keys()):
            yield from differences(left.get(key), right.get(key), f"{path}/{key}")
    elif left != right:
        yield path.removeprefix("/"), left, right


def main(kustomize, helm, intended, overlay):
    sides = [comparable(Rendered(path)) for path in (kustomize, helm)]
    meant = yaml.safe_load(read(intended))[overlay]
    faults, seen = [], set()
    for path, left, right in differences(*sides):
        if path in meant:
            seen.add(path)
            continue
        shown = [json.dumps(side)[:200] for side in (left, right)]
        faults.append(f"{path}: kustomize has {shown[0]}, Helm has {shown[1]}")
    faults += [f"{path}: this difference is meant, and is not there" for path in meant.keys() - seen]
    if len(sides[0]) < 8:
        faults.append(f"only {len(sides[0])} objects were compared")
    for fault in faults:
        print(fault)
    return 1 if faults else 0


sys.exit(main(*sys.argv[1:]))
