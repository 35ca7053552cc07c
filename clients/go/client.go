// Package crosskey helps Go programs to talk to a router: rows as maps, errors by reason, ids that carry a slot.
//
// The stubs are in the package crosskeyv1. A connection is gRPC's own:
//
//	connection, err := grpc.NewClient("127.0.0.1:7400", crosskey.DialOptions()...)
//	router := crosskeyv1.NewRouterClient(connection)
package crosskey

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

// MaxResponseBytes is as much as a router answers in one message; gRPC itself takes 4 MB only.
const MaxResponseBytes = 64 * 1024 * 1024

// DialOptions are those of a plain connection to a router: it takes every answer, and notices a router that is gone.
//
// For TLS, add grpc.WithTransportCredentials behind them.
func DialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(MaxResponseBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 30 * time.Second, Timeout: 10 * time.Second}),
	}
}
