# SPDX-License-Identifier: Apache-2.0
"""Compiles the grammars of guided requests before these enter the pipeline, away from its steps.

Observed with OpenVINO GenAI 2026.4.1: the pipeline compiles a grammar in the step that first samples for its
request, with the GIL held; an error there ends every later step, too. What is compiled is kept with the
tokenizer object. So a grammar is tried in another process first, which is ended if that takes too long, and
then compiled here by a small pipeline with the same tokenizer. That one's end and the pipeline's first sample
for a guided request write to one unguarded vector: `turn` keeps them apart.
"""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import openvino_genai as genai

from llm_ensemble.engines.guide_trials import Done, GuideTrials, TrialProcess
from llm_ensemble.engines.openvino.guides.trial import Compiler
from llm_ensemble.engines.openvino.guides.vocabulary import write_vocabulary

TRIAL = "llm_ensemble.engines.openvino.guides.trial"
TRIAL_SECONDS = 4.0


class GuideCompiler:
    """Compiles grammars, one after the other, in the thread of their trials.

    turn: to be held from the time a guided request enters the pipeline until its first token.
    """

    def __init__(self, tokenizer_json: Path) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="llm-ensemble-vocabulary-")
        self.folder = Path(self._folder.name)
        write_vocabulary(tokenizer_json, self.folder)
        self.tokenizer = genai.Tokenizer(self.folder)
        self.turn = threading.Lock()
        self._compiler: Compiler | None = None
        self._trials = GuideTrials(TrialProcess(TRIAL, self.folder, TRIAL_SECONDS), self._compile)

    def compile(self, grammar: str, end_id: int, done: Done) -> None:
        """Compile a grammar; call `done` in any thread, with what is wrong with it, "" if nothing is."""
        self._trials.submit(grammar, end_id, done)

    def close(self) -> None:
        """End the thread and the process."""
        self._trials.close()
        self._folder.cleanup()

    def _compile(self, grammar: str, end_id: int) -> None:
        self._compiler = self._compiler or Compiler(self.folder, self.tokenizer)
        with self.turn:
            self._compiler.generate(grammar, end_id, 1)
