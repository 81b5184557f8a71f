package emulator

import (
	"net/http"
	"time"
)

func (e *Emulator) serveAdvance(w http.ResponseWriter, r *http.Request) {
	by, err := time.ParseDuration(r.FormValue("by"))
	if err != nil || by < 0 {
		http.Error(w, "emulator: say by how much, as in POST /_emulator/advance?by=10m; time never goes back", http.StatusBadRequest)
		return
	}
	e.Advance(by)
	writeLine(w, e.clock.Now().UTC().Format(time.RFC3339Nano))
}

// serveRotateKeys answers the new key's id.
func (e *Emulator) serveRotateKeys(w http.ResponseWriter, r *http.Request) {
	old := r.FormValue("old")
	if old != "" && old != "keep" && old != "withdraw" {
		http.Error(w, "emulator: old is keep, the default, or withdraw", http.StatusBadRequest)
		return
	}
	id, err := e.issuer.RotateKeys(old == "withdraw")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	writeLine(w, id)
}

// serveMetadata answers the address of the account's metadata server.
func (e *Emulator) serveMetadata(w http.ResponseWriter, r *http.Request) {
	addr, err := e.Metadata(r.Context(), r.FormValue("account"))
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeLine(w, addr)
}

// serveGates opens a gate that stays until the Emulator stops, and answers its URL.
func (e *Emulator) serveGates(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, "emulator: the parameters cannot be read", http.StatusBadRequest)
		return
	}
	signature, ok := map[string]Signature{
		"": SignatureRemoved, "removed": SignatureRemoved, "removed-from-serverless": SignatureRemovedFromServerless, "kept": SignatureKept,
	}[r.Form.Get("signature")]
	if !ok {
		http.Error(w, "emulator: signature is removed, the default, removed-from-serverless, or kept", http.StatusBadRequest)
		return
	}
	g, err := e.Gate(r.Context(), GateConfig{
		Service:   r.Form.Get("service"),
		Target:    r.Form.Get("target"),
		Listen:    r.Form.Get("listen"),
		Invokers:  r.Form["invoker"],
		Audiences: r.Form["audience"],
		Signature: signature,
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	writeLine(w, g.URL())
}
