# SPDX-License-Identifier: Apache-2.0
"""Messages between the processes of the stages, beside Triton."""
