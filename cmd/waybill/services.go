package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"waybill.dev/internal/endpoint"
	"waybill.dev/internal/names"
)

// A service of the local run, as --service NAME=URL gives it.
type service struct{ name, url string }

// services is a [flag.Value].
type services []service

// String is the zero value's, as package flag demands.
func (s *services) String() string { return "" }

// Set adds one service.
func (s *services) Set(text string) error {
	name, url, ok := strings.Cut(text, "=")
	if !ok {
		return errors.New("want NAME=URL, as in mailer=http://127.0.0.1:8101")
	}
	if err := names.Check("service", name, names.MaxName); err != nil {
		return err
	}
	if !strings.Contains(url, "://") {
		return withScheme(name, url)
	}
	if _, err := endpoint.Parse(url); err != nil {
		return err
	}
	if slices.ContainsFunc(*s, func(other service) bool { return other.name == name }) {
		return fmt.Errorf("service %s is given twice", name)
	}
	*s = append(*s, service{name, strings.TrimSuffix(url, "/")})
	return nil
}

// withScheme says how to write an address that has no scheme.
func withScheme(name, address string) error {
	for _, scheme := range []string{"http", "https"} { // http is for this machine
		url := scheme + "://" + address
		if _, err := endpoint.Parse(url); err == nil {
			return fmt.Errorf("write %s=%s", name, url)
		}
	}
	return errors.New("want NAME=URL, as in mailer=http://127.0.0.1:8101")
}
