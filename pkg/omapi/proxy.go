package omapi

import (
	"cmp"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// proxyFor finds the proxy of a request in the environment, as the ingestion package's HTTP library does: other than Go's own it
// also knows ALL_PROXY. (golang.org/x/net/http/httpproxy would add 120 KB to exithandler.)
func proxyFor(req *http.Request) (*url.URL, error) {
	own := cmp.Or(os.Getenv("HTTP_PROXY"), os.Getenv("http_proxy"))
	if req.URL.Scheme == "https" {
		own = cmp.Or(os.Getenv("HTTPS_PROXY"), os.Getenv("https_proxy"))
	}
	all := cmp.Or(os.Getenv("ALL_PROXY"), os.Getenv("all_proxy"))
	if own != "" || all == "" {
		return http.ProxyFromEnvironment(req)
	}
	if direct(req.URL.Hostname(), cmp.Or(os.Getenv("NO_PROXY"), os.Getenv("no_proxy"))) {
		return nil, nil //nolint:nilnil // As http.ProxyFromEnvironment.
	}
	if !strings.Contains(all, "://") {
		all = "http://" + all
	}
	return url.Parse(all)
}

// direct says that NO_PROXY names a host: itself, a domain that it is in, its network, or all by *.
func direct(host, noProxy string) bool {
	ip := net.ParseIP(host)
	if host == "localhost" || ip.IsLoopback() {
		return true
	}
	for entry := range strings.SplitSeq(noProxy, ",") {
		entry = strings.ToLower(strings.TrimSpace(entry))
		domain := strings.TrimLeft(entry, "*.")
		_, network, err := net.ParseCIDR(entry)
		switch {
		case entry == "":
		case entry == "*", err == nil && ip != nil && network.Contains(ip):
			return true
		case domain != "" && strings.HasSuffix("."+strings.ToLower(host), "."+domain):
			return true
		}
	}
	return false
}
