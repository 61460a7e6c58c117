// Command coredns is CoreDNS with the plugins that a cluster's DNS needs and no others.
//
// No cache: the kubernetes plugin answers from memory, and a cached "no such name" would hide a
// pod that has just started.
package main

import (
	"github.com/coredns/coredns/core/dnsserver"
	"github.com/coredns/coredns/coremain"

	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
)

func main() {
	dnsserver.Directives = []string{"bind", "errors", "kubernetes"}
	coremain.Run()
}
