# SPDX-License-Identifier: Apache-2.0
"""The steps of a build for CPUs, served by OpenVINO GenAI."""
