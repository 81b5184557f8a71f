package emulator

import (
	"context"
	"errors"
	"sync"

	"waybill.dev/emulator/internal/sideport"
)

// metadataServers are the additional ones, by the account that each calls the default.
type metadataServers struct {
	mu        sync.Mutex
	closed    bool
	byAccount map[string]metadataServer
}

type metadataServer struct {
	addr   string
	server *sideport.Server
}

// Metadata returns the address of a metadata server, as host:port, that knows the account alone and calls it the
// default: the GCE_METADATA_HOST of one service among several. It is started on a free loopback port at the first call
// for the account, and runs until the Emulator stops; the context bounds its start. It fails when the account is not an
// email address.
func (e *Emulator) Metadata(ctx context.Context, account string) (addr string, err error) {
	handler, err := e.issuer.Metadata(account)
	if err != nil {
		return "", err
	}
	m := &e.metadata
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return "", errors.New("emulator: it has been shut down")
	}
	if known, ok := m.byAccount[account]; ok {
		return known.addr, nil
	}
	listener, err := sideport.Listen(ctx, "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	started := metadataServer{
		addr:   listener.Addr().String(),
		server: sideport.Serve(ctx, listener, guardHost(e.config, handler), e.config.Logger),
	}
	if m.byAccount == nil {
		m.byAccount = make(map[string]metadataServer)
	}
	m.byAccount[account] = started
	return started.addr, nil
}

func (m *metadataServers) shutdown(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	var errs []error
	for _, s := range m.byAccount {
		errs = append(errs, s.server.Shutdown(ctx))
	}
	return errors.Join(errs...)
}
