package emulator

import (
	"net"
	"net/http"
	"strings"
)

// guardHost refuses requests whose Host is not a name of the Emulator. A web page can rebind its own
// name to 127.0.0.1 and would then be of one origin with the Emulator; it cannot do that to a literal
// address or to a name that is not its own.
func guardHost(c Config, next http.Handler) http.Handler {
	allowed := make(map[string]bool)
	for _, h := range c.Hosts {
		allowed[strings.ToLower(h)] = true
	}
	if host, _, err := net.SplitHostPort(c.Listen); err == nil {
		allowed[strings.ToLower(host)] = true
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := strings.ToLower(hostOnly(r.Host))
		literal := net.ParseIP(host) != nil
		if !allowed[host] && !isLoopback(host) && !(literal && c.AllowNonLoopback) {
			http.Error(w, "emulator: this Host is refused: use 127.0.0.1 or localhost, or list the name in Config.Hosts", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hostOnly takes the port from a Host header, and the brackets from an IPv6 address.
func hostOnly(hostport string) string {
	if host, _, err := net.SplitHostPort(hostport); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(hostport, "["), "]")
}

// isLoopback tells a host that cannot be anything but this machine. RFC 6761 reserves localhost.
func isLoopback(host string) bool {
	host = strings.ToLower(host)
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	return host == "localhost" || strings.HasSuffix(host, ".localhost")
}
