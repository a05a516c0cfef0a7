# SPDX-License-Identifier: Apache-2.0
"""Triton's /metrics, read by Prometheus' parser."""

import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

QUIET_SECONDS = 2.2  # each stage hands its values to Triton once a second, or later on a busy machine


class Scrape:
    """All samples of one scrape."""

    def __init__(self, text):
        self.families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in self.families for sample in family.samples]

    def of(self, name, **labels):
        """Return the samples of a name that have these labels."""
        return [one for one in self.samples if one.name == name and labels.items() <= one.labels.items()]

    def value(self, name, **labels):
        """Return the sum of their values; fail if there are none."""
        found = self.of(name, **labels)
        assert found, f"no {name} with {labels}"
        return sum(one.value for one in found)

    def buckets(self, name):
        """Return (upper bound, count) of each bucket, ascending, summed over all series."""
        bounds = {float(one.labels["le"]): 0 for one in self.of(f"{name}_bucket")}
        for one in self.of(f"{name}_bucket"):
            bounds[float(one.labels["le"])] += one.value
        return sorted(bounds.items())

    @property
    def project_values(self):
        """The values of this project's metrics, by name and labels."""
        samples = (one for one in self.samples if one.name.startswith("llm_"))
        return {(one.name, *sorted(one.labels.items())): one.value for one in samples}


def scrape(server):
    """Return the server's metrics of now."""
    with urllib.request.urlopen(f"http://{server.ports.host}:{server.ports.metrics}/metrics") as answer:
        return Scrape(answer.read().decode())


class Counted:
    """How metrics changed while the context was open: `before`, `after` and their differences."""

    def __init__(self, server):
        self._server = server

    def __enter__(self):
        self.before = settled(self._server)
        return self

    def __exit__(self, *_):
        self.after = settled(self._server)

    def value(self, name, **labels):
        return self.after.value(name, **labels) - self.before.value(name, **labels)

    def buckets(self, name):
        pairs = zip(self.before.buckets(name), self.after.buckets(name))
        return [(bound, after - before) for (bound, before), (_, after) in pairs]

    def by(self, name, label):
        """Return the differences by the values of a label, without zeros."""
        values = {one.labels[label] for one in self.after.of(name)}
        counted = {value: self.value(name, **{label: value}) for value in values}
        return {value: count for value, count in counted.items() if count}


def settled(server):
    """Return a scrape once no value has changed for so long that every stage has handed over its own."""
    last, since = scrape(server), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.1)
        now = scrape(server)
        if now.project_values != last.project_values:
            last, since = now, time.monotonic()
    return last
