package httpserve

import (
	"errors"
	"fmt"
	"time"

	"waybill.dev/auth"
)

// ConfigProblems reports what is wrong with the fields that the configuration of every receiver has, one error each.
func ConfigProblems(v *auth.Verifier, hasHandler bool, deadline time.Duration, maxBody int64) []error {
	var problems []error
	if v == nil {
		problems = append(problems, errors.New("Verifier is nil: make one with auth.NewVerifier"))
	}
	if !hasHandler {
		problems = append(problems, errors.New("the HandlerFunc is nil"))
	}
	if deadline < 0 {
		problems = append(problems, fmt.Errorf("Deadline is %v: use a positive time, or 0 for none", deadline))
	}
	if maxBody < 0 {
		problems = append(problems, fmt.Errorf("MaxBody is %d: use a number of bytes, or 0 for the default", maxBody))
	}
	return problems
}
