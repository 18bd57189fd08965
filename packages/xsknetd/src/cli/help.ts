/**
 * A configuration with every key. Except for `user`, `uplinks`, `addresses` and the `memory` of the daemon, it shows
 * the defaults.
 */
export const exampleConfiguration = `[daemon]                    # command-line options take precedence
uplinks = ["eth0"]          # interfaces to manage
mode = "unspecified"        # XDP mode: "unspecified", "native", "skb" or "hw"
instance = "default"
socket = "/run/xsknet/default.sock"
log = "text"                # or "json"
memory = "8GiB"             # limit for all ports together; default: half of the available memory

[[grant]]                   # one for each user or group
user = "nobody"             # or group = "netops"; a name or a numeric ID
uplinks = ["eth0"]          # interfaces to open ports on
addresses = ["192.0.2.8/29", "2001:db8::10/124"]
vlans = ["untagged"]        # "untagged" or VLAN IDs
ports = 1                   # maximum number of open ports per user
queues = 1                  # maximum number of queues per port, 1 to 8
ringSize = 4096             # maximum number of slots per ring
memory = "16MiB"            # maximum UMEM memory per user
pinned = false              # allow pinned ports, whose sockets the client creates
innerTags = false           # allow VLAN tags inside the port's own
routing = false             # allow VRRP, OSPF, IGMP and MLD queries, and source routing
busyPoll = false            # allow busy polling
hugePages = false           # allow huge pages
bpfRings = false            # allow BPF rings, whose clients run a BPF program to send
uplinkMac = false           # allow addresses at the uplink's MAC
flows = []                  # packets that ports may claim: ["udp dst port 53 and dst host 192.0.2.1"]
overrideHost = false        # allow flows that take packets of the host's own
groups = []                 # broadcast and multicast that ports may receive: ["broadcast", "224.0.0.251"]
tap = false                 # allow taps, which get copies of everything that passes the interface
promiscuous = false         # allow taps to switch the interface to promiscuous mode
rates = { broadcast = 1000, multicast = 1000, unknownUnicast = 1000, frames = "unlimited", bits = "unlimited" }
`

export const usage = `Usage: xsknetd <command> [options]

Manages network interfaces (uplinks) and gives unprivileged programs AF_XDP ports on them.

Commands:
  run       Run the daemon in the foreground (as root)
  status    Show the daemon and its uplinks
  ports     List open ports: all for root, your own otherwise
  stats     Show packet counters and losses, hop by hop
  explain   Show what the BPF programs decide about a packet, and why
  lab       Create or remove a test network (as root)

xsknetd run --uplink <interface>... [options]
  Runs until SIGTERM or SIGINT. SIGHUP reloads the grants.

    --uplink <interface>   interface to manage; may be repeated
    --mode <mode>          XDP mode of the uplinks: unspecified, native, skb or hw
                           (default: unspecified, the best mode that the kernel grants)
    --config <file>        configuration file (TOML); command-line options take precedence
    --instance <name>      name of this daemon's instance (default: "default")
    --socket <path>        control socket (default: /run/xsknet/<instance>.sock)
    --log text|json        log format on standard output (default: text)

xsknetd status [options]
xsknetd ports [options]
xsknetd stats [<port> | <interface>] [options]
xsknetd explain <packet> [options]
  Query a running daemon. A port is given by its number or name, a packet in
  hexadecimal digits from its Ethernet header on, or as a pcap or pcapng file.
  Explaining a packet sends nothing and counts nothing.

    --uplink <interface>   explain: the packet arrives there (default: the only uplink)
    --port <port>          explain: this port sends the packet

    --socket <path>        control socket of the daemon
                           (default: $XSKNET_SOCKET, or /run/xsknet/default.sock)
    --instance <name>      name of the daemon's instance, instead of --socket
    --json                 print JSON

xsknetd lab [options]
  Creates two network namespaces that are connected by a veth pair.

    --name <name>          name of the lab (default: "lab")
    --down                 remove the lab

Other options:
  -h, --help               show this help
      --version            show version information

Configuration file, with the default values (except user, uplinks, addresses and the daemon's memory):

${exampleConfiguration.trimEnd().replace(/^(?=.)/gm, '  ')}

Exit status: 0 on success, 1 on failure, 2 if the command line or the configuration is invalid.`
