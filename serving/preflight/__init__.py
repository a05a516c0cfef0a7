# SPDX-License-Identifier: Apache-2.0
"""What would fail obscurely later, checked before tritonserver starts."""
