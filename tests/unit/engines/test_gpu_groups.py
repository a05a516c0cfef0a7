# SPDX-License-Identifier: Apache-2.0
import pytest

from llm_ensemble.engines.gpu_groups import visible_devices


@pytest.mark.parametrize(
    ("groups", "instance", "listed", "devices"),
    [
        ((), 0, None, ""),
        ((), 0, "3", ""),
        (((0, 1), (2, 3)), 1, None, "2,3"),
        (((0, 1), (2, 3)), 0, "4,5,6,7", "4,5"),
        (((1,),), 0, "GPU-a,GPU-b", "GPU-b"),
    ],
)
def test_an_instance_sees_its_group_counted_among_the_visible(groups, instance, listed, devices):
    environ = {} if listed is None else {"CUDA_VISIBLE_DEVICES": listed}
    assert visible_devices(groups, instance, environ) == devices
