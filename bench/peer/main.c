/* SPDX-License-Identifier: MIT */
/*
 * The peer in C: what a user of libxdp would write, with batches of 64, need_wakeup and a raised XDP_MAX_TX_SKB_BUDGET.
 *
 *	xskpeer pinned SOCKET PORT | xskpeer empty SOCKET PORT | xskpeer device NAME | xskpeer memory
 *
 * It takes orders in lines of JSON on standard input, {"id":1,"do":"rxdrop","seconds":2,…}, and answers each when it is
 * done, as the programs in TypeScript do. It lives as long as its standard input.
 */
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "loops.h"

static double number(const char *line, const char *key, double otherwise)
{
	char quoted[32];
	const char *at;

	snprintf(quoted, sizeof(quoted), "\"%s\":", key);
	at = strstr(line, quoted);
	return at ? strtod(at + strlen(quoted), NULL) : otherwise;
}

/* Hexadecimal digits. */
static void bytes(const char *line, const char *key, uint8_t *into, size_t most)
{
	char quoted[32];
	const char *at;
	unsigned int byte;

	snprintf(quoted, sizeof(quoted), "\"%s\":\"", key);
	at = strstr(line, quoted);
	for (at = at ? at + strlen(quoted) : ""; most-- > 0 && sscanf(at, "%2x", &byte) == 1; at += 2)
		*into++ = byte;
}

static bool does(const char *line, const char *what)
{
	char quoted[64];

	snprintf(quoted, sizeof(quoted), "\"do\":\"%s\"", what);
	return strstr(line, quoted);
}

int main(int argc, char **argv)
{
	static struct xsk xsk;
	static char line[4096];

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc == 4 && !strcmp(argv[1], "pinned"))
		open_pinned(&xsk, argv[2], argv[3]);
	else if (argc == 4 && !strcmp(argv[1], "empty"))
		open_pinned_empty(&xsk, argv[2], argv[3]);
	else if (argc == 3 && !strcmp(argv[1], "device"))
		open_device(&xsk, argv[2]);
	else if (argc != 2 || strcmp(argv[1], "memory"))
		errx(2, "xskpeer pinned|empty SOCKET PORT | xskpeer device NAME | xskpeer memory");
	printf("{\"event\":\"open\",\"mac\":\"%s\",\"device\":\"%s\",\"xsks\":\"%s\"}\n", xsk.mac, xsk.device,
	       xsk.xsks);

	while (fgets(line, sizeof(line), stdin)) {
		struct order order = {
			.seconds = number(line, "seconds", 3600),
			.frames = (uint64_t)number(line, "frames", 1e18),
			.mark = (uint64_t)number(line, "mark", 0),
			.length = (uint32_t)number(line, "length", 64),
			.port = (uint16_t)number(line, "port", 9),
		};
		struct result result = { 0 };
		int id = (int)number(line, "id", 0);

		bytes(line, "header", order.header, sizeof(order.header));
		if (does(line, "headroom"))
			headroom(&order, &result);
		else if (!xsk.socket)
			errx(2, "there is no socket for %s", line);
		else if (does(line, "rxdrop"))
			rxdrop(&xsk, &order, &result);
		else if (does(line, "verify"))
			verify(&xsk, &order, &result);
		else if (does(line, "asleep"))
			asleep(&xsk, &order, &result);
		else if (does(line, "l2fwd"))
			l2fwd(&xsk, &order, &result);
		else if (does(line, "txonly"))
			txonly(&xsk, &order, &result);
		else
			errx(2, "unknown order: %s", line);
		printf("{\"id\":%d,\"done\":{\"frames\":%" PRIu64 ",\"datagrams\":%" PRIu64 ",\"payload\":%" PRIu64
		       ",\"addresses\":%" PRIu32 ",\"sent\":%" PRIu64 ",\"corrupt\":%" PRIu64 ",\"calls\":%" PRIu64
		       ",\"empty\":%" PRIu64 ",\"kicks\":%" PRIu64 ",\"marked\":%" PRIu64
		       ",\"seconds\":%.9f,\"processor\":%.9f}}\n",
		       id, result.seen.frames, result.seen.datagrams, result.seen.payload, result.seen.addresses,
		       result.sent, result.corrupt, result.calls, result.empty, result.kicks, result.marked,
		       result.seconds, result.processor);
	}
	if (xsk.socket)
		xsk_socket__delete(xsk.socket); /* and the program that libxdp brought */
	return 0;
}
