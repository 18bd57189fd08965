# The product's own lab: a veth pair between two network namespaces.
HOST='nsenter --net=/run/netns/xsknet-lab-host --'
remote() { nsenter --net=/run/netns/xsknet-lab-remote -- "$@"; }

machine() { left; ip -o link | cut -d: -f2; }
build() {
  machine > /tmp/machine
  step 'wire: lab' $xsknetd lab || return
  left > /tmp/left
}
vanish() { host ip link del card0; }
control() { :; }
demolish() {
  step 'close: lab' $xsknetd lab --down
  machine_unchanged() { machine | diff /tmp/machine -; }
  step 'unchanged: machine without the lab' machine_unchanged
}
