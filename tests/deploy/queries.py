"""Every query of every dashboard, and every alert and recording rule, asked of a Prometheus that scrapes the stack.

What a rule selects must exist, each selector of it: whether an alert fires is not asked here, and promtool tests what it
is made of. A panel's query must have a result, unless the panel says what it means that there is none ("noValue"); then
what it selects must exist as well. So a typo anywhere fails. Usage: queries.py PROMETHEUS DASHBOARD... RULES.rules.yml...; prints "ok - ..." and "not ok - ..." lines.
"""

import json
import re
import sys
import time
import urllib.parse
import urllib.request

import yaml

SELECTOR = re.compile(r"\b(?:(?:headcount[_:]|process_|haproxy_|probe_)\w[\w:]*|up(?=\{))(?:\{[^}]*\})?")
# The stack has no probe outside of itself, and nobody stays away from it: promtool tests these records.
ABSENT = re.compile(r"probe_|headcount:(fell|ceased)$")
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


def selectors(expression):
    return sorted({each for each in SELECTOR.findall(expression) if not ABSENT.match(each)})


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
        for selector in selectors(filled_in(annotation["expr"], variables)):
            yield f'annotation "{annotation["name"]}"', selector
    for panel in dashboard["panels"]:
        for each in [panel, *panel.get("panels", [])]:
            if each["type"] != "row" and not each.get("description"):
                raise ValueError(f'panel "{each["title"]}" has no description')
            for target in each.get("targets", []):
                where, expression = f'panel "{each["title"]}" {target["refId"]}', filled_in(target["expr"], variables)
                ask(prometheus, "query", query=expression)
                may_be_empty = each["fieldConfig"]["defaults"].get("noValue", "no data") != "no data"
                for asked in selectors(expression) + ([] if may_be_empty else [expression]):
                    yield where, asked


def queries_of_rules(path):
    for group in yaml.safe_load(open(path))["groups"]:
        for rule in group["rules"]:
            name = rule.get("alert") or rule["record"]
            for selector in selectors(rule["expr"]):
                yield f"rule {name}", selector


def main(prometheus, *files):
    failed = asked = 0
    for path in files:
        queries = queries_of_rules(path) if path.endswith(".yml") else queries_of_dashboard(prometheus, path)
        for where, expression in queries:
            asked += 1
            try:
                problem = None if result(prometheus, expression) else "no data"
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
