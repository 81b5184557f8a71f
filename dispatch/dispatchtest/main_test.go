package dispatchtest_test

import (
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"waybill.dev/dispatch"
)

func TestMain(m *testing.M) {
	// A dependency of Google's clients starts this one when the program is loaded, and offers no way to stop it.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

type (
	Welcome      struct{ To string }
	UserSignedUp struct{ UserID string }
	ProfileQuery struct{ UserID string }
	Profile      struct{ Name string }
)

// Contracts: in an app of yours they are a package that every service imports.
var (
	App      = dispatch.NewApp("shop")
	Login    = App.Service("login")
	Profiles = App.Service("user-profiles")
	Search   = App.Service("search")
	Mailer   = App.Service("mailer")

	SendWelcome = dispatch.NewTask[Welcome](Mailer, "send-welcome", dispatch.From(Login), dispatch.Retry{MaxAttempts: 4})
	Remind      = dispatch.NewTask[Welcome](Mailer, "remind", dispatch.From(Login, Mailer), dispatch.Expires(time.Hour))
	SignedUp    = dispatch.NewEvent[UserSignedUp](Login, "user-signed-up", dispatch.OrderBy(func(e UserSignedUp) string { return e.UserID[:1] }))
	IndexUser   = SignedUp.To(Search, "index-user", dispatch.Retry{MaxAttempts: 5})
	CountUser   = SignedUp.To(Mailer, "count-user")
	GetProfile  = dispatch.NewCall[ProfileQuery, Profile](Profiles, "get-profile", dispatch.From(Login))
	FindProfile = dispatch.NewCall[ProfileQuery, Profile](Profiles, "find-profile", dispatch.From(Login), dispatch.Retry{MaxAttempts: 3})
)

// onBothClocks runs a test on the bench's own clock, and in a bubble of testing/synctest.
func onBothClocks(t *testing.T, test func(t *testing.T)) {
	t.Run("own clock", test)
	t.Run("bubble", func(t *testing.T) { synctest.Test(t, test) })
}
