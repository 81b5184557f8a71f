package auth

// CachedTokens tells tests how many verified tokens v remembers.
func CachedTokens(v *Verifier) int { return len(v.cache.entries) }
