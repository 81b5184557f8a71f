package emulator

// OldKey says what [Emulator.RotateKeys] does with the key that has signed until then.
type OldKey int

const (
	// KeepOldKey leaves it published until the next rotation, as Google does: its tokens stay valid.
	KeepOldKey OldKey = iota
	// WithdrawOldKey takes it away at once, so that its tokens are refused by every receiver that looks again.
	WithdrawOldKey
)

// RotateKeys makes a new key, by which every ID token is signed from then on, and publishes it at [Emulator.KeysURL]. At
// most one older key stays published. Key files stay good: their key is another. The file of Config.Keys follows; if it
// cannot be written, nothing has changed. It takes some hundred milliseconds.
//
// Receivers that keep the published keys, as they should, see the change when they fetch them next.
func (e *Emulator) RotateKeys(old OldKey) error {
	_, err := e.issuer.RotateKeys(old == WithdrawOldKey)
	return err
}
