"""Every query of every dashboard, and every alert and recording rule, asked of a Prometheus that scrapes the stack.

An alert's comparison is taken away, since it should not be true; what is compared must exist. So a typo anywhere
fails. Usage: queries.py PROMETHEUS DASHBOARD... RULES.rules.yml...; prints "ok - ..." and "not ok - ..." lines.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

import yaml

COMPARISON = re.compile(r"\s(==|!=|>=|<=|>|<)\s+(bool\s+)?-?[\d.]+")
METRIC = re.compile(r"\b(?:headcount[_:]|process_|up\b)[a-zA-Z0-9_:]*")
WINDOW_SECONDS = 300


def ask(prometheus, path, **parameters):
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise ValueError(json.load(error).get("error", error)) from None


def result(prometheus, expression):
    """The series that an expression had at any time of the last minutes."""
    now = time.time()
    window = {"start": now - WINDOW_SECONDS, "end": now, "step": 5}
    return ask(prometheus, "query_range", query=expression, **window)["result"]


def filled_in(expression, variables):
    expression = expression.replace("$__rate_interval", "20s").replace("$__interval", "5s")
    return re.sub(r"\$\{?(\w+)\}?", lambda match: variables[match.group(1)], expression)


def without_comparison(expression):
    return COMPARISON.sub("", " ".join(expression.split()))


def queries_of_dashboard(prometheus, path):
    dashboard = json.load(open(path))
    variables = {}
    for variable in dashboard["templating"]["list"]:
        if variable["type"] != "query":
            variables[variable["name"]] = variable["current"]["value"]
            continue
        asked = filled_in(variable["query"]["query"], variables)
        metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", asked).groups()
        values = sorted({series.get(label) for series in ask(prometheus, "series", **{"match[]": metric})})
        current = variable["current"]["value"]
        if not variable["includeAll"] and current not in values:
            raise ValueError(f"variable {variable['name']} is set to {current}, and there are only {values}")
        variables[variable["name"]] = ".*" if variable["includeAll"] else current
    for annotation in dashboard["annotations"]["list"]:
        yield f'annotation "{annotation["name"]}"', without_comparison(filled_in(annotation["expr"], variables))
    for panel in dashboard["panels"]:
        for each in [panel, *panel.get("panels", [])]:
            if each["type"] != "row" and not each.get("description"):
                raise ValueError(f'panel "{each["title"]}" has no description')
            for target in each.get("targets", []):
                yield f'panel "{each["title"]}" {target["refId"]}', filled_in(target["expr"], variables)


def queries_of_rules(path):
    for group in yaml.safe_load(open(path))["groups"]:
        for rule in group["rules"]:
            name = rule.get("alert") or rule["record"]
            yield f"rule {name}", without_comparison(rule["expr"])


def main(prometheus, *files):
    known = set(ask(prometheus, "label/__name__/values"))
    failed = asked = 0
    for path in files:
        queries = queries_of_rules(path) if path.endswith(".yml") else queries_of_dashboard(prometheus, path)
        for where, expression in queries:
            asked += 1
            try:
                problem = None if result(prometheus, expression) else "no data"
                unknown = set(METRIC.findall(expression)) - known
                if unknown:
                    problem = f"unknown metrics {sorted(unknown)}"
            except ValueError as error:
                problem = error
            if problem:
                failed += 1
                print(f"not ok - {path}: {where}: {problem}: {expression}")
    for group in ask(prometheus, "rules")["groups"]:
        for rule in group["rules"]:
            if rule["health"] != "ok":
                failed += 1
                print(f'not ok - rule {rule["name"]} is {rule["health"]}: {rule.get("lastError")}')
    if not failed:
        print(f"ok - all {asked} queries of dashboards and rules return data on the live stack")
    return 1 if failed else 0


sys.exit(main(*sys.argv[1:]))
