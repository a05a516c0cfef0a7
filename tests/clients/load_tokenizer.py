# SPDX-License-Identifier: Apache-2.0
"""An engine's tokenizer folder in transformers 4. Prints the ids of a text as JSON."""

import json
import sys

from transformers import AutoTokenizer

FOLDER, TEXT = sys.argv[1:]
sys.stdout.write(json.dumps(AutoTokenizer.from_pretrained(FOLDER)(TEXT).input_ids))
