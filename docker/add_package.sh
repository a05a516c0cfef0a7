#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs llm-ensemble from the current folder into the Python of another project's image, NVIDIA's, and
# changes nothing that is there: pip never resolves dependencies (--no-deps), and of those that llm-ensemble has, the
# missing ones alone are added. A version list from before must be part of the one from after, or this fails.
set -eu
install() { python3 -m pip install --no-cache-dir --break-system-packages --root-user-action=ignore --no-deps "$@"; }
versions() { python3 -m pip list --format=freeze --disable-pip-version-check | sort; }

versions > /tmp/before
for wanted in jinja2 markupsafe msgspec numpy tokenizers; do
    python3 -c "import sys, importlib.util as u; sys.exit(not u.find_spec('$wanted'))" \
        || install "$(grep "^$wanted==" requirements/image.txt)"
done
install .
versions > /tmp/after
changed=$(comm -23 /tmp/before /tmp/after)
echo "added: $(comm -13 /tmp/before /tmp/after | tr '\n' ' ')"
[ -z "$changed" ] || { echo "changed, and must not be: $changed"; exit 1; }
# What stayed may be older or newer than we ask for. Jinja2 must be new enough: below 3.1.6 a chat template
# gets out of its sandbox. The rest is told here, and numpy checked again before serving.
python3 -m pip check | grep -i '^llm-ensemble' > /tmp/unmet || true
cat /tmp/unmet
if grep -i jinja2 /tmp/unmet; then exit 1; fi
rm /tmp/before /tmp/after /tmp/unmet
