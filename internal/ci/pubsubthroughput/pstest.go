package main

import (
	"context"
	"fmt"
	"io"

	"cloud.google.com/go/pubsub/v2/pstest"
)

// servePstest is the process of pstest.
func servePstest(ctx context.Context, stdout io.Writer) error {
	server := pstest.NewServer()
	fmt.Fprintln(stdout, server.Addr)
	<-ctx.Done()
	return server.Close()
}
