// Reads rows by unary calls, many at once, for the project's bench: what a compiled client costs.
//
// Each line of standard input is a task: how many calls at once, then the keys to read, as JSON objects. The answer is a
// line of as many numbers: the nanoseconds that each call took.
package main

import (
	"bufio"
	"context"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	crosskey "crosskey/clients/go"
	"crosskey/clients/go/crosskeyv1"

	"google.golang.org/grpc"
)

const timeout = 60 * time.Second

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: bench HOST:PORT TABLE")
	}
	connection, err := grpc.NewClient(os.Args[1], crosskey.DialOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	router := crosskeyv1.NewRouterClient(connection)
	lines := bufio.NewReader(os.Stdin)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return
		}
		fields := strings.Split(strings.TrimSpace(line), "\t")
		atOnce, err := strconv.Atoi(fields[0])
		if err != nil {
			log.Fatal(err)
		}
		took, err := readAll(router, os.Args[2], fields[1:], atOnce)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(strings.Trim(fmt.Sprint(took), "[]"))
	}
}

// readAll reads the rows of all keys, so many at once, and returns the nanoseconds that each took.
func readAll(router crosskeyv1.RouterClient, table string, keys []string, atOnce int) ([]int64, error) {
	took := make([]int64, len(keys))
	var next atomic.Int64
	var failure atomic.Pointer[error]
	var workers sync.WaitGroup
	for range atOnce {
		workers.Go(func() {
			for place := next.Add(1) - 1; place < int64(len(keys)); place = next.Add(1) - 1 {
				started := time.Now()
				if err := read(router, table, keys[place]); err != nil {
					failure.Store(&err)
					return
				}
				took[place] = time.Since(started).Nanoseconds()
			}
		})
	}
	workers.Wait()
	if err := failure.Load(); err != nil {
		return nil, *err
	}
	return took, nil
}

func read(router crosskeyv1.RouterClient, table, key string) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	_, err := router.Get(ctx, &crosskeyv1.GetRequest{Table: table, KeyJson: key, RowForm: crosskeyv1.RowForm_ROW_FORM_JSON})
	return err
}
