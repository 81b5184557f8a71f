// Package contracts is shared by every service of the demo: who sends what to whom.
package contracts

import (
	"time"

	"waybill.dev/dispatch"
)

// Welcome asks the mailer to greet a new user.
type Welcome struct {
	To string `json:"to"`
}

// UserSignedUp tells whoever is interested what a user did while signing up.
type UserSignedUp struct {
	UserID string `json:"user_id"`
	Step   string `json:"step"`
}

// ProfileQuery asks for one user's profile.
type ProfileQuery struct {
	UserID string `json:"user_id"`
}

// Profile is the answer to a ProfileQuery.
type Profile struct {
	UserID string `json:"user_id"`
	Name   string `json:"name"`
}

// SearchQuery asks which users have a name like this.
type SearchQuery struct {
	Name string `json:"name"`
}

// SearchResult is the answer to a SearchQuery.
type SearchResult struct {
	UserIDs []string `json:"user_ids"`
}

// The app and its services, and what travels between them.
var (
	App      = dispatch.NewApp("shop")
	Login    = App.Service("login")
	Profiles = App.Service("user-profiles")
	Search   = App.Service("search")
	Mailer   = App.Service("mailer")
	Audit    = App.Service("audit")

	// SendWelcome goes one to one: a Cloud Task for the mailer, which only login may send.
	SendWelcome = dispatch.NewTask[Welcome](Mailer, "send-welcome", dispatch.From(Login),
		dispatch.Retry{MaxAttempts: 4, MinBackoff: 200 * time.Millisecond, MaxBackoff: time.Second},
		dispatch.Deadline(10*time.Second))

	// SignedUp goes one to many: an event of login's, of which each subscription gets its own copy by Pub/Sub push,
	// in order for each user.
	SignedUp = dispatch.NewEvent(Login, "user-signed-up",
		dispatch.OrderBy(func(e UserSignedUp) string { return e.UserID }))
	IndexUser    = SignedUp.To(Search, "index-user", dispatch.Retry{MinBackoff: 200 * time.Millisecond, MaxBackoff: time.Second})
	RecordSignUp = SignedUp.To(Audit, "record-sign-up", dispatch.Retry{MaxAttempts: 10, MinBackoff: 200 * time.Millisecond})

	// GetProfile is request and reply: authenticated HTTP. Login may call user-profiles.
	GetProfile = dispatch.NewCall[ProfileQuery, Profile](Profiles, "get-profile", dispatch.From(Login),
		dispatch.Deadline(2*time.Second))

	// FindUsers is search's. Audit may call it; nobody declared that login may.
	FindUsers = dispatch.NewCall[SearchQuery, SearchResult](Search, "find-users", dispatch.From(Audit))
)
