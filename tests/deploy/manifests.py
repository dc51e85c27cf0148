"""What no schema can check of the Kubernetes manifests, the compose file and the image: that they fit together.

Usage: manifests.py REPOSITORY HELP RENDERED.yaml...; HELP holds what "headcount --help" prints, and each RENDERED is one
overlay as kustomize writes it. Prints "ok - ..." and "not ok - ..." lines.
"""

import os
import re
import sys

import yaml

# Written down in the overlay's own comments and in docs/operations.md: made by hand or by other programs.
DOCUMENTED = {("Secret", "headcount-redis"), ("Secret", "headcount-tls")}
LAST_ONES_AND_FAREWELL_SECONDS = 4
# The formula of docs/security.md, "Memory".
INSTANCE_KIB, SESSION_KIB = 64 << 10, 96

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


class Overlay:
    def __init__(self, path):
        self.name = os.path.basename(path)
        self.objects = [each for each in yaml.safe_load_all(read(path)) if each]

    def of_kind(self, kind):
        return [each for each in self.objects if each["kind"] == kind]

    def named(self, kind, name):
        found = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        return found[0] if found else None

    def expect(self, condition, text):
        expect(condition, f"{self.name}: {text}")


def workloads(overlay):
    for kind in ("Deployment", "StatefulSet"):
        yield from overlay.of_kind(kind)


def check_names(overlay):
    """Every ConfigMap, Secret and ServiceAccount that is referred to exists or is documented; so do ports."""
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        where = workload["metadata"]["name"]
        account = pod.get("serviceAccountName")
        overlay.expect(not account or overlay.named("ServiceAccount", account), f"{where}: no ServiceAccount {account}")
        for container in pod["containers"]:
            wanted = []
            for source in container.get("envFrom", []):
                wanted += [("ConfigMap", s["name"], None) for k, s in source.items() if k == "configMapRef"]
                wanted += [("Secret", s["name"], None) for k, s in source.items() if k == "secretRef"]
            for variable in container.get("env", []):
                for key, source in variable.get("valueFrom", {}).items():
                    kind = {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"}[key]
                    wanted.append((kind, source["name"], source["key"]))
            for kind, name, key in wanted:
                found = overlay.named(kind, name)
                overlay.expect(found or (kind, name) in DOCUMENTED, f"{where}: no {kind} {name}")
                if found and key:
                    held = {**found.get("data", {}), **found.get("stringData", {})}
                    overlay.expect(key in held, f"{where}: {kind} {name} has no key {key}")
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                action = container.get(probe, {})
                overlay.expect(action, f"{where}: no {probe}")
                port = (action.get("httpGet") or action.get("tcpSocket") or {}).get("port")
                overlay.expect(port is None or port in ports, f"{where}: {probe} asks port {port}")


def check_selectors(overlay):
    """Services, budgets, policies and monitors select something, and a Service's ports exist there."""
    pods = [workload["spec"]["template"] for workload in workloads(overlay)]

    def selected(labels):
        return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]

    for service in overlay.of_kind("Service"):
        name = service["metadata"]["name"]
        found = selected(service["spec"]["selector"])
        overlay.expect(found, f"Service {name} selects nothing")
        for pod in found:
            ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
            for port in service["spec"]["ports"]:
                overlay.expect(port["targetPort"] in ports, f"Service {name}: no port {port['targetPort']}")
    for policy in overlay.of_kind("NetworkPolicy"):
        found = selected(policy["spec"]["podSelector"]["matchLabels"])
        name = policy["metadata"]["name"]
        overlay.expect(found, f"NetworkPolicy {name} selects nothing")
        ports = {port["name"] for pod in found for each in pod["spec"]["containers"] for port in each["ports"]}
        for rule in policy["spec"].get("ingress", []):
            for port in rule["ports"]:
                overlay.expect(port["port"] in ports, f"NetworkPolicy {name}: no port {port['port']}")
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            for peer in rule.get("from", []) + rule.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    labels = peer["podSelector"]["matchLabels"]
                    overlay.expect(selected(labels), f"NetworkPolicy {name} lets {labels} in or out: there is none")
    for budget in overlay.of_kind("PodDisruptionBudget"):
        overlay.expect(selected(budget["spec"]["selector"]["matchLabels"]), "the PodDisruptionBudget selects nothing")
    for monitor in overlay.of_kind("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        found = [each for each in overlay.of_kind("Service") if labels <= each["metadata"]["labels"].items()]
        overlay.expect(len(found) == 1, f"the ServiceMonitor selects {len(found)} services")
        for service in found:
            ports = {port["name"] for port in service["spec"]["ports"]}
            overlay.expect({e["port"] for e in monitor["spec"]["endpoints"]} <= ports, "the ServiceMonitor's port")
    for ingress in overlay.of_kind("Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                found = overlay.named("Service", service["name"])
                ports = {port["name"] for port in found["spec"]["ports"]} if found else set()
                overlay.expect(service["port"]["name"] in ports, f"the Ingress leads to {service}")
        for tls in ingress["spec"]["tls"]:
            overlay.expect(("Secret", tls["secretName"]) in DOCUMENTED, f"no Secret {tls['secretName']}")
    for scaler in overlay.of_kind("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        found = overlay.named(target["kind"], target["name"])
        overlay.expect(found, f"the autoscaler's target {target['name']}")
        overlay.expect(found and "replicas" not in found["spec"], "both an autoscaler and a number of replicas")


def check_limits(overlay):
    deployment = overlay.named("Deployment", "headcount")
    pod = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    settings = {}
    for source in container["envFrom"]:
        settings.update(overlay.named("ConfigMap", source["configMapRef"]["name"])["data"])
    pre_stop = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = seconds(settings["HEADCOUNT_DRAIN_DELAY"]) + seconds(settings["HEADCOUNT_DRAIN"])
    needed = pre_stop + drain + LAST_ONES_AND_FAREWELL_SECONDS
    grace = pod["terminationGracePeriodSeconds"]
    overlay.expect(grace > needed, f"a grace period of {grace}s, and stopping takes up to {needed}s")
    sessions, memory = settings["HEADCOUNT_MAX_CONNECTIONS"], container["resources"]["limits"]["memory"]
    overlay.expect(fits(sessions, memory), f"{sessions} sessions at their worst do not fit into {memory}")
    update = deployment["spec"]["strategy"]["rollingUpdate"]
    overlay.expect(update["maxUnavailable"] == 0, "a rolling update takes instances away first")


def check_security(overlay):
    for workload in workloads(overlay):
        pod = workload["spec"]["template"]["spec"]
        where = workload["metadata"]["name"]
        overlay.expect(pod["securityContext"]["runAsNonRoot"], f"{where}: may be root")
        overlay.expect(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", f"{where}: seccomp")
        overlay.expect(pod["automountServiceAccountToken"] is False, f"{where}: has a token")
        for container in pod["containers"]:
            context = container["securityContext"]
            overlay.expect(context["readOnlyRootFilesystem"], f"{where}: may write")
            overlay.expect(context["allowPrivilegeEscalation"] is False, f"{where}: may gain privileges")
            overlay.expect(context["capabilities"]["drop"] == ["ALL"], f"{where}: has capabilities")
            overlay.expect({"requests", "limits"} <= container["resources"].keys(), f"{where}: no resources")


def check_images(repository, overlays):
    """Compose, Kubernetes, Dockerfile and Cargo.toml say the same of the image."""
    services = yaml.safe_load(read(repository, "docker-compose.yml"))["services"]
    version = re.search(r'^version = "(.+)"', read(repository, "Cargo.toml"), re.M).group(1)
    dockerfile = read(repository, "deploy/Dockerfile")
    ours = services["headcount"]["image"]
    expect(ours == f"headcount:{version}", f"compose runs {ours}, and the version is {version}")
    expect(f"ARG VERSION={version}\n" in dockerfile, "the Dockerfile's VERSION is another")
    expect(services["visitors"]["image"] == ours, "compose's visitors run another image")
    for overlay in overlays:
        for workload in workloads(overlay):
            name = workload["metadata"]["name"].removeprefix("headcount-")
            for container in workload["spec"]["template"]["spec"]["containers"]:
                overlay.expect(container["image"] == services[name]["image"], f"{name} runs {container['image']}")
        pod = overlay.named("Deployment", "headcount")["spec"]["template"]["spec"]
        user, group = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.M).groups()
        context = pod["securityContext"]
        same = (context["runAsUser"], context["runAsGroup"]) == (int(user), int(group))
        overlay.expect(same, "another user than the image's")
        ports = {str(port["containerPort"]) for port in pod["containers"][0]["ports"]}
        overlay.expect(ports == set(re.search(r"^EXPOSE (.+)$", dockerfile, re.M).group(1).split()), "ports")
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
    tests = "".join(read(repository, f"{folder}/{name}.test.yml") for name in ("headcount", "headcount-hours"))
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


def main(repository, help_file, *rendered):
    overlays = [Overlay(path) for path in rendered]
    for overlay in overlays:
        for check in (check_names, check_selectors, check_limits, check_security):
            check(overlay)
    check_images(repository, overlays)
    check_settings_and_ports(repository, read(help_file))
    check_runbook(repository)
    for problem in problems:
        print(f"not ok - {problem}")
    if not problems:
        print("ok - manifests, compose file, image, alerts and runbook fit together")
    return 1 if problems else 0


sys.exit(main(*sys.argv[1:]))
