/* A pinned port in C: asks xsknetd for one, makes its AF_XDP socket by libxdp, and counts a given number of frames.
 *	cc -O2 pinned.c -o pinned -lxdp -lbpf && ./pinned /run/xsknet/default.sock eth0 192.0.2.10/24 1000 */
#include <bpf/bpf.h>
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <xdp/xsk.h>
#define MUST(what) ((what) ? (void)0 : errx(1, "%s: %m\n%s", #what, said))
enum { FRAMES = 1024, SIZE = 2048 };
static char said[65537]; /* the daemon's last message */

static void ask(int daemon, const char *request, int fd) /* with a descriptor beside it, unless that is -1 */
{
	union { char room[CMSG_SPACE(sizeof(fd))]; struct cmsghdr head; } right = {
		.head = { CMSG_LEN(sizeof(fd)), SOL_SOCKET, SCM_RIGHTS } };
	struct iovec part = { (void *)request, strlen(request) };
	struct msghdr message = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = &right,
				  .msg_controllen = fd < 0 ? 0 : sizeof(right) };
	memcpy(CMSG_DATA(&right.head), &fd, sizeof(fd));
	MUST(sendmsg(daemon, &message, MSG_NOSIGNAL) > 0);
	MUST(recv(daemon, memset(said, 0, sizeof(said)), sizeof(said) - 1, 0) > 0 && strstr(said, "\"result\":"));
}

int main(int argc, char **argv)
{
	struct sockaddr_un path = { .sun_family = AF_UNIX };
	struct xsk_umem_config chunks = { .fill_size = FRAMES, .comp_size = FRAMES, .frame_size = SIZE };
	struct xsk_socket_config rings = { .rx_size = FRAMES, .libxdp_flags = XSK_LIBXDP_FLAGS__INHIBIT_PROG_LOAD };
	struct xsk_ring_cons completion, rx; struct xsk_ring_prod fill; struct xsk_umem *umem; struct xsk_socket *xsk;
	char request[512], xsks[256], device[16], *memory = aligned_alloc(4096, FRAMES * SIZE);
	unsigned int limit = argc == 5 ? atoi(argv[4]) : 0, count = 0, at, slot;
	int daemon = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	MUST(limit > 0 && snprintf(path.sun_path, sizeof(path.sun_path), "%s", argv[1]) < (int)sizeof(path.sun_path));
	MUST(connect(daemon, (void *)&path, sizeof(path)) == 0);
	ask(daemon, "{\"version\":2,\"id\":1,\"operation\":\"hello\",\"client\":\"pinned.c\"}", -1);
	snprintf(request, sizeof(request), "{\"version\":2,\"id\":2,\"operation\":\"openPinnedPort\",\"port\":"
		 "{\"uplink\":\"%s\",\"addresses\":[\"%s\"]}}", argv[2], argv[3]);
	ask(daemon, request, open("/proc/self/ns/net", O_RDONLY));
	MUST(sscanf(strstr(said, "\"xsks\":"), "\"xsks\":\"%255[^\"]\",\"device\":\"%15[^\"]", xsks, device) == 2);
	MUST(xsk_umem__create(&umem, memory, FRAMES * SIZE, &fill, &completion, &chunks) == 0); /* RLIMIT_MEMLOCK? */
	MUST(xsk_socket__create(&xsk, device, 0, umem, &rx, NULL, &rings) == 0); /* CAP_NET_RAW? */
	for (__u64 frame = 0; frame < FRAMES && xsk_ring_prod__reserve(&fill, 1, &slot); frame++)
		*xsk_ring_prod__fill_addr(&fill, slot) = frame * SIZE;
	xsk_ring_prod__submit(&fill, FRAMES); /* before the map knows the socket: what finds FILL empty is lost */
	MUST(xsk_socket__update_xskmap(xsk, bpf_obj_get(xsks)) == 0 && puts("counting") > 0 && fflush(stdout) == 0);
	struct pollfd ready[] = { { xsk_socket__fd(xsk), POLLIN, 0 }, { daemon, POLLIN, 0 } };
	for (unsigned int came; count < limit && poll(ready, 2, -1) > 0 && !ready[1].revents; count += came) {
		came = xsk_ring_cons__peek(&rx, FRAMES, &at);
		for (unsigned int i = 0; i < came && xsk_ring_prod__reserve(&fill, 1, &slot); i++)
			*xsk_ring_prod__fill_addr(&fill, slot) = xsk_ring_cons__rx_desc(&rx, at + i)->addr;
		xsk_ring_prod__submit(&fill, came);
		xsk_ring_cons__release(&rx, came);
	}
	return printf("%u frames\n", count) < 0 || count < limit; /* the port goes with the connection */
}
