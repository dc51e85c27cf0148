"""The real HAProxy with a backend as the ingress controller writes it from the annotations of a Service.

Usage: haproxy.py SERVED RENDERED.yaml; of 12 requests by one address so many must be served, and the others refused with
429. The exit code is 1 if it is otherwise, or if HAProxy does not take its configuration.
"""

import http.client
import os
import socket
import subprocess
import sys
import tempfile

from rendered import Rendered

REQUESTS = 12
PREFIX = "haproxy.org/"
# What the controller puts before a snippet; the last line stands for the pods.
CONFIGURATION = """
defaults
    mode http
    timeout client 5s
    timeout connect 5s
frontend visitors
    bind fd@{listener}
    default_backend pods
backend pods
    balance {balance}
    option abortonclose
    timeout server {timeout}
    cookie {cookie} insert indirect nocache dynamic
    dynamic-cookie-key key
{snippet}
    http-request return status 200
"""


def configuration(rendered, listener):
    [service] = [each for each in rendered.of_kind("Service") if each["metadata"].get("annotations")]
    given = {key.removeprefix(PREFIX): value for key, value in service["metadata"]["annotations"].items()}
    snippet = "\n".join(f"    {line}" for line in given["backend-config-snippet"].splitlines())
    names = {"balance": given["load-balance"], "timeout": given["timeout-server"]}
    return CONFIGURATION.format(listener=listener, cookie=given["cookie-persistence"], snippet=snippet, **names)


def statuses(port):
    for _ in range(REQUESTS):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request("GET", "/")
        yield connection.getresponse().status
        connection.close()


def main(served, path):
    with socket.socket() as listener, tempfile.NamedTemporaryFile("w") as file:
        # Requests wait in its queue until HAProxy is there.
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        file.write(configuration(Rendered(path), listener.fileno()))
        file.flush()
        found = os.environ["PATH"] + ":/usr/sbin"
        process = subprocess.Popen(
            ["haproxy", "-db", "-f", file.name], pass_fds=[listener.fileno()], env={**os.environ, "PATH": found}
        )
        try:
            got = list(statuses(listener.getsockname()[1]))
        finally:
            process.terminate()
            process.wait()
    wanted = [200] * int(served) + [429] * (REQUESTS - int(served))
    if got != wanted:
        print(f"{path}: answers are {got}, and should be {wanted}")
    return 0 if got == wanted else 1


sys.exit(main(*sys.argv[1:]))
