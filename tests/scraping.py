# SPDX-License-Identifier: Apache-2.0
"""Triton's /metrics, read by Prometheus' own parser."""

import re
import time
import urllib.request

from prometheus_client.parser import text_string_to_metric_families

QUIET_SECONDS = 1.6  # each step hands its values over once a second


class Scrape:
    """All samples of one moment."""

    def __init__(self, text):
        self.families = list(text_string_to_metric_families(text))
        self.samples = [as_served(sample) for family in self.families for sample in family.samples]

    def of(self, name, **labels):
        """The samples of a name that have these labels."""
        return [one for one in self.samples if one.name == name and labels.items() <= one.labels.items()]

    def value(self, name, **labels):
        """Their values, added up."""
        found = self.of(name, **labels)
        assert found, f"no {name} with {labels}"
        return sum(one.value for one in found)

    def buckets(self, name):
        """Upper bound and count of each bucket, ascending, of all series together."""
        bounds = {float(one.labels["le"]): 0 for one in self.of(f"{name}_bucket")}
        for one in self.of(f"{name}_bucket"):
            bounds[float(one.labels["le"])] += one.value
        return sorted(bounds.items())

    @property
    def ours(self):
        """This project's values, by all that tells them apart."""
        samples = (one for one in self.samples if one.name.startswith("llm_"))
        return {(one.name, *sorted(one.labels.items())): one.value for one in samples}


def as_served(sample):
    """The parser calls every sample of a counter _total, those too that are parts of a histogram."""
    name = re.sub("(_bucket|_sum|_count)_total$", r"\1", sample.name)
    return sample._replace(name=name)


def scrape(server):
    """What the server says now."""
    with urllib.request.urlopen(f"http://{server.ports.host}:{server.ports.metrics}/metrics") as answer:
        return Scrape(answer.read().decode())


class Counted:
    """What was counted in a block; inside it `before` is there, after it the differences."""

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
        """What was counted by a label, zeros left out."""
        values = {one.labels[label] for one in self.after.of(name)}
        counted = {value: self.value(name, **{label: value}) for value in values}
        return {value: count for value, count in counted.items() if count}


def settled(server):
    """A scrape once nothing of ours has changed for so long that every step has handed over what it had."""
    last, since = scrape(server), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        time.sleep(0.1)
        now = scrape(server)
        if now.ours != last.ours:
            last, since = now, time.monotonic()
    return last
