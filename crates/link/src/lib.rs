//! Network devices: veth pairs, namespaces, addresses, filters, offloads and XDP features
