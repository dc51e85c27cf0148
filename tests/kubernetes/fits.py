"""What no schema can check of rendered manifests: that they fit together, and to the image.

Usage: fits.py REPOSITORY HELP RENDERED.yaml...; HELP holds what "headcount --help" prints, and each RENDERED is what
kustomize or Helm wrote. Prints one line for each fault; the exit code is 1 if there is one.
"""

import json
import re
import sys

import yaml
from rendered import HASH, Rendered, kibibytes, milliseconds, read

# Made by hand or by other programs; the documents and the values files say so.
OUTSIDE = {
    ("Secret", "headcount-tls"),
    ("Secret", "certificate"),
    ("Secret", "redis-of-ours"),
    ("Secret", "more-settings"),
    ("Secret", "headcount-operators"),
    ("Secret", "keys-of-ours"),
    ("Secret", "visitors-of-ours"),
    ("ConfigMap", "authority"),
    ("ServiceAccount", "of-ours"),
}
LAST_ONES_AND_FAREWELL = 4000
# The formula of docs/security.md, "Memory", in bytes.
INSTANCE, SESSION, PAYLOAD = 64 << 20, 80 << 10, 16 << 10
ANSWERS, PLACE, WATCHED, PER_CONNECTION = 24 << 10, 150, 100, 8
LISTS, WAITING = 36 << 10, 40 << 10
# Of all annotations of an object together; less a little for the others.
ANNOTATIONS_BYTES = 262144 - 4096
# Where its controller reads an annotation. haproxytech/kubernetes-ingress 3.2 and later: documentation/annotations.md
# and pkg/annotations; kubernetes/ingress-nginx 1.x: user guide, annotations; Traefik 3: Kubernetes Ingress provider.
HAPROXY, NGINX, TRAEFIK = "haproxy.org/", "nginx.ingress.kubernetes.io/", "traefik.ingress.kubernetes.io/"
READ_AT = {
    "Service": {
        *(HAPROXY + name for name in ("cookie-persistence", "load-balance", "abortonclose", "timeout-server")),
        *(HAPROXY + name for name in ("check-interval", "backend-config-snippet")),
        *(f"{TRAEFIK}service.sticky.cookie{part}" for part in ("", ".name", ".httponly", ".samesite", ".secure")),
    },
    "Ingress": {
        HAPROXY + "ssl-redirect",
        *(NGINX + name for name in ("affinity", "affinity-mode", "session-cookie-name", "session-cookie-path")),
        *(NGINX + name for name in ("session-cookie-samesite", "session-cookie-change-on-failure", "ssl-redirect")),
        *(NGINX + name for name in ("proxy-read-timeout", "proxy-send-timeout", "proxy-buffering")),
        *(NGINX + name for name in ("limit-connections", "limit-rps", "limit-burst-multiplier", "limit-whitelist")),
        *(f"{TRAEFIK}router.{part}" for part in ("entrypoints", "tls", "middlewares")),
        "cert-manager.io/cluster-issuer",
    },
}
STICKY = {
    ("Service", "haproxy.org/cookie-persistence", "headcount"),
    ("Service", "traefik.ingress.kubernetes.io/service.sticky.cookie", "true"),
    ("Ingress", "nginx.ingress.kubernetes.io/affinity", "cookie"),
}

faults = []


class Checked(Rendered):
    def expect(self, condition, text):
        if not condition:
            faults.append(f"{self.name}: {text}")

    def selected(self, labels):
        pods = [workload["spec"]["template"] for workload in self.workloads()]
        return [pod for pod in pods if labels.items() <= pod["metadata"]["labels"].items()]


def ports_of(pod):
    return {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}


def check_names(it):
    """Every ConfigMap, Secret and ServiceAccount that is referred to exists or is documented; so do ports."""
    for workload in it.workloads():
        pod = workload["spec"]["template"]["spec"]
        where = workload["metadata"]["name"]
        wanted = [("ServiceAccount", pod["serviceAccountName"], None)] if "serviceAccountName" in pod else []
        for container in pod["containers"]:
            for source in container.get("envFrom", []):
                wanted += [("ConfigMap", s["name"], None) for k, s in source.items() if k == "configMapRef"]
                wanted += [("Secret", s["name"], None) for k, s in source.items() if k == "secretRef"]
            for variable in container.get("env", []):
                for key, source in variable.get("valueFrom", {}).items():
                    kind = {"secretKeyRef": "Secret", "configMapKeyRef": "ConfigMap"}[key]
                    wanted.append((kind, source["name"], source["key"]))
            ports = {port["name"] for port in container["ports"]}
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                action = container.get(probe, {})
                it.expect(action, f"{where}: no {probe}")
                port = (action.get("httpGet") or action.get("tcpSocket") or {}).get("port")
                it.expect(port is None or port in ports, f"{where}: {probe} asks port {port}")
        for kind, name, key in wanted:
            found = it.named(kind, name)
            it.expect(found or (kind, name) in OUTSIDE, f"{where}: no {kind} {name}")
            if found and key:
                held = {**found.get("data", {}), **found.get("stringData", {})}
                it.expect(key in held, f"{where}: {kind} {name} has no key {key}")


def check_files(it):
    """Every Secret and ConfigMap that is mounted exists or is documented, and every file that a setting names is in one."""
    pod, container, settings = it.instances()["spec"]["template"]["spec"], it.container(), it.settings()
    volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
    mounts = {mount["mountPath"]: volumes.get(mount["name"]) for mount in container.get("volumeMounts", [])}
    it.expect(all(mounts.values()), "a mount is of no volume")
    for name in volumes:
        it.expect(volumes[name] in mounts.values(), f"nothing mounts the volume {name}")
    listed = settings.get("HEADCOUNT_JWT_KEYS", "").split(",") + [settings.get("HEADCOUNT_VISITOR_SECRET_FILE", "")]
    for path in (entry.strip() for entry in listed if entry.strip().startswith("/")):
        folder, file = path.rsplit("/", 1)
        volume = mounts.get(folder)
        it.expect(volume, f"{path} is in no volume")
        for kind, field in (("Secret", "secret"), ("ConfigMap", "configMap")):
            source = (volume or {}).get(field)
            if not source:
                continue
            name = source.get("secretName") or source.get("name")
            found = it.named(kind, name)
            it.expect(found or (kind, name) in OUTSIDE, f"no {kind} {name} for {path}")
            held = {item["path"] for item in source["items"]} if "items" in source else (found or {}).get("data", {file})
            it.expect(file in held, f"{path} is not in {kind} {name}")


def check_ways_out(it):
    """Policies let the instances reach the Redis and the issuers that settings name, and nothing without an address and a port."""
    rules = [rule for policy in it.of_kind("NetworkPolicy") for rule in policy["spec"].get("egress", [])]
    for rule in rules:
        it.expect(rule.get("to") and rule.get("ports"), f"the policies let everything out: {rule}")
    if not it.of_kind("NetworkPolicy"):
        return
    open_ports = {port["port"] for rule in rules for port in rule.get("ports", [])}
    variables = it.variables()
    urls = [url.strip() for url in variables.get("HEADCOUNT_JWT_KEYS", "").split(",") if url.strip().startswith("https:")]
    for host, port in re.findall(r"https://([^/:]+)(?::(\d+))?", " ".join(urls)):
        it.expect(int(port or 443) in open_ports, f"no policy lets the instances reach {host}")
    redis = re.fullmatch(r"rediss?(\+sentinel)?://(?:[^@]*@)?([^/]*)(?:/.*)?", variables.get("HEADCOUNT_REDIS_URL", ""))
    for each in redis[2].split(",") if redis else []:
        port = re.search(r":(\d+)$", each)
        wanted = int(port[1]) if port else 26379 if redis[1] else 6379
        it.expect(wanted in open_ports, f"no policy lets the instances reach Redis at port {wanted}")


def check_selectors(it):
    """Services, budgets, policies and monitors select something, and a Service's ports exist there."""
    for service in it.of_kind("Service"):
        name = service["metadata"]["name"]
        found = it.selected(service["spec"]["selector"])
        it.expect(len(found) == 1, f"Service {name} selects {len(found)} workloads")
        for pod in found:
            for port in service["spec"]["ports"]:
                it.expect(port["targetPort"] in ports_of(pod), f"Service {name}: no port {port['targetPort']}")
    for policy in it.of_kind("NetworkPolicy"):
        found = it.selected(policy["spec"]["podSelector"]["matchLabels"])
        name = policy["metadata"]["name"]
        it.expect(len(found) == 1, f"NetworkPolicy {name} selects {len(found)} workloads")
        for rule in policy["spec"].get("ingress") or []:
            for port in rule["ports"]:
                it.expect(all(port["port"] in ports_of(pod) for pod in found), f"NetworkPolicy {name}: no {port}")
        for rule in policy["spec"].get("ingress", []) + policy["spec"].get("egress", []):
            for peer in rule.get("from", []) + rule.get("to", []):
                if "podSelector" in peer and "namespaceSelector" not in peer:
                    labels = peer["podSelector"]["matchLabels"]
                    it.expect(it.selected(labels), f"NetworkPolicy {name} lets {labels} in or out: there is none")
    for budget in it.of_kind("PodDisruptionBudget"):
        it.expect(it.selected(budget["spec"]["selector"]["matchLabels"]), "the PodDisruptionBudget selects nothing")
    for spread in it.instances()["spec"]["template"]["spec"].get("topologySpreadConstraints", []):
        it.expect(it.selected(spread["labelSelector"]["matchLabels"]), "pods that are spread are none")


def check_monitoring(it):
    """The Prometheus Operator finds what is there: one Service, with the job's name that the alerts ask for."""
    for probe in it.of_kind("Probe"):
        it.expect(probe["spec"]["jobName"].startswith("probe-headcount"), "no alert asks for the probe's job")
    for monitor in it.of_kind("ServiceMonitor"):
        labels = monitor["spec"]["selector"]["matchLabels"].items()
        found = [each for each in it.of_kind("Service") if labels <= each["metadata"]["labels"].items()]
        it.expect(len(found) == 1, f"the ServiceMonitor selects {len(found)} services")
        for service in found:
            ports = {port["name"] for port in service["spec"]["ports"]}
            it.expect({e["port"] for e in monitor["spec"]["endpoints"]} <= ports, "the ServiceMonitor's port")
            job = it.job()
            it.expect(job.startswith("headcount"), f"the job is named {job}, and the alerts ask for headcount")
        for endpoint in monitor["spec"]["endpoints"]:
            login = endpoint.get("authorization", {}).get("credentials")
            token = it.settings().get("HEADCOUNT_ADMIN_TOKEN", {}).get("secretKeyRef")
            it.expect(login == token, f"Prometheus sends {login}, and the instances ask for {token}")
        rules = it.of_kind("PrometheusRule") + it.of_kind("Probe")
        wanted = {key: value for key, value in monitor["metadata"]["labels"].items() if "/" not in key}
        it.expect(wanted, "the ServiceMonitor has no label that a Prometheus could look for")
        for rule in rules:
            it.expect(wanted.items() <= rule["metadata"]["labels"].items(), f"{rule['kind']} lacks the monitor's labels")


def check_ways_in(it):
    """Ingress and HTTPRoute lead to a port that is there, and polling sessions stay with their pod."""
    ways = [(each, rule["http"]["paths"], "service") for each in it.of_kind("Ingress") for rule in each["spec"]["rules"]]
    for ingress, paths, _ in ways:
        for path in paths:
            service = path["backend"]["service"]
            found = it.named("Service", service["name"])
            ports = {port["name"] for port in found["spec"]["ports"]} if found else set()
            it.expect(service["port"]["name"] in ports, f"the Ingress leads to {service}")
        for tls in ingress["spec"].get("tls", []):
            it.expect(("Secret", tls["secretName"]) in OUTSIDE, f"no Secret {tls['secretName']}")
    for route in it.of_kind("HTTPRoute"):
        for rule in route["spec"]["rules"]:
            for backend in rule["backendRefs"]:
                found = it.named("Service", backend["name"])
                ports = {port["port"] for port in found["spec"]["ports"]} if found else set()
                it.expect(backend["port"] in ports, f"the HTTPRoute leads to {backend}")
            websockets_alone = it.settings().get("HEADCOUNT_TRANSPORTS") == "websocket"
            it.expect("sessionPersistence" in rule or websockets_alone, "polling sessions go astray behind the Gateway")
    present = set()
    for each in it.objects:
        for name, value in each["metadata"].get("annotations", {}).items():
            present.add((each["kind"], name, value))
            if each["kind"] in READ_AT and not name.startswith("example.org/"):
                it.expect(name in READ_AT[each["kind"]], f"nobody reads the annotation {name} at a {each['kind']}")
    it.expect(not ways or present & STICKY, "polling sessions go astray behind the Ingress")
    middlewares = {f"headcount-{each['metadata']['name']}@kubernetescrd" for each in it.of_kind("Middleware")}
    for ingress in it.of_kind("Ingress"):
        named = ingress["metadata"]["annotations"].get(TRAEFIK + "router.middlewares")
        it.expect(named is None or named in middlewares, f"there is no Middleware {named}")


def session_bytes(settings):
    """What one session may take at its worst."""
    session = SESSION + int(settings.get("HEADCOUNT_MAX_PAYLOAD", PAYLOAD))
    if settings.get("HEADCOUNT_ROOMS") != "none":
        places = WATCHED + int(settings.get("HEADCOUNT_ROOMS_PER_CONNECTION", PER_CONNECTION))
        session += ANSWERS + -(-places * PLACE // 1024) * 1024
    if settings.get("HEADCOUNT_LISTS", "none") != "none":
        session += LISTS
    if "://" in settings.get("HEADCOUNT_JWT_KEYS", ""):
        session += WAITING
    return session


def check_limits(it):
    """Times, sessions and memory fit together, and what the autoscaler aims at leaves room for a lost neighbour's."""
    deployment, container, settings = it.instances(), it.container(), it.settings()
    pod = deployment["spec"]["template"]["spec"]
    sleep = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0) * 1000
    delay = milliseconds(settings["HEADCOUNT_DRAIN_DELAY"])
    needed = sleep + delay + milliseconds(settings["HEADCOUNT_DRAIN"]) + LAST_ONES_AND_FAREWELL
    grace = pod["terminationGracePeriodSeconds"] * 1000
    it.expect(grace > needed, f"a grace period of {grace} ms, and stopping takes up to {needed} ms")
    it.expect(not (sleep and delay), "a pod waits twice for its endpoints to go")
    update = deployment["spec"]["strategy"]["rollingUpdate"]
    it.expect(update["maxUnavailable"] == 0, "a rolling update takes instances away first")
    memory = container["resources"].get("limits", {}).get("memory")
    sessions = int(settings.get("HEADCOUNT_MAX_CONNECTIONS", 0))
    it.expect(bool(memory) == bool(sessions), "memory is limited and sessions are not, or the other way round")
    if memory:
        fit = ((kibibytes(memory) << 10) - INSTANCE) // session_bytes(settings)
        it.expect(sessions <= fit, f"{sessions} sessions are allowed, and {fit} fit into {memory} at their worst")
    for scaler in it.of_kind("HorizontalPodAutoscaler"):
        target = scaler["spec"]["scaleTargetRef"]
        found = it.named(target["kind"], target["name"])
        it.expect(found and "replicas" not in found["spec"], "no target of the autoscaler, or one with replicas")
        for metric in scaler["spec"]["metrics"]:
            if metric["type"] == "Pods":
                aim = int(metric["pods"]["target"]["averageValue"])
                it.expect(aim * 3 <= sessions * 2, f"the autoscaler aims at {aim} of {sessions} sessions")


def check_security(it):
    # What may be secret is in a Secret.
    for each in it.of_kind("ConfigMap"):
        for name in each["data"].keys() & {"HEADCOUNT_REDIS_URL", "HEADCOUNT_ADMIN_TOKEN"}:
            it.expect(False, f"{name} is in a ConfigMap")
    for workload in it.workloads():
        pod = workload["spec"]["template"]["spec"]
        where = workload["metadata"]["name"]
        it.expect(pod["securityContext"]["runAsNonRoot"], f"{where}: may be root")
        it.expect(pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", f"{where}: seccomp")
        it.expect(pod["automountServiceAccountToken"] is False, f"{where}: has a token")
        for container in pod["containers"]:
            context = container["securityContext"]
            it.expect(context["readOnlyRootFilesystem"], f"{where}: may write")
            it.expect(context["allowPrivilegeEscalation"] is False, f"{where}: may gain privileges")
            it.expect(context["capabilities"]["drop"] == ["ALL"], f"{where}: has capabilities")
            it.expect("requests" in container["resources"], f"{where}: no resources")


def check_restarts(it):
    """Another setting, or another address of Redis, is another pod: by a name with a hash, or by a checksum."""
    template = it.instances()["spec"]["template"]
    annotations = template["metadata"].get("annotations", {})
    url = it.settings().get("HEADCOUNT_REDIS_URL")
    sources = {"settings": it.container()["envFrom"][0]["configMapRef"]["name"]}
    if url and ("Secret", url["secretKeyRef"]["name"]) not in OUTSIDE:
        sources["redis"] = url["secretKeyRef"]["name"]
    for what, name in sources.items():
        hashed = HASH.search(name) or re.fullmatch("[0-9a-f]{64}", annotations.get(f"checksum/{what}", ""))
        it.expect(hashed, f"another value in {name} does not restart the pods")


def check_image(it, repository, help_text):
    """The image of compose, Dockerfile and Cargo.toml, and no variable that the program does not read."""
    services = yaml.safe_load(read(repository, "docker-compose.yml"))["services"]
    dockerfile = read(repository, "deploy/Dockerfile")
    version = re.search(r'^version = "(.+)"', read(repository, "Cargo.toml"), re.M).group(1)
    for workload in it.workloads():
        image = workload["spec"]["template"]["spec"]["containers"][0]["image"]
        if it.label(workload) == "headcount-redis":
            it.expect(image == services["redis"]["image"], f"Redis is {image}, and compose's another")
        elif "@" not in image:
            it.expect(image == f"headcount:{version}", f"the image is {image}, and the version {version}")
    pod = it.instances()["spec"]["template"]["spec"]
    user, group = re.search(r"^USER (\d+):(\d+)$", dockerfile, re.M).groups()
    context = pod["securityContext"]
    it.expect((context["runAsUser"], context["runAsGroup"]) == (int(user), int(group)), "another user than the image's")
    ports = {str(port["containerPort"]) for port in pod["containers"][0]["ports"]}
    it.expect(ports == set(re.search(r"^EXPOSE (.+)$", dockerfile, re.M).group(1).split()), "other ports than the image's")
    known = set(re.findall(r"\[env:\s+(HEADCOUNT_\w+)", help_text))
    it.expect(len(known) > 10, "the program's help names its settings")
    unread = {name for name in it.settings() if name.startswith("HEADCOUNT_")} - known
    it.expect(not unread, f"the program does not read {unread}")


def check_objects_can_be_applied(it):
    """kubectl apply keeps each object as a text in an annotation, and annotations have a limit."""
    for each in it.objects:
        size = len(json.dumps(each, ensure_ascii=False).encode())
        room = f"{each['kind']} {each['metadata']['name']} has {size} bytes, and kubectl apply takes {ANNOTATIONS_BYTES}"
        it.expect(size < ANNOTATIONS_BYTES, room)


def check_no_value_is_null(it):
    def nulls(value, path):
        if value is None:
            yield path
        children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, child in children:
            yield from nulls(child, f"{path}.{key}")

    for each in it.objects:
        for path in nulls(each, f"{each['kind']} {each['metadata']['name']}"):
            it.expect(False, f"{path} is null")


def main(repository, help_file, *paths):
    help_text = read(help_file)
    for path in paths:
        it = Checked(path)
        for check in (check_objects_can_be_applied, check_no_value_is_null, check_names, check_files, check_selectors):
            check(it)
        for check in (check_monitoring, check_ways_in, check_ways_out, check_limits, check_security):
            check(it)
        check_restarts(it)
        check_image(it, repository, help_text)
    for fault in faults:
        print(fault)
    return 1 if faults or not paths else 0


sys.exit(main(*sys.argv[1:]))
