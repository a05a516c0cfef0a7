#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs llm-ensemble from the current folder into the Python of another project's image, NVIDIA's, and
# changes nothing that is there: pip never resolves dependencies (--no-deps), and of those that llm-ensemble has, the
# missing ones alone are added. A version list from before must be part of the one from after, or this fails.
set -eu
install() { python3 -m pip install --no-cache-dir --break-system-packages --root-user-action=ignore --no-deps "$@"; }
versions() { python3 -m pip list --format=freeze --disable-pip-version-check | sort; }

versions > /tmp/before
# By the names that Python imports; a distribution has dashes where it has underscores, and four have other names.
for wanted in jinja2 markupsafe msgspec numpy safetensors tokenizers fastapi starlette pydantic pydantic_core annotated_types \
    annotated_doc typing_inspection typing_extensions opentelemetry anyio uvicorn click httptools uvloop \
    prometheus_client tritonclient grpc google.protobuf rapidjson ml_dtypes packaging; do
    case $wanted in
        opentelemetry) name=opentelemetry-api ;;
        grpc) name=grpcio ;;
        google.protobuf) name=protobuf ;;
        rapidjson) name=python-rapidjson ;;
        *) name=$(echo "$wanted" | tr _ -) ;;
    esac
    python3 - "$wanted" <<'END' || install "$(grep "^$name==" requirements/image.txt)"
import importlib.util, sys
try:
    sys.exit(not importlib.util.find_spec(sys.argv[1]))
except ModuleNotFoundError:  # not even the package around it
    sys.exit(1)
END
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
