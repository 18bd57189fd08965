# What is tried of a port while the daemon and a client are at work.
step 'traffic: ping' pings 192.0.2.10
step 'traffic: ping, 1472 bytes' pings 192.0.2.10 -s 1472
step 'traffic: ping IPv6' pings 2001:db8::10
step 'traffic: udp' echoes UDP4:192.0.2.10:7 5
step 'traffic: udp, 1400 bytes' echoes UDP4:192.0.2.10:7 1400
step 'traffic: udp IPv6' echoes 'UDP6:[2001:db8::10]:7' 1000
step 'traffic: ping host' pings 192.0.2.1
# Where the guard runs in native mode there are BPF rings, else AF_XDP in their place.
if grep -q '^open r .*"guardMode":"native"' /tmp/client.log; then kind=bpf; else kind=xsk; fi
step "rings: $kind" rings_are $kind
step 'rings: ping' pings 192.0.2.12
step 'rings: ping IPv6' pings 2001:db8::12
step 'rings: udp, 1400 bytes' echoes UDP4:192.0.2.12:7 1400
step 'sums: traffic' sums

if step 'vlan: open' grep '^open v' /tmp/client.log; then
  remote ip link add link far0 name far7 type vlan id 7
  remote ip addr add 192.0.2.3/32 dev far7
  remote ip link set far7 up
  remote ip route add 192.0.2.11/32 dev far7 src 192.0.2.3
  if ! step 'vlan: ping' pings 192.0.2.11 -I 192.0.2.3; then
    # Is it the NIC's filter? It passes frames of the VLANs that were added to it.
    host ethtool -k card0 | grep vlan
    host ip link add link card0 name card7 type vlan id 7
    host ip link set card7 up
    step 'vlan: ping once the host has it' pings 192.0.2.11 -I 192.0.2.3
    host ip link del card7
  fi
  remote ip link del far7
fi

host ip link set card0 mtu 1400
step 'mtu: 1400 is followed' logged '"mtu":1400'
step 'mtu: 1400, ping' pings 192.0.2.10 -s 1300
host ip link set card0 mtu 1500
step 'mtu: 1500 is followed' wait_for 20 last_mtu 1500
step 'mtu: 1500, ping' pings 192.0.2.10 -s 1472

remote ip link set far0 down
remote ip link set far0 up
step 'link: far end down and up, ping' pings 192.0.2.10
host ip link set card0 down
step 'link: down is followed' wait_for 20 last_link down
host ip link set card0 up
step 'link: up is followed' wait_for 20 last_link up
step 'link: up, ping host' pings 192.0.2.1
step 'link: up, ping' pings 192.0.2.10
step 'link: up, ping IPv6' pings 2001:db8::10
step 'sums: link down and up' sums

# A redirect that is refused after the program has returned, which only the driver can count.
outer=$(sed -n 's/^open a .*"outer":"\([^"]*\)".*/\1/p' /tmp/client.log)
if [ -n "$outer" ]; then
  host ip link set "$outer" down
  remote ping -n -q -c 3 -i 0.2 -W 1 192.0.2.10 > /dev/null
  host ip link set "$outer" up
  step 'refused: ping after it' pings 192.0.2.10
  step 'refused: sums' sums || host ethtool -S card0 | grep -i -E 'xdp|drop|err' | grep -v ': 0$'
fi

# A tag that the NIC takes out of the frame is invisible to the programs: the test switches that on.
if host ethtool -k card0 | grep -q '^rx-vlan-offload: off$'; then
  host ethtool -K card0 rxvlan on
  step 'vlan: rx-vlan-offload put back' wait_for 20 tags_visible
  host ethtool -K card0 rxvlan off
fi

step 'close: client' stop_client
