// SPDX-License-Identifier: (GPL-2.0-only OR MIT)
/*
 * On the uplink's tc egress, while a tap is to get what is sent: copies what the host sends. Frames of ports do not
 * come here, because XDP hands them to the NIC's driver. It answers for nothing: the packet goes on as if it were not
 * there.
 */

/* As copy_frame_to_tap(). */
__noinline int copy_skb_to_tap(struct __sk_buff *skb, struct tap_view *view, __u32 slot)
{
	return copy_to_tap(NULL, skb, view, slot);
}

/*
 * Behind the IPv6 header alone: what walks over extension headers reads frames of XDP. False: there are some, and the
 * rest is not read.
 */
static __always_inline bool describe6_of_skb(const struct packet *packet, struct described *is)
{
	struct cursor at = { .at = packet->ip6 + 1, .end = packet->at.end };
	union upper_word word = {}, *read;

	switch (packet->ip6->nexthdr) {
	case IPPROTO_HOPOPTS:
	case IPPROTO_ROUTING:
	case IPPROTO_DSTOPTS:
	case IPPROTO_AH:
	case IPPROTO_FRAGMENT:
		return false;
	}
	read = take(&at, sizeof(*read));
	if (read)
		word = *read;
	*is = describe(packet->ip6->nexthdr, true, read, word);
	return true;
}

SEC("classifier")
int tap(struct __sk_buff *skb)
{
	const struct xsknet_tap_state *state = tap_state();
	struct tap_view view = {};
	struct packet packet = {};
	struct described is = {};
	bool is_read = true;
	__u32 slot, slots;

	if (!state)
		return TC_ACT_UNSPEC; /* cannot be: an array is full from the first; the verifier asks */
	slots = READ_ONCE(state->sent);
	if (!slots)
		return TC_ACT_UNSPEC;
	/* What has too many tags is seen, too. */
	parse_whole_skb(&packet, skb);
	if (!packet.eth)
		return TC_ACT_UNSPEC;
	parse_network(&packet);
	if (packet.ip4)
		is = describe4(&packet);
	else if (packet.ip6)
		is_read = describe6_of_skb(&packet, &is);
	view_packet(&view, &packet, is, is_read);
	view.tapped.time = bpf_ktime_get_ns();
	view.tapped.length = packet.length;
	view.tapped.became = XSKNET_TO_UPLINK;
	view.tapped.way = XSKNET_TAPPED_SENT_BY_HOST;
	for (slot = 0; slot < XSKNET_MAX_TAPS; slot++) {
		if (slots & 1U << slot)
			copy_skb_to_tap(skb, &view, slot);
	}
	return TC_ACT_UNSPEC;
}
