"""What kustomize or Helm wrote: the objects of one rendering, and what is to be looked up in them."""

import base64
import os
import re

import yaml

# Whatever Kubernetes itself has a schema for.
CORE = {"v1", "apps/v1", "autoscaling/v2", "networking.k8s.io/v1", "policy/v1"}
# The end of a generated name: kustomize writes a hash in these letters.
HASH = re.compile(r"-[2-9bcdfghkmt]{10}$")
# What a Secret that is made elsewhere might hold.
FROM_ELSEWHERE = {"HEADCOUNT_REDIS_URL": "redis://redis", "HEADCOUNT_ADMIN_TOKEN": "0123456789abcdef"}
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob")


def read(*path):
    with open(os.path.join(*path)) as file:
        return file.read()


def milliseconds(text):
    """A duration such as "30s" or "1min 30s", in the words that the program understands and the manifests use."""
    units = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000}
    total = 0
    for part in text.split():
        number = part.rstrip("hinms")
        total += int(number) * units[part[len(number) :]]
    return total


def decoded(secret):
    data = {key: base64.b64decode(value).decode() for key, value in secret.get("data", {}).items()}
    return data | secret.get("stringData", {})


def kibibytes(text):
    number = text.rstrip("KMGi")
    return int(number) * {"Ki": 1, "Mi": 1 << 10, "Gi": 1 << 20}[text[len(number) :]]


class Rendered:
    def __init__(self, path):
        self.name = os.path.basename(path).removesuffix(".yaml")
        self.objects = [each for each in yaml.safe_load_all(read(path)) if each]

    def of_kind(self, kind):
        return [each for each in self.objects if each["kind"] == kind]

    def named(self, kind, name):
        found = [each for each in self.of_kind(kind) if each["metadata"]["name"] == name]
        return found[0] if found else None

    def workloads(self):
        return [each for kind in WORKLOADS for each in self.of_kind(kind)]

    def instances(self):
        """The Deployment of Headcount itself."""
        [found] = [each for each in self.of_kind("Deployment") if self.label(each) == "headcount"]
        return found

    def container(self):
        [found] = self.instances()["spec"]["template"]["spec"]["containers"]
        return found

    def settings(self):
        """Every variable of an instance with its value, or where the value is from."""
        found = {}
        for source in self.container()["envFrom"]:
            if "configMapRef" in source:
                found.update(self.named("ConfigMap", source["configMapRef"]["name"])["data"])
        for variable in self.container().get("env", []):
            found[variable["name"]] = variable.get("value", variable.get("valueFrom"))
        return found

    def variables(self):
        """Every variable of an instance as it would get it; what a Secret from elsewhere holds is replaced."""
        found = self.settings()
        for name, value in found.items():
            if isinstance(value, dict):
                source = value["secretKeyRef"]
                secret = self.named("Secret", source["name"])
                found[name] = decoded(secret)[source["key"]] if secret else FROM_ELSEWHERE[name]
        return found

    def job(self):
        """The name of the job in Prometheus, if there is a monitor: of the Service's label, or as the monitor replaces it."""
        [monitor] = self.of_kind("ServiceMonitor")
        [service] = [
            each
            for each in self.of_kind("Service")
            if monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
        ]
        job = service["metadata"]["labels"].get(monitor["spec"]["jobLabel"], "")
        for rule in monitor["spec"]["endpoints"][0]["relabelings"]:
            if rule.get("targetLabel") == "job":
                job = rule["replacement"]
        return job

    @staticmethod
    def label(workload):
        return workload["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"]
