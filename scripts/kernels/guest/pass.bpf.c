// The least that can be attached to a NIC.
__attribute__((section("xdp"), used)) int pass(void *context)
{
	return 2; // XDP_PASS
}
char _license[] __attribute__((section("license"), used)) = "GPL";
