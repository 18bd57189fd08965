#!/bin/sh
# Runs a command in the mount namespace that it was started in, with mounts as on a machine that has just started:
#
#   unshare --mount --propagation private sh own-mounts.sh COMMAND...
#
# Copies of the mounts of other programs would keep alive what these take down.
set -eu

tac /proc/self/mounts | while read -r _ point kind _; do
  case $kind in
    bpf | nsfs) umount --lazy "$point" ;;
  esac
done
mount -t tmpfs -o nosuid,nodev,mode=0755 tmpfs /run
exec "$@"
