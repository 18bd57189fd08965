# The steps, in $MODES, on a NIC of $DRIVER ($MODULE), or in the product's own lab. The near NIC is card0, managed by
# the daemon; its neighbour at the other end of the wire is far0 in a network namespace of its own.
. ./lib.sh
echo "@@ kernel $(uname -r) on $(nproc) processors, $(mawk '/^MemTotal/{print $2}' /proc/meminfo) KiB"
modprobe -a veth 8021q

if [ "$DRIVER" = veth ]; then . ./lab.sh; else . ./nic.sh; fi
MODE=-
build || return

cat > /tmp/xsknetd.toml << END
[[grant]]
user = 65534
uplinks = ["card0"]
addresses = ["192.0.2.8/29", "2001:db8::/64"]
vlans = ["untagged", 7]
ports = 3
memory = "96MiB"
bpfRings = true
END

# A device that goes down loses its IPv6 addresses otherwise, and then nothing is as before.
for side in host remote; do $side sysctl -q -w net.ipv6.conf.all.keep_addr_on_down=1; done
step 'wire: ping' pings 192.0.2.1
# Without anything of ours: what the driver does not bring back by itself is not our fault.
host ip link set card0 down
host ip link set card0 up
step 'wire: NIC down and up' pings 192.0.2.1
control

gone_in=
for MODE in $(echo "$MODES" | tr , ' '); do
  wait_for 20 settled
  if step 'start: daemon' start_daemon "$MODE"; then
    : "${gone_in:=$MODE}"
    if step 'open: client' start_client "$PORTS"; then . ./port.sh; fi
    step 'close: daemon' stop_daemon
  fi
  step 'unchanged: NIC and machine' unchanged
  kernel_log
done

# In one mode: what the daemon does then has nothing to do with where the programs run.
if [ -n "$gone_in" ]; then
  MODE=$gone_in
  if step 'gone: start' start_daemon "$MODE"; then
    if step 'gone: open' start_client "$PORTS"; then
      step 'gone: device' vanish
      step 'gone: followed' logged uplink-gone
      step 'gone: client knows' lost
      step 'gone: status' status_knows
      step 'gone: client ends' stop_client
    fi
    step 'gone: stop' stop_daemon
    step 'gone: nothing left' nothing_left
    if [ ! -e /sys/class/net/card0 ] && [ "$DRIVER" != veth ]; then
      step 'gone: device again' reappear && step 'gone: ping host' pings 192.0.2.1
    fi
  fi
  kernel_log
fi

MODE=-
demolish
echo '@@ end'
