"""Run the Datadog Agent's OpenMetrics check as a configuration says, on another address, and print what it reports.

It runs in an environment of its own, which `make datadog` makes.
"""

import json
import sys
from pathlib import Path

import yaml
from datadog_checks.base import OpenMetricsBaseCheckV2
from datadog_checks.base.stubs import aggregator


def main(configuration: str, endpoint: str, headers: str) -> None:
    """Print each sample as name, value and tags; exit with what is wrong, if anything is."""
    instance = yaml.safe_load(Path(configuration).read_text())["instances"][0]
    instance |= {"openmetrics_endpoint": endpoint, "headers": json.loads(headers)}
    check = OpenMetricsBaseCheckV2("openmetrics", {}, [instance])
    for _ in range(2):  # a counter is reported from the second time on
        if problem := check.run():
            sys.exit(problem)
    samples = [[name, sample.value, sorted(sample.tags)] for name in aggregator.metric_names for sample in
               aggregator.metrics(name)]  # fmt: skip
    print(json.dumps(samples))  # noqa: T201 - for the test that started it


if __name__ == "__main__":
    main(*sys.argv[1:])
