// A foreign program: drops IPv6 and passes everything else, so that pings tell whether a driver runs it.
struct xdp_md {
	unsigned int data, data_end;
};

__attribute__((section("xdp"), used)) int filter(struct xdp_md *context)
{
	const unsigned char *frame = (void *)(long)context->data;
	const void *end = (void *)(long)context->data_end;

	if (frame + 14 <= (const unsigned char *)end && frame[12] == 0x86 && frame[13] == 0xdd)
		return 1; // XDP_DROP
	return 2; // XDP_PASS
}
char _license[] __attribute__((section("license"), used)) = "GPL";
