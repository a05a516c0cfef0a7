# SPDX-License-Identifier: Apache-2.0
import pytest

from build_scripts.admin_apis import AdminKeyError, restrictions

CLOSED = "model-repository,shared-memory,trace,logging:admin-key="


def test_both_protocols_close_the_same_apis_with_the_same_key():
    http, grpc = restrictions({})
    assert http.removeprefix("--http-restricted-api=") == grpc.removeprefix("--grpc-restricted-protocol=")
    assert http.removeprefix("--http-restricted-api=").startswith(CLOSED)


def test_without_a_key_it_is_another_one_each_time_and_one_no_header_can_carry():
    keys = {restrictions({})[0].partition("admin-key=")[2] for _ in range(5)}
    assert len(keys) == 5
    assert all(len(key) == 65 and key.endswith("\n") for key in keys)


def test_a_key_is_used_as_it_is():
    assert restrictions({"ADMIN_KEY": "0123456789-._abc"})[0].endswith(":admin-key=0123456789-._abc")


def test_an_empty_key_opens_nothing():
    assert restrictions({"ADMIN_KEY": ""})[0].endswith("\n")


@pytest.mark.parametrize(
    "key", ["short", "fifteen-letters", "sixteen letters!", "sixteen=letters=", "a" * 16 + "\n"]
)
def test_a_key_that_is_short_or_that_triton_would_split_is_refused(key):
    with pytest.raises(AdminKeyError, match="ADMIN_KEY must be 16 or more letters"):
        restrictions({"ADMIN_KEY": key})
