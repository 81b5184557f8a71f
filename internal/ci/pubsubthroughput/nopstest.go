//go:build !pstest

package main

import (
	"context"
	"errors"
	"io"
)

func servePstest(context.Context, io.Writer) error {
	return errors.New("this was built without pstest: use -tags pstest")
}
