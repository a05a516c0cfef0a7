# SPDX-License-Identifier: Apache-2.0
"""An engine that says what a script has for a prompt: for answers that the demo model cannot give.

All else is real. It is strict: where a request has a guide, the script's answer must fit it.
"""
