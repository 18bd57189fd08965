/* A pinned port in C: asks xsknetd for one, makes the AF_XDP socket by libxdp, and sends every UDP datagram back.
 *	cc -O2 -Wall -Wextra -Werror pinned.c -o pinned -lxdp -lbpf
 *	pinned /run/xsknet/default.sock eth0 192.0.2.10/24 1000		answers 1000 datagrams */
#include <bpf/bpf.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/ether.h>
#include <netinet/ip.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/un.h>
#include <xdp/xsk.h>

enum { FRAMES = 1024, SIZE = 2048, BATCH = 32 };	/* FILL and TX have a slot for every frame, so always room */
static char said[65537];				/* the daemon's last message */
static struct xsk_ring_prod fill, tx;
static struct xsk_ring_cons completion, rx;

static void check(int well, const char *what)
{
	if (well)
		return;
	fprintf(stderr, "%s: %s\n%s\n", what, strerror(errno), said);
	exit(1);
}

static int hear(int daemon)
{
	ssize_t length = recv(daemon, said, sizeof(said) - 1, 0);

	said[length > 0 ? length : 0] = 0;
	return strstr(said, "\"result\":") != NULL;
}

static void ask(int daemon, const char *request, int fd)	/* with a descriptor beside it, unless that is -1 */
{
	union { char room[CMSG_SPACE(sizeof(fd))]; struct cmsghdr head; } rights = {
		.head = { CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec part = { (void *)request, strlen(request) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &rights,
				  .msg_controllen = fd < 0 ? 0 : sizeof(rights) };

	memcpy(CMSG_DATA(&rights.head), &fd, sizeof(fd));
	check(sendmsg(daemon, &message, MSG_NOSIGNAL) > 0 && hear(daemon), request);
}

static const void *find(const char *key, const char *format, void *value)
{
	const char *at = strstr(said, key);

	check(at && sscanf(at + strlen(key), format, value) == 1, key);
	return value;
}

static void give(__u64 frame)	/* to the kernel, to receive into */
{
	__u32 slot = 0;

	xsk_ring_prod__reserve(&fill, 1, &slot);
	*xsk_ring_prod__fill_addr(&fill, slot) = frame;
	xsk_ring_prod__submit(&fill, 1);
}

static void swap(void *a, void *b, size_t length)
{
	char kept[8];

	memcpy(kept, a, length), memcpy(a, b, length), memcpy(b, kept, length);
}

static int turn(struct ether_header *eth, __u32 length)	/* a datagram round; its checksums stay right */
{
	struct iphdr *ip = (void *)(eth + 1);
	struct udphdr *udp = (void *)(ip + 1);

	if (length < sizeof(*eth) + sizeof(*ip) + sizeof(*udp) || ntohs(eth->ether_type) != ETHERTYPE_IP || ip->ihl != 5 ||
	    ip->protocol != IPPROTO_UDP)
		return 0;
	swap(eth->ether_dhost, eth->ether_shost, ETH_ALEN);
	swap(&ip->saddr, &ip->daddr, sizeof(ip->saddr));
	swap(&udp->source, &udp->dest, sizeof(udp->source));
	return 1;
}

int main(int argc, char **argv)
{
	char request[512], xsks[256], device[16], mac[18];
	unsigned int port, queue, from = 0, to = 0;
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	int daemon = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	check(argc == 5, "pinned <socket> <card> <address> <datagrams>");
	strncpy(path.sun_path, argv[1], sizeof(path.sun_path) - 1);
	check(connect(daemon, (void *)&path, sizeof(path)) == 0, argv[1]);
	ask(daemon, "{\"version\":1,\"id\":1,\"operation\":\"hello\",\"client\":\"pinned.c\"}", -1);
	snprintf(request, sizeof(request), "{\"version\":1,\"id\":2,\"operation\":\"openPinnedPort\","
		 "\"port\":{\"uplink\":\"%s\",\"addresses\":[\"%s\"]}}", argv[2], argv[3]);
	ask(daemon, request, open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
	find("\"port\":", "%u", &port), find("\"mac\":\"", "%17[^\"]", mac);
	find("\"xsks\":\"", "%255[^\"]", xsks), find("\"device\":\"", "%15[^\"]", device), find("\"queue\":", "%u", &queue);

	struct xsk_umem *umem;
	struct xsk_socket *xsk;
	struct xsk_umem_config frames = { .fill_size = FRAMES, .comp_size = FRAMES, .frame_size = SIZE };
	struct xsk_socket_config rings = { .rx_size = FRAMES, .tx_size = FRAMES, .bind_flags = XDP_USE_NEED_WAKEUP,
					   .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD };
	char *memory = mmap(NULL, FRAMES * SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	check(xsk_umem__create(&umem, memory, FRAMES * SIZE, &fill, &completion, &frames) == 0, "UMEM (CAP_NET_RAW? RLIMIT_MEMLOCK?)");
	check(xsk_socket__create(&xsk, device, queue, umem, &rx, &tx, &rings) == 0, "socket");
	for (__u64 frame = 0; frame < FRAMES; frame++)
		give(frame * SIZE);	/* first, because what finds FILL empty is lost */
	check(xsk_socket__update_xskmap(xsk, bpf_obj_get(xsks)) == 0, xsks);
	snprintf(request, sizeof(request), "{\"version\":1,\"id\":3,\"operation\":\"shareSocket\",\"port\":%u}", port);
	ask(daemon, request, xsk_socket__fd(xsk));	/* so that `xsknetd stats` knows its counters, too */
	fprintf(stderr, "port %u has %s\n", port, mac);

	struct pollfd ready[] = { { xsk_socket__fd(xsk), POLLIN, 0 }, { daemon, POLLIN, 0 } };
	for (long answered = 0; answered < atol(argv[4]);) {
		__u32 done = xsk_ring_cons__peek(&completion, BATCH, &from);
		for (__u32 i = 0; i < done; i++)
			give(*xsk_ring_cons__comp_addr(&completion, from + i));
		xsk_ring_cons__release(&completion, done);

		__u32 received = xsk_ring_cons__peek(&rx, BATCH, &from);
		for (__u32 i = 0; i < received; i++) {
			struct xdp_desc frame = *xsk_ring_cons__rx_desc(&rx, from + i);
			if (turn(xsk_umem__get_data(memory, frame.addr), frame.len)) {
				answered += xsk_ring_prod__reserve(&tx, 1, &to);
				*xsk_ring_prod__tx_desc(&tx, to) = frame;
				xsk_ring_prod__submit(&tx, 1);
			} else {
				give(frame.addr);
			}
		}
		xsk_ring_cons__release(&rx, received);
		while (xsk_ring_prod__needs_wakeup(&tx) && sendto(ready[0].fd, NULL, 0, MSG_DONTWAIT, NULL, 0) < 0)
			check(errno == EAGAIN || errno == EBUSY || errno == ENOBUFS, "sendto");
		if (received + done == 0)
			poll(ready, 2, -1);
		check(ready[1].revents == 0 || hear(daemon), "the port is lost");
	}
	return 0;	/* the daemon closes the port with the connection */
}
