package crosskey

import (
	"context"
	"errors"
	"fmt"
	"io"

	"crosskey/clients/go/crosskeyv1"

	"google.golang.org/grpc/codes"
)

// Transaction is one that goes on over several calls, with the program's own logic between them. It is for one goroutine
// at a time.
//
// Nothing of it is repeated by itself. An error of a statement ends it, but for one inside of a Group, which is undone. If
// an error is Retryable, the whole transaction left no trace and may be run again.
type Transaction struct {
	stream crosskeyv1.Router_SessionClient
	cancel context.CancelFunc
	name   string
	calls  uint64
}

// InTransaction runs work in a transaction, which is committed if work returns no error, and else rolled back.
func InTransaction(ctx context.Context, router crosskeyv1.RouterClient, work func(*Transaction) error) error {
	transaction, err := Begin(ctx, router, &crosskeyv1.BeginRequest{})
	if err != nil {
		return err
	}
	defer transaction.RollBack()
	if err := work(transaction); err != nil {
		return err
	}
	return transaction.Commit()
}

// Begin opens a transaction on a stream of its own. The end of ctx rolls it back. The request says how long it may be idle
// and last, if less than the router allows. End it by Commit or RollBack.
func Begin(ctx context.Context, router crosskeyv1.RouterClient, request *crosskeyv1.BeginRequest) (*Transaction, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := router.Session(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	transaction := &Transaction{stream: stream, cancel: cancel}
	answer, err := transaction.ask(&crosskeyv1.Call{Call: &crosskeyv1.Call_Begin{Begin: request}})
	if err != nil {
		transaction.leave()
		return nil, leavingNoTrace(err)
	}
	transaction.name = answer.GetBegin().GetTransaction()
	return transaction, nil
}

// Run carries out a statement, as of Transact, and returns what it came to. It sees what was done before.
func (t *Transaction) Run(statement *crosskeyv1.Statement) (*crosskeyv1.StatementResult, error) {
	request := &crosskeyv1.RunStatementRequest{Transaction: t.name, Statement: statement}
	answer, err := t.ask(&crosskeyv1.Call{Call: &crosskeyv1.Call_RunStatement{RunStatement: request}})
	if err != nil {
		return nil, leavingNoTrace(err)
	}
	return answer.GetRunStatement().GetResult(), nil
}

// Group runs statements that may fail alone, as behind a savepoint: if work returns an error, they are undone, and the
// transaction goes on. It returns that error. Groups nest.
func (t *Transaction) Group(work func() error) error {
	begin := &crosskeyv1.BeginGroupRequest{Transaction: t.name}
	if _, err := t.ask(&crosskeyv1.Call{Call: &crosskeyv1.Call_BeginGroup{BeginGroup: begin}}); err != nil {
		return leavingNoTrace(err)
	}
	failed := work()
	end := &crosskeyv1.EndGroupRequest{Transaction: t.name, RollBack: failed != nil}
	_, err := t.ask(&crosskeyv1.Call{Call: &crosskeyv1.Call_EndGroup{EndGroup: end}})
	if failed != nil {
		return failed
	}
	return leavingNoTrace(err)
}

// Commit makes all of it last. An error means that nothing is left of it, unless its code is UNKNOWN, DEADLINE_EXCEEDED,
// CANCELLED or UNAVAILABLE: then nobody knows.
func (t *Transaction) Commit() error {
	defer t.leave()
	request := &crosskeyv1.CommitRequest{Transaction: t.name}
	_, err := t.ask(&crosskeyv1.Call{Call: &crosskeyv1.Call_Commit{Commit: request}})
	return err
}

// RollBack undoes everything. It does nothing if the transaction has ended.
func (t *Transaction) RollBack() {
	if t.cancel != nil {
		request := &crosskeyv1.RollBackRequest{Transaction: t.name}
		// A transaction whose stream ends is rolled back anyway.
		_, _ = t.ask(&crosskeyv1.Call{Call: &crosskeyv1.Call_RollBack{RollBack: request}})
		t.leave()
	}
}

func (t *Transaction) leave() {
	if t.cancel != nil {
		t.cancel()
		t.cancel = nil
	}
}

// ask sends a call and waits for its answer: there is no other call in flight.
func (t *Transaction) ask(call *crosskeyv1.Call) (*crosskeyv1.Answer, error) {
	if t.cancel == nil {
		return nil, &Error{
			Code:    codes.FailedPrecondition,
			Reason:  crosskeyv1.ErrorReason_ERROR_REASON_TRANSACTION_ABORTED,
			Message: "the transaction has ended",
		}
	}
	t.calls++
	call.Id = t.calls
	if err := t.stream.Send(&crosskeyv1.SessionRequest{Calls: []*crosskeyv1.Call{call}}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for {
		// After io.EOF, it is Recv that tells why.
		response, err := t.stream.Recv()
		if err != nil {
			return nil, err
		}
		for _, answer := range response.GetAnswers() {
			if answer.GetId() == call.GetId() {
				return answer, errorOfFailure(answer.GetFailure())
			}
		}
		if response.GetLast() {
			return nil, &Error{Code: codes.Unavailable, Message: "the router stops", Retryable: true}
		}
	}
}

func errorOfFailure(failure *crosskeyv1.Failure) error {
	if failure == nil {
		return nil
	}
	return &Error{
		Code:      codes.Code(failure.GetCode()),
		Reason:    failure.GetReason(),
		Message:   failure.GetMessage(),
		Metadata:  failure.GetMetadata(),
		Retryable: failure.GetRetryDelayMs() > 0,
	}
}

// leavingNoTrace says of what comes before the commit that it may be run again if the connection was lost.
func leavingNoTrace(err error) error {
	found := ErrorOf(err)
	if found == nil || found.Code != codes.Unavailable {
		return err
	}
	found.Retryable = true
	return fmt.Errorf("the transaction was rolled back: %w", found)
}
