# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face checkpoint to an engine directory.

    python -m build_scripts.build --model facebook/opt-125m --precision int8 --output engines/opt-125m

Stage by stage, each a file beside this one: for openvino fetch, tokenizer, export, compress, verify; for
tensorrt_llm those of build_gpu.py; the manifest comes last. Exits with 0, with 1 and one line `build: ...`
that says what to do, with 130 on Ctrl-C and 143 on SIGTERM. OUTPUT is touched only by a build that succeeded.
"""

from __future__ import annotations

import shutil
import signal
import sys
from pathlib import Path

from build_scripts.build_error import BuildError, CommandFailed
from build_scripts.build_gpu import build_for_gpus
from build_scripts.checkpoint import read_checkpoint
from build_scripts.describe import describe, library_versions
from build_scripts.fetch import fetch
from build_scripts.order import Order, parse
from build_scripts.progress import Interrupted, Progress
from build_scripts.staging import Staging
from llm_ensemble.manifest import ENGINE, TOKENIZER, write_manifest

STAGES = 5
USUAL_PRECISION = "int8"


def build(order: Order, progress: Progress) -> None:
    """Build the engine directory `order` describes, all of it or nothing. Raises BuildError."""
    with Staging(order.output) as staging:
        stages = build_for_gpus if order.engine == "tensorrt_llm" else build_for_cpus
        stages(staging.folder, order, progress)
        staging.publish()


def build_for_cpus(folder: Path, order: Order, progress: Progress) -> None:
    """For openvino. Each stage imports its libraries when it runs, so that a refusal takes no seconds."""
    precision = order.precision or USUAL_PRECISION
    with progress.stage("fetch", order.model, quiet=False):
        source = fetch(order.model, code=order.trust_remote_code)
        checkpoint = read_checkpoint(source, trust_remote_code=order.trust_remote_code)
        limits = order.limits(checkpoint.positions)
    with progress.stage("tokenizer", "tokenizer.json"):
        from build_scripts.tokenizer import write_tokenizer

        tokenizer = write_tokenizer(checkpoint, folder / TOKENIZER)
        sample = tokenizer.sample_ids[: checkpoint.positions]
    with progress.stage("export", checkpoint.architecture):
        from build_scripts.export import export

        reference = export(checkpoint, sample, folder / ENGINE, full_precision=precision == "fp32")
        shutil.copy(folder / ENGINE / "generation_config.json", folder / TOKENIZER)
    with progress.stage("weights", precision):
        from build_scripts.compress import compress

        compress(folder / ENGINE, precision, checkpoint.config)
    with progress.stage("verify", "logits against transformers'"):
        from build_scripts.verify import verify

        distance = verify(folder / ENGINE, precision, sample, reference)
        progress.note(f"{distance:.2g} of their spread apart")
    made = describe(
        folder,
        checkpoint,
        tokenizer,
        limits,
        engine=order.engine,
        precision=precision,
        versions=library_versions(),
    )
    write_manifest(folder, made)


def main(arguments: list[str] | None = None) -> int:
    """Run one build from the command line; returns the exit status."""
    try:
        order = parse(arguments)
    except BuildError as error:
        return _say(str(error), 1)
    progress = Progress(STAGES)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, progress.interrupt)
    try:
        build(order, progress)
    except (Exception, Interrupted) as error:
        return _report(progress.interrupted or error, progress)
    progress.drop_log()
    sys.stdout.write(f"{order.output} is ready: make serve ENGINE_DIR={order.output}\n")
    return 0


def _report(error: BaseException, progress: Progress) -> int:
    """Say what stopped the build; where others failed, after the end of what they had to say."""
    if isinstance(error, CommandFailed):
        sys.stderr.write(progress.tail())
        return _say(f"{error} (everything is in {progress.log})", 1)
    if not isinstance(error, (BuildError, Interrupted)):
        sys.stderr.write(progress.tail())
        progress.keep_traceback()
        reason = " ".join(str(error).split())[:300]
        return _say(f"{type(error).__name__}: {reason} (everything is in {progress.log})", 1)
    progress.drop_log()
    if isinstance(error, Interrupted):
        return _say("interrupted: nothing was written", 128 + error.number)
    return _say(str(error), 1)


def _say(line: str, status: int) -> int:
    sys.stderr.write(f"build: {line}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
