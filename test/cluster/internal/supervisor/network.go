package supervisor

import (
	"fmt"
	"net"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// setUpNetwork makes the node's interface. There is no way out of the
// namespace, and this is said at once to whoever tries.
func setUpNetwork() error {
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		return fmt.Errorf("finding the loopback interface: %w", err)
	}
	// Not every kernel has the dummy link type; pods need bridges anyway.
	attrs := netlink.NewLinkAttrs()
	attrs.Name = "node0"
	node := &netlink.Bridge{LinkAttrs: attrs}
	if err := netlink.LinkAdd(node); err != nil {
		return fmt.Errorf("making the bridge node0 (does the kernel have bridges?): %w", err)
	}
	for _, one := range []struct {
		link    netlink.Link
		address string
	}{
		// The API server's service address is an address of the node, so that
		// pods reach it without kube-proxy.
		{lo, ServiceIP + "/32"},
		{node, NodeIP + "/24"},
	} {
		address, err := netlink.ParseAddr(one.address)
		if err != nil {
			return fmt.Errorf("reading the address %s: %w", one.address, err)
		}
		if err := netlink.AddrAdd(one.link, address); err != nil {
			return fmt.Errorf("adding %s to %s: %w", one.address, one.link.Attrs().Name, err)
		}
		if err := netlink.LinkSetUp(one.link); err != nil {
			return fmt.Errorf("starting %s: %w", one.link.Attrs().Name, err)
		}
	}
	_, everything, err := net.ParseCIDR("0.0.0.0/0")
	if err != nil {
		return fmt.Errorf("reading the default route: %w", err)
	}
	if err := netlink.RouteAdd(&netlink.Route{Dst: everything, Type: unix.RTN_UNREACHABLE}); err != nil {
		return fmt.Errorf("adding the default route: %w", err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0); err != nil {
		return fmt.Errorf("turning on forwarding: %w", err)
	}
	return nil
}
