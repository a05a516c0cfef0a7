#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# As near to `docker run --read-only --tmpfs /tmp` as goes without a container engine. Needs root.
#     unshare --mount --pid --ipc --fork --kill-child sh contain.sh ROOT UID:GID [NAME=VALUE ...] -- COMMAND ...
# Process 1 becomes the command, in its own processes and mounts, as that user, without ways to other rights.
# Unlike with docker the network is the host's, and no capability is dropped but by not being root.
set -eu
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
mount -t tmpfs -o nosuid,mode=755 tmpfs "$root/dev"
for device in null zero full random urandom; do
    : > "$root/dev/$device"
    mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir -m 1777 "$root/dev/shm"
# Docker's own options and its 64 MB.
mount -t tmpfs -o nosuid,nodev,noexec,size=64m shm "$root/dev/shm"
mount -t tmpfs -o nosuid,nodev,noexec,mode=1777 tmpfs "$root/tmp"
exec setpriv --no-new-privs chroot --userspec="$user" "$root" env -i "$@"
