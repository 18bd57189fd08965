/*
 * ring-client SOCKET ADDRESS FAR_MAC FAR_ADDRESS VICTIM_MAC VICTIM_ADDRESS: a client of a port with BPF rings that does
 * with its descriptors what it should not. It reads orders from standard input, one a line, and answers each with a
 * line that begins with the order:
 *
 *   open                   opens a port at ADDRESS
 *   scribble SEED CALLS    sends frames of all kinds from slots that another thread overwrites at random
 *   run SEED CALLS         runs the program from eight threads, with arguments at random
 *   pass                   gives its descriptors to another process, which answers for itself from then on
 *   close                  closes the port, and keeps all descriptors
 *   send                   sends 64 good frames; how many entries were taken
 *   give                   gives all chunks away again that have come back with a frame, and answers how many
 *   attach                 attaches the program to the devices of its network namespace, in each mode
 *   powers                 all else that the kernel offers for its descriptors, one line each
 *   cycle COUNT            opens and closes so many ports; milliseconds per opening, of the first and the last fifth
 *   tagged                 in a network namespace of its own: attaches the program to a device whose frames have a tag
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define SLOTS 4096
#define CHUNK 2048
#define THREADS 8
#define BATCH 64

enum { XSK, MEMORY, CONTROL, WAKE, PROGRAM, GIVEN };
static const char *const names[GIVEN] = { "xsk", "memory", "control", "wake", "program" };

struct control {
	uint32_t asleep, zero[15];
	struct {
		uint32_t sequence, value;
	} rx[SLOTS];
	struct {
		uint32_t sequence, address, length, zero;
	} tx[SLOTS];
};

static int connection, given[GIVEN], id = 1;
static char answer[65537];
static volatile struct control *control;
static uint8_t *memory, own_mac[6], far_mac[6], victim_mac[6];
static uint32_t chunks, own_ip, far_ip, victim_ip, rx_slots, tx_slots, tx_next, rx_next;
static long port;
static atomic_bool over;

static uint32_t draw(uint64_t *state)
{
	*state = *state * 6364136223846793005u + 1442695040888963407u;
	return *state >> 33;
}

static int bpf(int command, union bpf_attr *attr)
{
	return syscall(__NR_bpf, command, attr, sizeof(*attr));
}

/* What a call came to: `ok` or the error. The descriptor that it made, if any, is closed. */
static const char *became(long result, bool makes)
{
	if (result < 0)
		return errno == 524 ? "ENOTSUPP" : strerrorname_np(errno);
	if (makes)
		close(result);
	return "ok";
}

/* Control protocol */

static int ask(const char *message)
{
	char room[512];
	struct iovec part = { answer, sizeof(answer) - 1 };
	struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	ssize_t came;

	if (send(connection, message, strlen(message), MSG_NOSIGNAL) < 0 || (came = recvmsg(connection, &head, 0)) <= 0)
		err(1, "%s", message);
	answer[came] = 0;
	for (struct cmsghdr *each = CMSG_FIRSTHDR(&head); each; each = CMSG_NXTHDR(&head, each))
		if (each->cmsg_type == SCM_RIGHTS && each->cmsg_len == CMSG_LEN(sizeof(given)))
			memcpy(given, CMSG_DATA(each), sizeof(given));
	return strstr(answer, "\"result\"") != NULL;
}

static uint32_t number(const char *key)
{
	const char *at = strstr(answer, key);

	if (!at)
		errx(1, "no %s in %s", key, answer);
	return strtoul(at + strlen(key), NULL, 10);
}

static void parse_mac(const char *text, uint8_t *mac)
{
	if (sscanf(text, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5) != 6)
		errx(2, "not a MAC: %s", text);
}

static void map(void)
{
	size_t page = sysconf(_SC_PAGESIZE), bytes = (sizeof(struct control) + page - 1) / page * page;

	memory = mmap(NULL, (size_t)chunks * CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, given[MEMORY], 0);
	control = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, given[CONTROL], 0);
	if (memory == MAP_FAILED || control == MAP_FAILED)
		err(1, "mmap");
}

static bool open_port(const char *address)
{
	char message[512];

	snprintf(message, sizeof(message),
		 "{\"version\":2,\"id\":%d,\"operation\":\"openPort\",\"port\":{\"uplink\":\"card0\",\"addresses\":"
		 "[\"%s/24\"],\"rings\":\"bpf\",\"ringSize\":4096,\"frames\":8192,\"frameSize\":2048}}",
		 ++id, address);
	if (!ask(message)) {
		printf("open refused %s\n", answer);
		return false;
	}
	port = number("\"port\":");
	chunks = number("\"frames\":");
	rx_slots = number("\"rxSlots\":");
	tx_slots = number("\"txSlots\":");
	tx_next = number("\"txPosition\":");
	rx_next = number("\"rxPosition\":") + rx_slots;
	parse_mac(strstr(answer, "\"mac\":\"") + 7, own_mac);
	return true;
}

static bool close_port(void)
{
	char message[128];

	snprintf(message, sizeof(message), "{\"version\":2,\"id\":%d,\"operation\":\"closePort\",\"port\":%ld}", ++id,
		 port);
	return ask(message);
}

static void cycle(const char *address, long count)
{
	double first = 0, last = 0;
	long done;

	for (done = 0; done < count; done++) {
		struct timespec before, after;
		double took;

		clock_gettime(CLOCK_MONOTONIC, &before);
		if (!open_port(address))
			break;
		clock_gettime(CLOCK_MONOTONIC, &after);
		for (int what = 0; what < GIVEN; what++)
			close(given[what]);
		if (!close_port())
			break;
		took = (after.tv_sec - before.tv_sec) * 1e3 + (after.tv_nsec - before.tv_nsec) / 1e6;
		if (done < count / 5)
			first += took;
		else if (done >= count - count / 5)
			last += took;
	}
	printf("cycle %ld done, first %.1f ms, last %.1f ms\n", done, first / (count / 5), last / (count / 5));
}

/* Frames */

/* A datagram from this port to the far end. */
static uint32_t good_frame(uint8_t *at, uint32_t length)
{
	struct {
		uint8_t to[6], from[6];
		uint16_t type;
		uint8_t version, service;
		uint16_t total, identification, fragment;
		uint8_t ttl, protocol;
		uint16_t checksum;
		uint32_t source, destination;
		uint16_t ports[2], datagram, none;
	} __attribute__((packed)) head = { .type = htons(0x0800), .version = 0x45, .ttl = 64, .protocol = IPPROTO_UDP };
	uint32_t sum = 0;

	if (length < 60)
		length = 60;
	memcpy(head.to, far_mac, 6);
	memcpy(head.from, own_mac, 6);
	head.total = htons(length - 14);
	head.source = own_ip;
	head.destination = far_ip;
	head.ports[0] = head.ports[1] = htons(9);
	head.datagram = htons(length - 34);
	for (int i = 0; i < 20; i += 2) {
		uint16_t word;

		memcpy(&word, &head.version + i, 2);
		sum += word;
	}
	sum = (sum & 0xffff) + (sum >> 16);
	head.checksum = ~(uint16_t)((sum & 0xffff) + (sum >> 16));
	memcpy(at, &head, sizeof(head));
	memset(at + sizeof(head), 0xaa, length - sizeof(head));
	return length;
}

/* Mostly one that the guard has to stop. */
static uint32_t any_frame(uint8_t *at, uint64_t *seed)
{
	uint32_t length = good_frame(at, 60 + draw(seed) % 1400);

	switch (draw(seed) % 10) {
	case 0:
		break;
	case 1: /* as another port */
		memcpy(at + 6, victim_mac, 6);
		memcpy(at + 26, &victim_ip, 4);
		break;
	case 2: /* with its own MAC and the address of another port */
		memcpy(at + 26, &victim_ip, 4);
		break;
	case 3: /* to another port */
		memcpy(at, victim_mac, 6);
		memcpy(at + 30, &victim_ip, 4);
		break;
	case 4: /* in a VLAN */
		memmove(at + 16, at + 12, length - 12);
		memcpy(at + 12, (uint8_t[]){ 0x81, 0, 0, 5 }, 4);
		length += 4;
		break;
	case 5: /* a DHCP server's */
		memcpy(at + 36, (uint8_t[]){ 0, 68 }, 2);
		break;
	case 6: /* ARP for the address of another port */
		memcpy(at + 12, (uint8_t[]){ 8, 6, 0, 1, 8, 0, 6, 4, 0, 2 }, 10);
		memcpy(at + 22, own_mac, 6);
		memcpy(at + 28, &victim_ip, 4);
		break;
	case 7: /* of another protocol */
		at[12] = draw(seed);
		at[13] = draw(seed);
		break;
	default: /* a few bytes of the headers at random */
		for (int i = draw(seed) % 8; i >= 0; i--)
			at[draw(seed) % 42] = draw(seed);
	}
	return length;
}

/* Gives `count` slots away from where the program is, as far as this side knows, with frames by `make`. */
static void put(uint32_t count, uint64_t *seed)
{
	/* Where others write sequences, too, this may have run ahead of the program. */
	for (uint32_t p = tx_next - 256; seed && p != tx_next; p++)
		if (control->tx[p & (tx_slots - 1)].sequence != 2 * p + 2)
			control->tx[p & (tx_slots - 1)].sequence = 2 * p + 1;
	for (uint32_t p = tx_next; p != tx_next + count; p++) {
		uint32_t slot = p & (tx_slots - 1), chunk = seed ? draw(seed) % chunks : p % chunks;
		uint32_t offset = seed ? draw(seed) % 512 : 256;
		uint8_t *at = memory + (size_t)chunk * CHUNK + offset;
		uint32_t length = seed ? any_frame(at, seed) : good_frame(at, 60);

		control->tx[slot].address = chunk * CHUNK + offset;
		control->tx[slot].length = length;
		if (seed && draw(seed) % 16 == 0) {
			control->tx[slot].address = draw(seed);
			control->tx[slot].length = draw(seed) % 4 ? draw(seed) % 3000 : draw(seed);
		}
		atomic_thread_fence(memory_order_release);
		control->tx[slot].sequence = 2 * p + 1;
	}
}

static int run_live(uint32_t repeat)
{
	static const uint8_t nothing[64];
	union bpf_attr attr = { .test = { .prog_fd = given[PROGRAM], .data_in = (uintptr_t)nothing,
					  .data_size_in = sizeof(nothing), .repeat = repeat, .batch_size = BATCH,
					  .flags = BPF_F_TEST_XDP_LIVE_FRAMES } };

	return bpf(BPF_PROG_TEST_RUN, &attr);
}

/* Gives all chunks away for reception, in whatever slots the program may look at next. */
static uint32_t post(uint64_t *seed)
{
	uint32_t given_away;

	for (given_away = 0; given_away < rx_slots; given_away++) {
		uint32_t slot = rx_next & (rx_slots - 1);

		if (control->rx[slot].sequence != 2 * (rx_next - rx_slots) + 2)
			break;
		control->rx[slot].value = seed && draw(seed) % 8 == 0 ? draw(seed) : rx_next % chunks;
		atomic_thread_fence(memory_order_release);
		control->rx[slot].sequence = 2 * rx_next++ + 1;
	}
	return given_away;
}

/* Half of them are near those that the program looks for. */
static uint32_t any_sequence(uint32_t position, uint64_t *seed)
{
	return draw(seed) % 2 ? draw(seed) : 2 * (position + draw(seed) % 128) + draw(seed) % 3;
}

static void *scribble(void *of)
{
	uint64_t seed = *(uint64_t *)of;

	while (!atomic_load(&over)) {
		uint32_t slot = draw(&seed) % SLOTS;

		switch (draw(&seed) % 8) {
		case 0:
			control->tx[slot].sequence = any_sequence(tx_next, &seed);
			break;
		case 1:
			control->rx[slot].sequence = any_sequence(rx_next, &seed);
			break;
		case 2:
			control->tx[slot].address = draw(&seed);
			break;
		case 3:
			control->tx[slot].length = draw(&seed) << (draw(&seed) % 22);
			break;
		case 4:
			control->rx[slot].value = draw(&seed) << (draw(&seed) % 22);
			break;
		case 5:
			control->asleep = draw(&seed);
			break;
		default: /* a frame, perhaps while it is copied */
			any_frame(memory + (size_t)(draw(&seed) % chunks) * CHUNK + 256, &seed);
		}
		if (draw(&seed) % 64 == 0)
			sched_yield();
	}
	return NULL;
}

/* Finds the program again: gives all slots away, and looks which ones come back. */
static void resynchronize(void)
{
	uint32_t from = tx_next - tx_slots / 2;

	for (uint32_t p = from; p != from + tx_slots; p++)
		control->tx[p & (tx_slots - 1)].sequence = 2 * p + 1;
	run_live(BATCH);
	for (uint32_t p = from; p != from + tx_slots; p++)
		/* A single one may be a random number. */
		if (control->tx[p & (tx_slots - 1)].sequence == 2 * p + 2 &&
		    control->tx[(p - 1) & (tx_slots - 1)].sequence == 2 * p)
			tx_next = p + 1;
}

/* The program has gone this far; where a slot was overwritten, the next one tells. */
static void follow(void)
{
	static _Atomic uint32_t stuck;
	uint32_t before = tx_next;

	for (uint32_t p = before; p != before + 2 * BATCH; p++)
		if (control->tx[p & (tx_slots - 1)].sequence == 2 * p + 2)
			tx_next = p + 1;
	if (tx_next != before)
		stuck = 0;
	else if (++stuck % 64 == 0)
		resynchronize();
}

static void scribbled(uint64_t seed, long calls)
{
	uint64_t other = ~seed;
	pthread_t thread;

	over = false;
	pthread_create(&thread, NULL, scribble, &other);
	for (long i = 0; i < calls; i++) {
		put(BATCH, &seed);
		if (run_live(BATCH))
			err(1, "BPF_PROG_TEST_RUN");
		follow();
		post(&seed);
		if (i % 64 == 0) { /* reception goes on, wherever the program is */
			rx_next += draw(&seed) % 64;
			for (uint32_t p = rx_next - rx_slots; p != rx_next; p++)
				if (control->rx[p & (rx_slots - 1)].sequence != 2 * p + 2)
					control->rx[p & (rx_slots - 1)].sequence = 2 * p + 1;
		}
	}
	over = true;
	pthread_join(thread, NULL);
	printf("scribble %ld calls\n", calls);
}

struct runner {
	pthread_t thread;
	uint64_t seed;
	long calls, done, refused;
};

static void *run_at_random(void *of)
{
	struct runner *own = of;
	uint64_t *seed = &own->seed;
	static __thread uint8_t data[8192], out[8192];
	struct xdp_md context, after;

	for (long i = 0; i < own->calls; i++) {
		uint32_t length = draw(seed) % 3 ? 14 + draw(seed) % 1500 : draw(seed) % sizeof(data);
		union bpf_attr attr = { .test = { .prog_fd = given[PROGRAM], .data_in = (uintptr_t)data,
						  .data_size_in = length } };

		put(8, seed);
		any_frame(data, seed);
		if (draw(seed) % 4) {
			attr.test.flags = BPF_F_TEST_XDP_LIVE_FRAMES;
			attr.test.batch_size = draw(seed) % 300;
		} else if (draw(seed) % 2) {
			attr.test.data_out = (uintptr_t)out;
			attr.test.data_size_out = draw(seed) % sizeof(out);
		}
		attr.test.repeat = draw(seed) % 100;
		if (draw(seed) % 16 == 0)
			attr.test.flags = draw(seed);
		if (draw(seed) % 16 == 0)
			attr.test.cpu = draw(seed);
		if (draw(seed) % 2) {
			/* Of a device that there is, mostly, and with metadata. */
			context = (struct xdp_md){ .data_meta = draw(seed) % 2 ? 0 : 4 * (draw(seed) % 64) };
			context.data = draw(seed) % 2 ? context.data_meta : draw(seed) % 256;
			context.data = draw(seed) % 4 ? 4 * (draw(seed) % 64) : context.data;
			context.data_end = draw(seed) % 8 ? length : draw(seed);
			context.ingress_ifindex = draw(seed) % 32;
			context.rx_queue_index = draw(seed) % 4 ? 0 : draw(seed) % 8;
			context.egress_ifindex = draw(seed) % 16 ? 0 : draw(seed) % 32;
			attr.test.ctx_in = (uintptr_t)&context;
			attr.test.ctx_size_in = draw(seed) % 8 ? sizeof(context) : draw(seed) % 64;
			if (draw(seed) % 4 == 0 && !(attr.test.flags & BPF_F_TEST_XDP_LIVE_FRAMES)) {
				attr.test.ctx_out = (uintptr_t)&after;
				attr.test.ctx_size_out = sizeof(after);
			}
		}
		if (bpf(BPF_PROG_TEST_RUN, &attr))
			own->refused++;
		else
			own->done++;
		follow();
	}
	return NULL;
}

static void run(uint64_t seed, long calls)
{
	struct runner runners[THREADS];
	long done = 0, refused = 0;

	for (int i = 0; i < THREADS; i++) {
		runners[i] = (struct runner){ .seed = seed + i, .calls = calls / THREADS };
		pthread_create(&runners[i].thread, NULL, run_at_random, &runners[i]);
	}
	for (int i = 0; i < THREADS; i++) {
		pthread_join(runners[i].thread, NULL);
		done += runners[i].done;
		refused += runners[i].refused;
	}
	printf("run %ld done %ld refused\n", done, refused);
}

static uint32_t taken(void)
{
	uint32_t back = 0;

	for (uint32_t slot = 0; slot < tx_slots; slot++)
		back += control->tx[slot].sequence % 2 == 0 && control->tx[slot].zero == 1;
	return back;
}

/* Which position is next is known only before anything was scribbled; else each that may be is tried. */
static void send_good(void)
{
	uint32_t failed = 0;

	for (uint32_t slot = 0; slot < tx_slots; slot++)
		control->tx[slot].zero = 1;
	put(BATCH, NULL);
	for (uint32_t slot = 0; slot < tx_slots; slot++)
		if (control->tx[slot].sequence % 2 == 0)
			control->tx[slot].zero = 0;
	if (run_live(BATCH))
		failed = errno;
	printf("send %u taken, %s\n", taken(), failed ? strerrorname_np(failed) : "ok");
	follow();
}

/* What the kernel offers */

static int attach_to(int device, int mode)
{
	union bpf_attr attr = { .link_create = { .prog_fd = given[PROGRAM], .target_ifindex = device,
						 .attach_type = BPF_XDP, .flags = mode } };

	return bpf(BPF_LINK_CREATE, &attr);
}

static void attach(void)
{
	static const int modes[] = { 0, XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE };
	struct if_nameindex *all = if_nameindex();
	int done = 0, refused[256] = { 0 };

	for (struct if_nameindex *each = all; each->if_index; each++)
		for (int i = 0; i < 3; i++) {
			int link = attach_to(each->if_index, modes[i]);

			if (link < 0) {
				refused[errno & 255]++;
				continue;
			}
			done++;
			/* The loopback device keeps it until the end. */
			if (each->if_index != 1)
				close(link);
		}
	printf("attach %d done", done);
	for (int i = 0; i < 256; i++)
		if (refused[i])
			printf(", %d %s", refused[i], strerrorname_np(i));
	printf("\n");
}

static void tell(int what, const char *power, const char *how)
{
	printf("  %s: %s %s\n", names[what], power, how);
}

static void try_mapping(int what, int protection, const char *kinds, size_t length, long offset)
{
	void *at = mmap(NULL, length, protection, MAP_SHARED, given[what], offset);
	char told[64];

	snprintf(told, sizeof(told), "mmap %s %zu at %ld", kinds, length, offset);
	tell(what, told, at == MAP_FAILED ? strerrorname_np(errno) : "ok");
	if (at != MAP_FAILED)
		munmap(at, length);
}

static void powers(void)
{
	static uint64_t value[sizeof(struct control) / 8 + 1];
	uint32_t key = 0, next;
	char text[64], room[256];

	for (int what = 0; what < GIVEN; what++) {
		union bpf_attr attr = { .info = { .bpf_fd = given[what], .info_len = sizeof(room),
						  .info = (uintptr_t)room } };

		memset(room, 0, sizeof(room));
		tell(what, "get info", became(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr), false));
		snprintf(text, sizeof(text), "/sys/fs/bpf/ring-client-%d", what);
		attr = (union bpf_attr){ .pathname = (uintptr_t)text, .bpf_fd = given[what] };
		tell(what, "pin in the host's bpffs", became(bpf(BPF_OBJ_PIN, &attr), false));
		unlink(text);
		attr = (union bpf_attr){ .map_fd = given[what], .key = (uintptr_t)&key, .value = (uintptr_t)value };
		tell(what, "look up", became(bpf(BPF_MAP_LOOKUP_ELEM, &attr), false));
		tell(what, "update", became(bpf(BPF_MAP_UPDATE_ELEM, &attr), false));
		attr.next_key = (uintptr_t)&next;
		tell(what, "next key", became(bpf(BPF_MAP_GET_NEXT_KEY, &attr), false));
		attr = (union bpf_attr){ .map_fd = given[what], .key = (uintptr_t)&key };
		tell(what, "delete", became(bpf(BPF_MAP_DELETE_ELEM, &attr), false));
		attr = (union bpf_attr){ .map_fd = given[what], .key = (uintptr_t)&key, .value = (uintptr_t)value };
		tell(what, "look up and delete", became(bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr), false));
		attr = (union bpf_attr){ .batch = { .map_fd = given[what], .count = 1, .out_batch = (uintptr_t)room,
						    .keys = (uintptr_t)&key, .values = (uintptr_t)value } };
		tell(what, "look up in a batch", became(bpf(BPF_MAP_LOOKUP_BATCH, &attr), false));
		attr = (union bpf_attr){ .batch = { .map_fd = given[what], .count = 1, .keys = (uintptr_t)&key,
						    .values = (uintptr_t)value } };
		tell(what, "update in a batch", became(bpf(BPF_MAP_UPDATE_BATCH, &attr), false));
		attr = (union bpf_attr){ .batch = { .map_fd = given[what], .count = 1, .keys = (uintptr_t)&key } };
		tell(what, "delete in a batch", became(bpf(BPF_MAP_DELETE_BATCH, &attr), false));
		attr = (union bpf_attr){ .prog_bind_map = { .prog_fd = given[PROGRAM], .map_fd = given[what] } };
		tell(what, "bind to the program", became(bpf(BPF_PROG_BIND_MAP, &attr), false));
		attr = (union bpf_attr){ .attach_bpf_fd = given[what], .target_fd = 1, .attach_type = BPF_XDP };
		tell(what, "BPF_PROG_ATTACH", became(bpf(BPF_PROG_ATTACH, &attr), false));
		attr = (union bpf_attr){ .raw_tracepoint = { .prog_fd = given[what] } };
		tell(what, "BPF_RAW_TRACEPOINT_OPEN", became(bpf(BPF_RAW_TRACEPOINT_OPEN, &attr), true));
		attr = (union bpf_attr){ .test = { .prog_fd = given[what], .data_in = (uintptr_t)value,
						   .data_size_in = 64 } };
		tell(what, "BPF_PROG_TEST_RUN", became(bpf(BPF_PROG_TEST_RUN, &attr), false));
		tell(what, "truncate", became(ftruncate(given[what], 0), false));
		tell(what, "fallocate",
		     became(fallocate(given[what], FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), false));
		tell(what, "read", became(read(given[what], room, sizeof(room)), false));
		tell(what, "write", became(write(given[what], room, sizeof(room)), false));
		snprintf(text, sizeof(text), "/proc/self/fd/%d", given[what]);
		tell(what, "open again", became(open(text, O_RDWR), true));
		for (int protection = 0; protection < 8; protection++) {
			const char kinds[] = { protection & PROT_READ ? 'r' : '-', protection & PROT_WRITE ? 'w' : '-',
					       protection & PROT_EXEC ? 'x' : '-', 0 };
			static const size_t lengths[] = { 4096, 98304, 102400, 16777216, 33554432, 1ul << 40 };

			for (size_t i = 0; i < 2 * sizeof(lengths) / sizeof(*lengths); i++)
				try_mapping(what, protection, kinds, lengths[i / 2], i % 2 * 4096);
		}
	}
	{
		union bpf_attr attr = { .map_type = BPF_MAP_TYPE_PROG_ARRAY, .key_size = 4, .value_size = 4,
					.max_entries = 1 };

		tell(PROGRAM, "a map to call it from", became(bpf(BPF_MAP_CREATE, &attr), true));
		attr = (union bpf_attr){ .start_id = 0 };
		tell(PROGRAM, "ids of others", became(bpf(BPF_PROG_GET_NEXT_ID, &attr), false));
		attr = (union bpf_attr){ .prog_id = 1 };
		tell(PROGRAM, "a descriptor by its id", became(bpf(BPF_PROG_GET_FD_BY_ID, &attr), true));
		tell(PROGRAM, "BPF_LINK_CREATE", became(attach_to(1, 0), true));
	}
	/* Of the instructions, what the kernel tells. */
	{
		struct bpf_prog_info info = { 0 };
		union bpf_attr attr = { .info = { .bpf_fd = given[PROGRAM], .info_len = sizeof(info),
						  .info = (uintptr_t)&info } };

		bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
		tell(PROGRAM, "instructions told", info.xlated_prog_len || info.jited_prog_len ? "ok" : "none");
	}
	/* Last, since it cannot be undone. The kernel refuses it while a mapping can be written. */
	munmap(memory, (size_t)chunks * CHUNK);
	munmap((void *)control, (sizeof(*control) + 4095) / 4096 * 4096);
	for (int what = 0; what < GIVEN; what++) {
		union bpf_attr attr = { .map_fd = given[what] };

		tell(what, "freeze", became(bpf(BPF_MAP_FREEZE, &attr), false));
	}
	memory = mmap(NULL, (size_t)chunks * CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED, given[MEMORY], 0);
	printf("powers told, and memory %s be written\n", memory == MAP_FAILED ? "cannot" : "can");
	exit(0);
}

/* A device that hands on a tag beside the frame */

static int request(int netlink, void *message, size_t length)
{
	struct {
		struct nlmsghdr head;
		struct nlmsgerr body;
		char rest[512];
	} reply;

	if (send(netlink, message, length, 0) < 0 || recv(netlink, &reply, sizeof(reply), 0) < 0)
		err(1, "netlink");
	return reply.head.nlmsg_type == NLMSG_ERROR ? reply.body.error : 0;
}

static void add(struct nlmsghdr *head, int type, const void *data, size_t length)
{
	struct rtattr *attribute = (void *)((char *)head + NLMSG_ALIGN(head->nlmsg_len));

	attribute->rta_type = type;
	attribute->rta_len = RTA_LENGTH(length);
	if (length)
		memcpy(RTA_DATA(attribute), data, length);
	head->nlmsg_len = NLMSG_ALIGN(head->nlmsg_len) + RTA_ALIGN(attribute->rta_len);
}

static void end_nest(struct nlmsghdr *head, size_t at)
{
	((struct rtattr *)((char *)head + at))->rta_len = head->nlmsg_len - at;
}

static size_t nest(struct nlmsghdr *head, int type)
{
	size_t at = NLMSG_ALIGN(head->nlmsg_len);

	add(head, type, NULL, 0);
	return at;
}

struct link_request {
	struct nlmsghdr head;
	struct ifinfomsg info;
	char room[512];
};

static struct link_request begin(int type, int flags, int device)
{
	return (struct link_request){
		.head = { NLMSG_LENGTH(sizeof(struct ifinfomsg)), type, NLM_F_REQUEST | NLM_F_ACK | flags, 1, 0 },
		.info = { .ifi_index = device },
	};
}

static void up(int netlink, const char *device)
{
	struct link_request link = begin(RTM_NEWLINK, 0, if_nametoindex(device));

	link.info.ifi_flags = link.info.ifi_change = IFF_UP;
	if (request(netlink, &link, link.head.nlmsg_len))
		errx(1, "%s does not come up", device);
}

/*
 * v0 - v1, and v0.5, whose frames v0 gets with a tag of VLAN 5 beside them: v1 receives them so. What the program on v1
 * redirects keeps its tag where the kernel runs it in skb mode.
 */
static void tagged(void)
{
	struct link_request link = begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
	struct sockaddr_ll to = { .sll_family = AF_PACKET, .sll_halen = 6 };
	int netlink, packets, error;
	size_t info, data, peer;
	uint8_t frame[60];
	const char *sender;
	uint32_t first;
	uint16_t vlan = 5;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		printf("tagged no namespace, %s\n", strerrorname_np(errno));
		return;
	}
	netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	/* Numbers that the port's own devices do not have. */
	link.info.ifi_index = 1000;
	add(&link.head, IFLA_IFNAME, "v0", 3);
	info = nest(&link.head, IFLA_LINKINFO);
	add(&link.head, IFLA_INFO_KIND, "veth", 5);
	data = nest(&link.head, IFLA_INFO_DATA);
	peer = nest(&link.head, 1 /* VETH_INFO_PEER */);
	*(struct ifinfomsg *)((char *)&link + link.head.nlmsg_len) = (struct ifinfomsg){ .ifi_index = 1001 };
	link.head.nlmsg_len += sizeof(struct ifinfomsg);
	add(&link.head, IFLA_IFNAME, "v1", 3);
	end_nest(&link.head, peer);
	end_nest(&link.head, data);
	end_nest(&link.head, info);
	if ((error = request(netlink, &link, link.head.nlmsg_len)))
		errx(1, "a pair: %s", strerror(-error));
	link = begin(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, 0);
	add(&link.head, IFLA_LINK, &(uint32_t){ if_nametoindex("v0") }, 4);
	add(&link.head, IFLA_IFNAME, "v0.5", 5);
	info = nest(&link.head, IFLA_LINKINFO);
	add(&link.head, IFLA_INFO_KIND, "vlan", 5);
	data = nest(&link.head, IFLA_INFO_DATA);
	add(&link.head, IFLA_VLAN_ID, &vlan, sizeof(vlan));
	end_nest(&link.head, data);
	end_nest(&link.head, info);
	/* Without such devices frames are sent without a tag. */
	if ((error = request(netlink, &link, link.head.nlmsg_len)) && error != -EOPNOTSUPP)
		errx(1, "a VLAN device: %s", strerror(-error));
	sender = error ? "v0" : "v0.5";
	up(netlink, "v0");
	up(netlink, "v1");
	up(netlink, sender);

	/* As the owner of the namespace may, by netlink. */
	link = begin(RTM_SETLINK, 0, if_nametoindex("v1"));
	info = nest(&link.head, IFLA_XDP | NLA_F_NESTED);
	add(&link.head, IFLA_XDP_FD, &given[PROGRAM], 4);
	add(&link.head, IFLA_XDP_FLAGS, &(uint32_t){ XDP_FLAGS_SKB_MODE }, 4);
	end_nest(&link.head, info);
	error = request(netlink, &link, link.head.nlmsg_len);

	put(BATCH, NULL);
	good_frame(frame, sizeof(frame));
	packets = socket(AF_PACKET, SOCK_RAW, 0);
	to.sll_ifindex = if_nametoindex(sender);
	first = tx_next;
	/* A device sends nothing until a moment after it has come up. */
	for (int i = 0; i < 200 && !error && (int)(tx_next - first) < BATCH; i++) {
		for (int n = 0; n < 8; n++)
			sendto(packets, frame, sizeof(frame), 0, (void *)&to, sizeof(to));
		usleep(10000);
		while ((int)(tx_next - first) < BATCH &&
		       control->tx[tx_next & (tx_slots - 1)].sequence == 2 * tx_next + 2)
			tx_next++;
	}
	printf("tagged %s by netlink, %s by BPF_LINK_CREATE, %u taken\n", error ? strerrorname_np(-error) : "attached",
	       became(attach_to(if_nametoindex("v0"), XDP_FLAGS_SKB_MODE), true), tx_next - first);
}

/* Another process goes on, which has the descriptors from a message. */
static void pass(void)
{
	char room[CMSG_SPACE(sizeof(given))] = { 0 }, byte = 0;
	struct iovec part = { &byte, 1 };
	struct msghdr head = { .msg_iov = &part, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room) };
	struct cmsghdr *message;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		err(1, "socketpair");
	if (fork() == 0) {
		for (int what = 0; what < GIVEN; what++)
			close(given[what]);
		munmap(memory, (size_t)chunks * CHUNK);
		if (recvmsg(ends[1], &head, 0) != 1)
			err(1, "recvmsg");
		memcpy(given, CMSG_DATA(CMSG_FIRSTHDR(&head)), sizeof(given));
		map();
		printf("pass %d\n", getpid());
		return;
	}
	message = CMSG_FIRSTHDR(&head);
	*message = (struct cmsghdr){ CMSG_LEN(sizeof(given)), SOL_SOCKET, SCM_RIGHTS };
	memcpy(CMSG_DATA(message), given, sizeof(given));
	if (sendmsg(ends[0], &head, 0) != 1)
		err(1, "sendmsg");
	for (int what = 0; what < GIVEN; what++)
		close(given[what]);
	wait(NULL);
	exit(0);
}

int main(int count, char **word)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char line[128];

	if (count != 7)
		errx(2, "ring-client SOCKET ADDRESS FAR_MAC FAR_ADDRESS VICTIM_MAC VICTIM_ADDRESS");
	setvbuf(stdout, NULL, _IOLBF, 0);
	strncpy(address.sun_path, word[1], sizeof(address.sun_path) - 1);
	own_ip = inet_addr(word[2]);
	parse_mac(word[3], far_mac);
	far_ip = inet_addr(word[4]);
	parse_mac(word[5], victim_mac);
	victim_ip = inet_addr(word[6]);
	connection = socket(AF_UNIX, SOCK_SEQPACKET, 0);
	if (connect(connection, (void *)&address, sizeof(address)))
		err(1, "%s", word[1]);
	if (!ask("{\"version\":2,\"id\":1,\"operation\":\"hello\",\"client\":\"ring-client\"}"))
		errx(1, "%s", answer);
	while (fgets(line, sizeof(line), stdin)) {
		unsigned long long seed = 0;
		long calls = 0;

		sscanf(line, "%*s %llu %ld", &seed, &calls);
		if (!strncmp(line, "open", 4)) {
			if (open_port(word[2])) {
				map();
				printf("open %ld %02x:%02x:%02x:%02x:%02x:%02x\n", port, own_mac[0], own_mac[1],
				       own_mac[2], own_mac[3], own_mac[4], own_mac[5]);
			}
		} else if (!strncmp(line, "cycle", 5)) {
			cycle(word[2], seed);
		} else if (!strncmp(line, "scribble", 8)) {
			scribbled(seed, calls);
		} else if (!strncmp(line, "run", 3)) {
			run(seed, calls);
		} else if (!strncmp(line, "pass", 4)) {
			pass();
		} else if (!strncmp(line, "close", 5)) {
			printf("close %s\n", close_port() ? "done" : answer);
		} else if (!strncmp(line, "send", 4)) {
			send_good();
		} else if (!strncmp(line, "give", 4)) {
			printf("give %u\n", post(NULL));
		} else if (!strncmp(line, "attach", 6)) {
			attach();
		} else if (!strncmp(line, "powers", 6)) {
			powers();
		} else if (!strncmp(line, "tagged", 6)) {
			tagged();
		}
	}
	return 0;
}
