# Tools of the steps. A step is a command; its last line of output is shown beside its verdict, and all of it if it
# failed.
PORTS='[{"name":"a","addresses":["192.0.2.10/24","2001:db8::10/64"]},
  {"name":"v","addresses":["192.0.2.11/24"],"vlan":7},
  {"name":"r","addresses":["192.0.2.12/24","2001:db8::12/64"],"rings":"auto"}]'
xsknetd=node_modules/.bin/xsknetd

host() { $HOST "$@"; }

step() { # NAME COMMAND…
  name=$1
  shift
  if "$@" > /tmp/step 2>&1; then verdict=pass; else verdict=fail; fi
  echo "@@ step|$MODE|$name|$verdict|$(cut -d. -f1 /proc/uptime) s|$(tail -n 1 /tmp/step)"
  [ $verdict = pass ] || { mawk '{ print "    " $0 }' /tmp/step; return 1; }
}

wait_for() { # SECONDS COMMAND…
  until_second=$(($(cut -d. -f1 /proc/uptime) + $1))
  shift
  until "$@"; do
    [ "$(cut -d. -f1 /proc/uptime)" -lt $until_second ] || return 1
    sleep 0.2
  done
}

running() { [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2> /dev/null; }
stopped() { ! running "$1"; }
log_has() { grep -q -- "$1" /tmp/daemon.log; }
logged() { wait_for 30 log_has "$1" && grep -- "$1" /tmp/daemon.log | tail -n 1; }
tags_visible() { host ethtool -k card0 | grep '^rx-vlan-offload' | tee /dev/stderr | grep -q ': off'; }
last_change() { grep '"uplink-changed"' /tmp/daemon.log | tail -n 1; }
last_mtu() { last_change | grep -q "\"mtu\":$1"; }
last_link() { last_change | grep -q "\"link\":\"$1\""; }

# Three of three, once the first one is answered: a link takes a while to come up.
pings() { # ADDRESS [OPTION…]
  answered() { remote ping -n -q -c 1 -W 1 "$@" > /tmp/pings 2>&1; }
  wait_for 15 answered "$@" || { cat /tmp/pings; grep -E 'transmitted|connect' /tmp/pings; return 1; }
  remote ping -n -q -c 3 -i 0.2 -W 2 "$@" > /tmp/pings
  grep transmitted /tmp/pings
  grep -q ' 3 received' /tmp/pings
}

echoes() { # SOCAT-ADDRESS BYTES
  head -c "$2" /dev/zero | tr '\0' x > /tmp/question
  came_back() { remote socat -t 1 - "$1" < /tmp/question > /tmp/answer && cmp -s /tmp/question /tmp/answer; }
  wait_for 6 came_back "$1"
  status=$?
  echo "$(wc -c < /tmp/answer) of $2 bytes came back"
  return $status
}

start_daemon() { # MODE
  # A function in the background would be a shell, and that the process to be ended.
  $HOST $xsknetd run --uplink card0 --mode "$1" --config /tmp/xsknetd.toml --log json > /tmp/daemon.log 2>&1 &
  DAEMON=$!
  ready_or_over() { log_has '"ready"' || stopped $DAEMON; }
  wait_for 90 ready_or_over
  cat /tmp/daemon.log
  log_has '"ready"'
}

stop_daemon() {
  kill -TERM $DAEMON
  wait_for 60 stopped $DAEMON || { kill -KILL $DAEMON; echo 'it does not end'; return 1; }
  wait $DAEMON
  status=$?
  grep -E 'failed|uncaught|program-' /tmp/daemon.log
  echo "exit status $status"
  return $status
}

start_client() { # PORTS
  setpriv --reuid=65534 --regid=65534 --clear-groups --bounding-set=-all --no-new-privs -- \
    node client.mjs card0 "$1" > /tmp/client.log 2>&1 &
  CLIENT=$!
  ready_or_over() { grep -q '^ready' /tmp/client.log || stopped $CLIENT; }
  wait_for 90 ready_or_over
  cat /tmp/client.log
  grep '^refused' /tmp/client.log
  grep -q '^open a' /tmp/client.log
}

stop_client() {
  running $CLIENT && kill -TERM $CLIENT
  wait_for 30 stopped $CLIENT || { kill -KILL $CLIENT; echo 'it does not end'; return 1; }
  wait $CLIENT
  status=$?
  tail -n 1 /tmp/client.log
  return $status
}

# Of the port that would have BPF rings: what it got, and if it is not these, why.
rings_are() { # KIND
  opened=$(grep '^open r ' /tmp/client.log)
  echo "$opened" | grep -o '{"hook":"rings"[^}]*}'
  echo "$opened" | grep -o '"rings":"[a-z]*"' | tail -n 1 | grep "\"$1\""
}

lost() { wait_for 30 grep -q '^lost a ' /tmp/client.log && grep '^lost a ' /tmp/client.log; }
# Root may use every uplink: that one is gone must not read as if it had no right.
status_knows() { $xsknetd status > /tmp/status; cat /tmp/status; grep -q card0 /tmp/status; }

# The client asks the daemon for its counters, and adds its own.
sums() {
  asked=$(grep -c '^sums' /tmp/client.log)
  kill -USR2 $CLIENT
  more_sums() { [ "$(grep -c '^sums' /tmp/client.log)" -gt "$asked" ]; }
  wait_for 20 more_sums && tail -n 1 /tmp/client.log && tail -n 1 /tmp/client.log | grep -q '^sums balance'
}

# All that attaching changes, and whatever else should not change.
state() {
  host ethtool -k card0
  host ethtool -l card0 2> /dev/null
  host ip -d link show card0 | sed 's/^[0-9]*: //; s/ qdisc [^ ]* / /'
  host ip addr show dev card0 | grep inet | sed 's/ tentative//' | sort
  host ip maddr show dev card0 | sed 1d | sort
  host bridge fdb show dev card0 | sort
  host ip -o link | cut -d: -f2 | cut -d@ -f1
  left
}
left() {
  ls -A /run/xsknet /sys/fs/bpf /run/netns 2>&1
  grep -v nsfs /proc/mounts
}
# Carrier and addresses take a while to come back after a NIC was down.
settled() { state > /tmp/before; sleep 1; same; }
same() { state > /tmp/after; cmp -s /tmp/before /tmp/after; }
unchanged() { wait_for 10 same || { diff /tmp/before /tmp/after | grep '^[<>]' | tr -s ' \n\t' ' '; return 1; }; }
nothing_left() { left > /tmp/left-after; diff /tmp/left /tmp/left-after; }

kernel_log() {
  step 'log: kernel' no_warnings
  dmesg -c > /dev/null
}
no_warnings() { ! dmesg | grep -E -A 20 'BUG:|WARNING:|Oops|Call Trace|refcount_t|hung task'; }
