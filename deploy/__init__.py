# SPDX-License-Identifier: Apache-2.0
"""What brings the project to other machines."""
