# SPDX-License-Identifier: Apache-2.0
"""What the fake is made of. Tests import the package as the real one is imported, never from here."""
