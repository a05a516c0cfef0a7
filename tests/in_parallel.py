# SPDX-License-Identifier: Apache-2.0
"""How the tests are shared between the processes of pytest-xdist."""

import re

from xdist.scheduler import LoadScopeScheduling

KIND = re.compile(r"[\[-](openvino|tensorrt_llm|vllm)[\]-]")


class ByModuleAndEngine(LoadScopeScheduling):
    """A process gets a module's tests of one engine kind at a time, in the order of testpaths.

    So what a module starts is started once, and a process that has a server goes on with the next module that
    asks it. Modules that take long are first, or one would run alone at the end.
    """

    def __init__(self, config, log=None):
        config.option.loadscopereorder = False
        super().__init__(config, log)

    def _split_scope(self, nodeid):
        module, _, name = nodeid.partition("::")
        kind = KIND.search(name)
        return f"{module}::{kind[1]}" if kind and module.startswith("tests/server/") else module
