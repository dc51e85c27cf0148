"""As much of a Kubernetes API server as Helm asks when it renders with --dry-run=server: which kinds there are, and some
Secrets.

Usage: server.py NAMESPACE; each folder of the working directory is a Secret, and each file in it one of its keys. Prints its
port and serves until it is ended.
"""

import base64
import http.server
import json
import pathlib
import sys

[NAMESPACE] = sys.argv[1:]
KINDS = {
    "v1": {"ConfigMap": "configmaps", "Secret": "secrets", "Service": "services", "ServiceAccount": "serviceaccounts"},
    "apps/v1": {"Deployment": "deployments"},
    "networking.k8s.io/v1": {"NetworkPolicy": "networkpolicies"},
    "policy/v1": {"PodDisruptionBudget": "poddisruptionbudgets"},
}


def resources(version):
    found = KINDS[version].items()
    verbs = ["create", "get", "list", "patch"]
    listed = [{"name": name, "singularName": "", "namespaced": True, "kind": kind, "verbs": verbs} for kind, name in found]
    return {"kind": "APIResourceList", "groupVersion": version, "resources": listed}


def group(version):
    served = {"groupVersion": version, "version": version.split("/")[1]}
    return {"name": version.split("/")[0], "versions": [served], "preferredVersion": served}


def answer(path):
    if path == "/version":
        return {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        groups = [group(version) for version in KINDS if "/" in version]
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    version = path.removeprefix("/apis/").removeprefix("/api/")
    if version in KINDS:
        return resources(version)
    name = path.removeprefix(f"/api/v1/namespaces/{NAMESPACE}/secrets/")
    if name in {each.name for each in pathlib.Path().iterdir() if each.is_dir()}:
        data = {each.name: base64.b64encode(each.read_bytes()).decode() for each in pathlib.Path(name).iterdir()}
        metadata = {"name": name, "namespace": NAMESPACE}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data}
    return None


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = answer(self.path.split("?")[0])
        absent = {"apiVersion": "v1", "kind": "Status", "status": "Failure", "reason": "NotFound", "code": 404}
        body = json.dumps(found or absent).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
