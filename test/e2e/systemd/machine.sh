#!/bin/sh
# A machine with a systemd of its own: process, mount, network, host and cgroup namespaces, and a root that is this host's with a
# tmpfs over it. Nothing of this host is changed. A reboot keeps the tmpfs. Ends when stdin does.
#   machine.sh DIRECTORY CGROUP
# prints 'booted PID' whenever systemd has been started; PID is that of its init here.
set -eu
stage=${3-host}
directory=$1
name=$2
base=$directory/base

case $stage in
host)
  exec unshare --mount --net --uts --ipc "$0" "$directory" "$name" keeper
  ;;

keeper)
  mount --make-rprivate /
  mkdir -p "$base"
  mount -t tmpfs -o mode=755 tmpfs "$base"
  mkdir "$base/cgroup" "$base/upper" "$base/work" "$base/root"
  mount -t cgroup2 cgroup2 "$base/cgroup"
  mkdir "$base/cgroup/$name"
  ip link set lo up
  hostname "$name"
  exec 3<&0 </dev/null
  (
    cat <&3 >/dev/null
    [ ! -e "$base/pid" ] || kill -KILL "$(cat "$base/pid")"
  ) &
  while :; do
    status=0
    unshare --mount --pid --fork "$0" "$directory" "$name" init || status=$?
    # A reboot ends the init of a process namespace with SIGHUP, anything else is the end: reboot(2).
    [ "$status" = 129 ] || break
  done
  # The last processes may take a moment to be gone.
  tries=0
  until find "$base/cgroup/$name" -depth -type d -exec rmdir {} + 2>/dev/null || [ "$tries" = 100 ]; do
    tries=$((tries + 1))
    sleep 0.1
  done
  exit 0
  ;;

init)
  echo 0 >"$base/cgroup/$name/cgroup.procs"
  # /proc is still the one of this host.
  read -r pid rest </proc/self/stat
  echo "$pid" >"$base/pid"
  exec unshare --cgroup --mount "$0" "$directory" "$name" "$pid"
  ;;

*)
  mount --make-rprivate /
  mount -t overlay overlay -o "lowerdir=/,upperdir=$base/upper,workdir=$base/work" "$base/root"
  cd "$base/root"
  if [ ! -e var/lib/machine-is-set-up ]; then
    : >var/lib/machine-is-set-up
    # None of this host's own services.
    rm -rf etc/systemd/system etc/systemd/user var/log/journal
    mkdir -p etc/systemd/system etc/systemd/user var/log/journal
    ln -s /lib/systemd/system/multi-user.target etc/systemd/system/default.target
    : >etc/fstab
    rm -f etc/machine-id
    tr -d - </proc/sys/kernel/random/uuid >etc/machine-id
  fi
  mount -t proc proc proc
  mount -t sysfs -o ro sysfs sys
  mount -t cgroup2 cgroup2 sys/fs/cgroup
  mount -t tmpfs -o mode=755 tmpfs dev
  mknod -m 666 dev/null c 1 3
  mknod -m 666 dev/zero c 1 5
  mknod -m 666 dev/full c 1 7
  mknod -m 666 dev/random c 1 8
  mknod -m 666 dev/urandom c 1 9
  mknod -m 666 dev/tty c 5 0
  ln -s /proc/self/fd dev/fd
  mkdir dev/pts dev/shm
  mount -t devpts -o newinstance,ptmxmode=666,mode=620 devpts dev/pts
  ln -s pts/ptmx dev/ptmx
  mount -t tmpfs -o mode=1777 tmpfs dev/shm
  mount -t tmpfs -o mode=755 tmpfs run
  mount -t tmpfs -o mode=1777 tmpfs tmp
  # The kernel's settings are those of this host.
  mount --bind proc/sys proc/sys
  mount -o remount,ro,bind proc/sys
  mkdir -p .host
  pivot_root . .host
  cd /
  umount -l /.host
  echo "booted $stage"
  exec env -i container=cdktr-test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --show-status=false </dev/null >/dev/null 2>&1
  ;;
esac
