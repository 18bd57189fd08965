# Two NICs of one driver in one guest, distinguished by their MACs.
HOST=
remote() { nsenter --net=/run/netns/remote -- "$@"; }
device_of() { ip -o link | mawk -v mac="$1" '$0 ~ mac { sub(/[:@].*/, "", $2); print $2 }'; }

build() {
  modprobe virtio_pci
  modprobe "$MODULE"
  both() { near=$(device_of 52:54:00:00:00:01); far=$(device_of 52:54:00:00:00:02); [ -n "$near" ] && [ -n "$far" ]; }
  step 'wire: cards' wait_for 10 both || return
  bus=$(basename "$(readlink -f "/sys/class/net/$near/device")")
  far_bus=$(basename "$(readlink -f "/sys/class/net/$far/device")")
  bound=$(readlink -f "/sys/class/net/$near/device/driver")
  ip netns add remote
  ip link set "$far" netns remote
  remote ip link set lo up
  remote ip link set "$far" name far0
  remote ip addr add 192.0.2.2/24 dev far0
  remote ip addr add 2001:db8::2/64 dev far0 nodad
  remote ip link set far0 up
  name_nic "$near"
  ethtool -i card0 | head -n 2
  ethtool -l card0
  ethtool -k card0 | grep -E '^(generic-receive|large-receive|rx-gro-hw|rx-vlan|rx-checksumming)'
  left > /tmp/left
}

name_nic() {
  ip link set "$1" down
  ip link set "$1" name card0
  ip addr add 192.0.2.1/24 dev card0
  ip addr add 2001:db8::1/64 dev card0 nodad
  ip link set card0 up
}

# The driver goes, as when a NIC is pulled out; the writer waits for as long as a process holds the device.
vanish() {
  echo "$bus" > "$bound/unbind" &
  wait_for 30 stopped $!
}
reappear() {
  echo "$bus" > "$bound/bind" & # which waits, too, if the driver has not let go
  back() { near=$(device_of 52:54:00:00:00:01); [ -n "$near" ]; }
  wait_for 20 back && name_nic "$near"
}
# What the driver does not do without us is not our fault.
control() {
  step 'wire: driver unbound' vanish
  step 'wire: driver bound again' reappear
  step 'wire: ping again' pings 192.0.2.1
}
# The far NIC, with a program that has nothing to do with us: what fails then is the driver's fault, or QEMU's.
attach() { remote ip link set dev far0 xdpdrv object filter.o section xdp; }
detach() { remote ip link set dev far0 xdpdrv off; }
runs() { # WHEN
  pings 192.0.2.1 || { echo "no answer $1"; return 1; }
  ! remote ping -n -q -c 2 -i 0.2 -W 1 2001:db8::1 > /dev/null || { echo "the program is not run $1"; return 1; }
}
foreign_mtu() {
  runs 'once attached' || return
  for mtu in 1400 1500; do
    remote ip link set far0 mtu $mtu
    runs "with an MTU of $mtu" || return
  done
}
foreign_link() {
  detach && attach && runs 'once attached' || return
  remote ip link set far0 down
  remote ip link set far0 up
  runs 'after the NIC was down and up'
}
foreign_unbound() {
  echo "$far_bus" > "$bound/unbind" &
  wait_for 30 stopped $! || { dmesg | grep 'unregister_netdevice' | tail -n 1; return 1; }
}
demolish() {
  if attach; then
    step 'wire: foreign program after another MTU' foreign_mtu
    step 'wire: foreign program after NIC down and up' foreign_link
    step 'wire: driver with a foreign program unbound' foreign_unbound
  fi
  ip netns del remote
}
