// Writes and reads rows of the messenger's schema: two users, one of whom follows the other.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	crosskey "crosskey/clients/go"
	"crosskey/clients/go/crosskeyv1"

	"google.golang.org/grpc"
)

func main() {
	if len(os.Args) != 2 {
		log.Fatal("usage: example HOST:PORT")
	}
	connection, err := grpc.NewClient(os.Args[1], crosskey.DialOptions()...)
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := run(ctx, crosskeyv1.NewRouterClient(connection)); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, router crosskeyv1.RouterClient) error {
	_, err := router.Insert(ctx, &crosskeyv1.InsertRequest{
		Table:      "languages",
		RowsJson:   `[{"code": "fr", "name": "French"}]`,
		OnConflict: &crosskeyv1.OnConflict{Action: &crosskeyv1.OnConflict_Nothing_{Nothing: &crosskeyv1.OnConflict_Nothing{}}},
	})
	if err != nil {
		return err
	}
	users, err := insert(ctx, router, "users", crosskey.Row{"name": "Fantine"}, crosskey.Row{"name": "Javert"})
	if err != nil {
		return err
	}
	fantine, javert := users[0]["id"], users[1]["id"]
	follows, err := insert(ctx, router, "follows", crosskey.Row{"follower_id": javert, "followee_id": fantine, "weight": 3})
	if err != nil {
		return err
	}
	fmt.Println("Javert follows with weight", follows[0]["weight"])

	key, err := crosskey.EncodeRow(crosskey.Row{"id": fantine})
	if err != nil {
		return err
	}
	answer, err := router.Get(ctx, &crosskeyv1.GetRequest{
		Table: "users", KeyJson: key, RowForm: crosskeyv1.RowForm_ROW_FORM_JSON,
	})
	if err != nil {
		return err
	}
	row, err := crosskey.DecodeRow(answer.GetRowJson())
	if err != nil {
		return err
	}
	fmt.Println("she is", row["name"])

	// An id for a user of the same shard as Fantine, whom nobody knows.
	id, err := crosskey.ParseUUID(fantine.(string))
	if err != nil {
		return err
	}
	nobody := crosskey.MintUUID(crosskey.SlotOfUUID(id)).String()
	_, err = insert(ctx, router, "follows", crosskey.Row{"follower_id": javert, "followee_id": nobody})
	if !crosskey.Is(err, crosskeyv1.ErrorReason_ERROR_REASON_FOREIGN_KEY_VIOLATION) {
		return fmt.Errorf("it should have been refused: %w", err)
	}
	refused := crosskey.ErrorOf(err)
	fmt.Println(refused.Name(), refused.Metadata["constraint"], "retryable:", refused.Retryable)

	if err := rename(ctx, router, key); err != nil {
		return err
	}

	_, err = insert(ctx, router, "user", crosskey.Row{"name": "Cosette"})
	fmt.Println(crosskey.ErrorOf(err))
	return nil
}

// rename reads a user with a lock, decides, and writes, all in one transaction; what a group does is undone alone.
func rename(ctx context.Context, router crosskeyv1.RouterClient, key string) error {
	var before crosskey.Row
	err := crosskey.InTransaction(ctx, router, func(tx *crosskey.Transaction) error {
		found, err := tx.Run(&crosskeyv1.Statement{Statement: &crosskeyv1.Statement_Get{Get: &crosskeyv1.GetRequest{
			Table: "users", KeyJson: key, RowForm: crosskeyv1.RowForm_ROW_FORM_JSON,
			Lock: crosskeyv1.RowLock_ROW_LOCK_FOR_NO_KEY_UPDATE,
		}}})
		if err != nil {
			return err
		}
		if before, err = crosskey.DecodeRow(found.GetGet().GetRowJson()); err != nil {
			return err
		}
		failed := tx.Group(func() error {
			_, err := tx.Run(update(key, crosskey.Row{"name": nil}))
			return err
		})
		fmt.Println("undone:", crosskey.ErrorOf(failed).Name())
		_, err = tx.Run(update(key, crosskey.Row{"name": fmt.Sprint(before["name"], " Thibault")}))
		return err
	})
	if err != nil {
		return err
	}
	answer, err := router.Get(ctx, &crosskeyv1.GetRequest{
		Table: "users", KeyJson: key, RowForm: crosskeyv1.RowForm_ROW_FORM_JSON,
	})
	if err != nil {
		return err
	}
	row, err := crosskey.DecodeRow(answer.GetRowJson())
	fmt.Println("she was", before["name"], "and is", row["name"])
	return err
}

func update(key string, set crosskey.Row) *crosskeyv1.Statement {
	encoded, err := crosskey.EncodeRow(set)
	if err != nil {
		log.Fatal(err)
	}
	request := &crosskeyv1.UpdateRequest{Table: "users", KeyJson: key, SetJson: encoded, CountOnly: true}
	return &crosskeyv1.Statement{Statement: &crosskeyv1.Statement_Update{Update: request}}
}

func insert(ctx context.Context, router crosskeyv1.RouterClient, table string, rows ...crosskey.Row) ([]crosskey.Row, error) {
	encoded, err := crosskey.EncodeRows(rows...)
	if err != nil {
		return nil, err
	}
	answer, err := router.Insert(ctx, &crosskeyv1.InsertRequest{
		Table: table, RowsJson: encoded, RowForm: crosskeyv1.RowForm_ROW_FORM_JSON,
	})
	if err != nil {
		return nil, err
	}
	return crosskey.DecodeRows(answer.GetRowsJson())
}
