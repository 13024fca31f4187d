// SPDX-License-Identifier: GPL-2.0-or-later

// An IMAP server on loopback with go-imap's memory backend: see ../goimap.py. It prints its port and serves
// until it is ended. User "username", password "password".
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"

	"github.com/emersion/go-imap/backend/memory"
	"github.com/emersion/go-imap/server"
)

func main() {
	port := flag.Int("port", 0, "port to listen on; 0 chooses one")
	cert := flag.String("cert", "", "PEM file of the certificate: TLS")
	key := flag.String("key", "", "PEM file of its key")
	flag.Parse()

	listener, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", *port))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)

	imap := server.New(memory.New())
	imap.AllowInsecureAuth = true
	if *cert != "" {
		pair, err := tls.LoadX509KeyPair(*cert, *key)
		if err != nil {
			log.Fatal(err)
		}
		listener = tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}})
	}
	log.Fatal(imap.Serve(listener))
}
