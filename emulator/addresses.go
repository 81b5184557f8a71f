package emulator

// Addr is the address that the Emulator listens on, as host:port. It is what
// PUBSUB_EMULATOR_HOST and CLOUD_TASKS_EMULATOR_HOST take. When it listens on every
// interface, Addr is the loopback address with its port.
func (e *Emulator) Addr() string { return e.addr }

// URL is the base of everything that speaks HTTP, without a slash at its end.
func (e *Emulator) URL() string { return "http://" + e.addr }

// KeysURL is where the public keys of the ID tokens are, as a JWKS. A receiver verifies with these
// in place of Google's (https://www.googleapis.com/oauth2/v3/certs).
func (e *Emulator) KeysURL() string { return e.issuer.KeysURL() }

// TokenURL is the token endpoint for service-account assertions, in place of Google's
// (https://oauth2.googleapis.com/token).
func (e *Emulator) TokenURL() string { return e.issuer.TokenURL() }

// KeyFile returns a service-account key file whose token endpoint is this Emulator: content for
// GOOGLE_APPLICATION_CREDENTIALS. The account is any email address; it needs not be created. The file
// is good until the Emulator stops.
func (e *Emulator) KeyFile(account string) ([]byte, error) { return e.issuer.KeyFile(account) }

// Environ returns the variables that point Google's clients, and Waybill, at this Emulator, each
// as KEY=value. Credentials are not among them: they differ per service, see [Emulator.KeyFile].
func (e *Emulator) Environ() []string {
	return []string{
		"PUBSUB_EMULATOR_HOST=" + e.addr,
		"CLOUD_TASKS_EMULATOR_HOST=" + e.addr,
		"GCE_METADATA_HOST=" + e.addr,
	}
}
