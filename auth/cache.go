package auth

import (
	"crypto/sha256"
	"sync"
	"time"
)

type tokenDigest [sha256.Size]byte

func digestOf(token string) tokenDigest {
	var buffer [2048]byte // enough for what Google sends, and on the stack
	return sha256.Sum256(append(buffer[:0], token...))
}

// verified is a token that passed every check, and the key that it passed with.
type verified struct {
	identity Identity
	name     keyName
	key      keyPrint
}

// tokenCache remembers verified tokens by their SHA-256. When it is full the oldest goes: with tokens
// that live for an hour, that is nearly the least recently used and needs no write on a hit.
// To put something into a nil cache does nothing.
type tokenCache struct {
	mu      sync.RWMutex
	entries map[tokenDigest]verified
	order   []tokenDigest // a ring, oldest at next once it is full
	next    int
	size    int
}

func newTokenCache(size int) *tokenCache {
	return &tokenCache{entries: make(map[tokenDigest]verified), size: size}
}

// get returns a token that has not expired. Whether its key still stands and its caller is declared, the verifier asks.
func (c *tokenCache) get(d tokenDigest, now time.Time) (verified, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.entries[d]
	return v, ok && now.Before(v.identity.ExpiresAt)
}

func (c *tokenCache) put(d tokenDigest, v verified) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.entries[d]; !known {
		if len(c.order) < c.size {
			c.order = append(c.order, d)
		} else {
			delete(c.entries, c.order[c.next])
			c.order[c.next] = d
			c.next = (c.next + 1) % c.size
		}
	}
	c.entries[d] = v
}

// purge forgets every token whose key does not stand any more.
func (c *tokenCache) purge(stands func(name keyName, key keyPrint) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := make([]tokenDigest, 0, len(c.order))
	for i := range c.order {
		d := c.order[(c.next+i)%len(c.order)]
		if v := c.entries[d]; stands(v.name, v.key) {
			kept = append(kept, d)
		} else {
			delete(c.entries, d)
		}
	}
	c.order, c.next = kept, 0
}
