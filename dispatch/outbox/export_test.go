package outbox

import "waybill.dev/internal/pgtest"

// Postgres is this test binary's server, for the tests outside of the package.
func Postgres() *pgtest.Server { return &postgres }
