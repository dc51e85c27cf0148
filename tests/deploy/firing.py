"""Says which alerts have fired since a time, or fire now. Usage: firing.py PROMETHEUS SINCE [ALERT...]

SINCE is a time of `date +%s`. Alerts named after it may fire. Exit code 1 if another has, or if the rules were not
evaluated all the time, since then nobody can tell. It waits until a minute has been evaluated at least.
"""

import json
import sys
import time
import urllib.parse
import urllib.request

EVALUATED_SECONDS = 60
# What is recorded in every evaluation while instances are found.
EVALUATION = "headcount:verdict"
GAP_SECONDS = 45


def ask(prometheus, path, **parameters):
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    with urllib.request.urlopen(url, timeout=10) as answer:
        return json.load(answer)["data"]["result"]


def samples(prometheus, selector, since, now):
    """All samples of a selector since then, by their series."""
    seconds = max(1, round(now - since))
    found = ask(prometheus, "query", query=f"{selector}[{seconds}s]", time=now)
    return [(series["metric"], [float(at) for at, _ in series["values"]]) for series in found]


def main(prometheus, since, *expected):
    since = float(since)
    while time.time() < since + EVALUATED_SECONDS:
        time.sleep(1)
    now = time.time()
    moments = sorted({at for _, times in samples(prometheus, EVALUATION, since, now) for at in times})
    longest = max((after - before for before, after in zip([since, *moments], [*moments, now])), default=now - since)
    if longest > GAP_SECONDS:
        print(f"the rules were not evaluated for {longest:.0f} s, so nobody can tell what would have fired")
        return 1
    # A series may have begun to fire before; what counts is a sample after that.
    fired = samples(prometheus, 'ALERTS{alertname=~"Headcount.+", alertstate="firing"}', since, now)
    wrong = [(metric, times) for metric, times in fired if metric["alertname"] not in expected]
    for metric, times in wrong:
        labels = {name: value for name, value in metric.items() if name not in ("__name__", "alertstate")}
        print(f"fired for {times[-1] - times[0]:.0f} s: {labels}")
    return 1 if wrong else 0


sys.exit(main(*sys.argv[1:]))
